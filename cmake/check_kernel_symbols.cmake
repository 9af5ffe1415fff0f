# Fails if an object of a kernel defines anything that the linker may share with another object.
# Run with -DNM=<nm> -DOBJECTS=<list of object files> -P.
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --demangle --defined-only ${object}
    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" shared "${symbols}")
  list(FILTER shared EXCLUDE REGEX "__(a|ub)san|DW\\.ref")
  if(shared)
    message(FATAL_ERROR "${object} shares:\n${shared}")
  endif()
  if(NOT symbols MATCHES "kKernel|kProbe")
    message(FATAL_ERROR "${object} defines no kernel and no probe")
  endif()
endforeach()
