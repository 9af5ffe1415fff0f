// A minimal test harness: TEST defines a case, CHECK and CHECK_THROWS report where they fail and go on.
// One source per test program includes this and calls RUN_TESTS.
#pragma once

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace testing {

struct Case {
  const char* name;
  void (*body)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

inline bool add(const char* name, void (*body)()) {
  cases().push_back({name, body});
  return true;
}

inline void fail(const char* file, int line, const std::string& what) {
  ++failures();
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

// Runs all cases; returns the exit code.
inline int run() {
  for (const Case& test : cases()) {
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& error) {
      fail(test.name, 0, std::string("unexpected exception: ") + error.what());
    }
    std::printf("%s %s\n", failures() == before ? "passed" : "FAILED", test.name);
  }
  return failures() == 0 && !cases().empty() ? 0 : 1;
}

}  // namespace testing

#define TEST(name)                                               \
  static void name();                                            \
  static const bool name##_is_added = testing::add(#name, name); \
  static void name()

#define CHECK(condition)                                                          \
  do {                                                                            \
    if (!(condition)) testing::fail(__FILE__, __LINE__, "not true: " #condition); \
  } while (false)

// Checks that the expression throws an exception whose sentence is `sentence`.
#define CHECK_THROWS(expression, sentence)                                                        \
  do {                                                                                            \
    std::string thrown = "nothing";                                                               \
    try {                                                                                         \
      static_cast<void>(expression);                                                              \
    } catch (const std::exception& error) {                                                       \
      thrown = error.what();                                                                      \
    }                                                                                             \
    if (thrown != (sentence)) testing::fail(__FILE__, __LINE__, #expression " threw: " + thrown); \
  } while (false)

#define RUN_TESTS() \
  int main() { return testing::run(); }
