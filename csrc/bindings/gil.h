// Kernels run without the interpreter's lock, the GIL. What they throw must be held back until the GIL is taken again.
#pragma once

#include <Python.h>
#include <unistd.h>

#include <exception>

namespace fastblackout {

// Runs work(), which throws nothing. While the interpreter is ending, Python up to 3.13 ends a thread that asks for the GIL by
// pthread_exit, which with glibc unwinds the stack: that would end the whole process at the first function that may not throw,
// and drop references to objects without the GIL. So the thread stays here until the process has ended, as in Python 3.14.
template <class Work>
auto outlive_interpreter(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (...) {
    for (;;) pause();
  }
}

// Runs work() without the GIL. What it throws is thrown again once the GIL has been taken back.
template <class Work>
void run_without_gil(const Work& work) {
  std::exception_ptr thrown;
  PyThreadState* const state = PyEval_SaveThread();
  try {
    work();
  } catch (...) {
    thrown = std::current_exception();
  }
  outlive_interpreter([state] { PyEval_RestoreThread(state); });
  if (thrown) std::rethrow_exception(thrown);
}

// Thrown where Python's error is set.
struct PythonError {};

// Runs work(), which throws nothing, with the GIL, inside run_without_gil. An error that it leaves to Python stays.
template <class Work>
void with_gil(const Work& work) {
  const PyGILState_STATE state = outlive_interpreter(PyGILState_Ensure);
  work();
  PyGILState_Release(state);
}

}  // namespace fastblackout
