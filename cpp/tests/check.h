#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <vector>

/// A test program: TEST(name) { ... CHECK(...) ... } in any number of files, linked together. A failed check ends its
/// test. Arguments choose tests by a part of their name. Exit status 1 if a test failed or if none was chosen.
///
/// After its operands a check takes any number of values to print when it fails: CHECK_EQ(a, b, "dim ", dim).
namespace annlib::test {

struct Case {
  const char* name;
  void (*body)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Registration {
  Registration(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

struct Failure {
  std::string text;
};

template <class T>
void print(std::ostream& out, const T& value) {
  if constexpr (sizeof(T) == 1 && requires { out << +value; }) {
    out << +value;  // bytes as numbers
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "(a value)";
  }
}

template <class... Context>
[[noreturn]] void fail(const char* file, int line, const std::string& what, const Context&... context) {
  std::ostringstream text;
  text.precision(9);
  text << file << ":" << line << ": " << what;
  if constexpr (sizeof...(context) > 0) text << " [";
  (print(text, context), ...);
  if constexpr (sizeof...(context) > 0) text << "]";
  throw Failure{text.str()};
}

template <class A, class B>
std::string two_values(const char* expression, const A& a, const B& b) {
  std::ostringstream text;
  text.precision(9);
  text << expression << ": ";
  print(text, a);
  text << " and ";
  print(text, b);
  return text.str();
}

inline int run(int argc, char** argv) {
  int passed = 0, failed = 0;
  for (const Case& test : cases()) {
    bool chosen = argc < 2;
    for (int i = 1; i < argc; ++i) chosen |= std::strstr(test.name, argv[i]) != nullptr;
    if (!chosen) continue;
    std::string trouble;
    try {
      test.body();
    } catch (const Failure& failure) {
      trouble = failure.text;
    } catch (const std::exception& error) {
      trouble = std::string("unexpected exception: ") + error.what();
    }
    trouble.empty() ? ++passed : ++failed;
    if (!trouble.empty()) std::printf("FAILED %s\n  %s\n", test.name, trouble.c_str());
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0 ? 1 : 0;
}

}  // namespace annlib::test

#define TEST(name)                                                                 \
  static void test_##name();                                                       \
  static const annlib::test::Registration registration_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(condition, ...)                                                                        \
  do {                                                                                               \
    if (!(condition)) annlib::test::fail(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)

#define CHECK_EQ(a, b, ...)                                                                                    \
  do {                                                                                                         \
    const auto check_a = (a);                                                                                  \
    const auto check_b = (b);                                                                                  \
    if (!(check_a == check_b)) {                                                                               \
      annlib::test::fail(__FILE__, __LINE__,                                                                   \
                         annlib::test::two_values(#a " == " #b, check_a, check_b) __VA_OPT__(, ) __VA_ARGS__); \
    }                                                                                                          \
  } while (false)

/// |a - b| <= tolerance; two NaNs are not near.
#define CHECK_NEAR(a, b, tolerance, ...)                                                                         \
  do {                                                                                                           \
    const double check_a = static_cast<double>(a);                                                               \
    const double check_b = static_cast<double>(b);                                                               \
    if (!(std::fabs(check_a - check_b) <= static_cast<double>(tolerance))) {                                     \
      annlib::test::fail(__FILE__, __LINE__,                                                                     \
                         annlib::test::two_values(#a " near " #b, check_a, check_b) __VA_OPT__(, ) __VA_ARGS__); \
    }                                                                                                            \
  } while (false)

#define CHECK_THROWS(type, expression)                                                               \
  do {                                                                                               \
    bool check_thrown = false;                                                                       \
    try {                                                                                            \
      (void)(expression);                                                                            \
    } catch (const type&) {                                                                          \
      check_thrown = true;                                                                           \
    }                                                                                                \
    if (!check_thrown) annlib::test::fail(__FILE__, __LINE__, #expression " does not throw " #type); \
  } while (false)

/// Weak, so that several test files can be one program.
__attribute__((weak)) int main(int argc, char** argv) { return annlib::test::run(argc, argv); }
