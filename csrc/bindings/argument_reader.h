// What the two readers of addresses share: along a list of ops.h, each field takes its own of Python's arguments, in turn. `Own`
// is the reader, whose take(field) says how a field of that type is read.
#pragma once

#include <pybind11/pybind11.h>

namespace fastblackout {
namespace bindings {

namespace py = pybind11;

template <class Own>
class ArgumentReader {
 public:
  explicit ArgumentReader(const py::args& given) : given_(given) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (own().take(fields), ...);
  }
  template <class... Fields>
  void outputs(Fields&... fields) {
    (own().take(fields), ...);
  }
  template <class View>
  void either(View& given, bool& is_second) {
    View second;
    (*this)(given, second);
    is_second = given.data == nullptr;
    if (is_second) given = second;
  }
  template <class Prob>
  void optional(Prob& prob) {
    own().take(prob);
  }
  template <class Number>
  void at_least(float, Number& number) {  // checked by the package
    own().take(number);
  }
  void choice(bool& is_first, const char*, const char*) { own().take(is_first); }

  void take(int64_t& number) { number = next().template cast<int64_t>(); }
  void take(double& number) { number = next().template cast<double>(); }
  void take(bool& value) { value = next().template cast<bool>(); }

 protected:
  template <class T = py::object>
  T next() {
    return py::reinterpret_borrow<T>(given_[at_++]);
  }

 private:
  const py::args given_;  // not a reference, as that may be to a temporary
  size_t at_ = 0;

  Own& own() { return static_cast<Own&>(*this); }
};

}  // namespace bindings
}  // namespace fastblackout
