// fastblackout._cuda: the CUDA kernels for Python. Importing needs no driver; a launch without one raises RuntimeError.
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "cuda/thin.h"

namespace py = pybind11;
namespace fb = fastblackout;

namespace {

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of fastblackout; use the functions of the package, which check their arguments.";
  m.def("ops", [] { return py::make_tuple("thin"); });
  m.def("thin", [](const py::tuple& size, const py::tuple& key, uintptr_t stream, uintptr_t x_0, uintptr_t x_t, uintptr_t births,
                   uintptr_t model_input, uintptr_t p, uintptr_t q, uintptr_t center, uintptr_t scale, int max_count) {
    const uint64_t seed = key[0].cast<uint64_t>();
    const fb::SampleKey first{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), key[1].cast<uint32_t>(), key[2].cast<uint32_t>()};
    const fb::cuda::Thin op{pointer<uint8_t>(x_0), pointer<uint8_t>(x_t), pointer<uint8_t>(births), pointer<float>(model_input),
                            pointer<double>(p), pointer<double>(q), pointer<float>(center), pointer<float>(scale),
                            size[0].cast<int64_t>(), size[1].cast<int64_t>(), max_count, first};
    const int error = fb::cuda::thin(op, pointer<void>(stream));
    if (error != 0) throw std::runtime_error(std::string("fastblackout cuda thin: ") + fb::cuda::error_text(error));
  });
}
