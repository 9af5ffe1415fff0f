// The entry point that ONNX Runtime looks up in an operator library.

extern "C" __attribute__((visibility("default"))) void* RegisterCustomOps(void*, const void*) {
  return nullptr;
}
