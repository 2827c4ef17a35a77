// Test infrastructure (../README.md): runs the tests of the stand-in; with arguments, those whose names
// contain one.
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "selftest.h"

namespace selftest {

namespace {

constexpr int kFailedInside = 99;

bool failed = false;

bool isChosen(const char* name, int count, char** patterns) {
  for (int i = 1; i < count; ++i) {
    if (strstr(name, patterns[i]) != nullptr) return true;
  }
  return count < 2;
}

}  // namespace

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

void fail(const char* file, int line, const std::string& what) {
  failed = true;
  printf("  %s:%d: %s\n", file, line, what.c_str());
}

bool hasFailed() { return failed; }

std::string errorsOf(const std::function<void()>& action) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    failed = false;
    action();
    fflush(stdout);
    _exit(failed ? kFailedInside : 0);
  }
  close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t got; (got = read(ends[0], part, sizeof part)) > 0;)
    text.append(part, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kFailedInside) failed = true;
  return text;
}

void expectErrors(const char* file, int line, const std::function<void()>& action,
                  const std::vector<std::string>& texts) {
  const std::string errors = errorsOf(action);
  for (const std::string& text : texts) {
    if (errors.find(text) == std::string::npos) {
      fail(file, line, "\"" + text + "\" is missing from the errors: " + (errors.empty() ? "none" : errors));
    }
  }
}

}  // namespace selftest

int main(int count, char** patterns) {
  int passed = 0, failures = 0;
  for (const auto& [name, run] : selftest::tests()) {
    if (!selftest::isChosen(name, count, patterns)) continue;
    selftest::failed = false;
    cuda_host::setSeed(1);
    run();
    if (cudaDeviceSynchronize() != cudaSuccess) {
      selftest::fail(__FILE__, __LINE__, "leaves an error behind: " + cuda_host::errorMessage());
    }
    cuda_host::clearError();
    if (selftest::failed) printf("FAILED %s\n", name);
    ++(selftest::failed ? failures : passed);
  }
  printf("%d passed, %d failed\n", passed, failures);
  return failures == 0 ? 0 : 1;
}
