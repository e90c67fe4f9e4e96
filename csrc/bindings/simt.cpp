// fastblackout._simt: the CUDA kernels, run on the CPU by the SIMT shim of csrc/simt, for tests. FASTBLACKOUT_SIMT=1 builds it.
#include <vector>

#include "bindings/gpu.h"
#include "simt/buckets.h"
#include "simt/cuda.h"
#include "simt/selftest.h"

PYBIND11_MODULE(_simt, m) {
  namespace py = pybind11;
  m.doc() = "The CUDA kernels of fastblackout on the CPU, for its tests: addresses are those of host memory.";
  fastblackout::bindings::define_ops(m, true);
  m.def("configure", simt::configure, py::arg("schedule") = "forward", py::arg("seed") = 0, py::arg("threads") = 1);
  m.def("device", [] { return simt_device; }, "The device that cudaSetDevice chose last.");
  m.def("selftest", [](const std::string& name) {
    std::vector<int> out(256, 0);
    if (!fastblackout::simt_test::run(name.c_str(), out.data())) throw std::invalid_argument("no kernel of this name: " + name);
    py::list values;
    for (const int value : out) values.append(value);
    return values;
  });
  m.def("bucket_places", [](uintptr_t counts, uintptr_t u1, uintptr_t u2, int64_t size, uintptr_t upper, uintptr_t lower) {
    const auto words = [](uintptr_t address) { return reinterpret_cast<uint32_t*>(address); };
    fastblackout::simt_test::bucket_places(words(counts), words(u1), words(u2), size, words(upper), words(lower));
  }, "Where draws look up their buckets: addresses of `size` uint32 each.");
  m.def("capture", [](py::object stream) {
    simt_captured = stream.is_none() ? &simt_no_stream : reinterpret_cast<const void*>(stream.cast<uintptr_t>());
  }, "Which stream says that a CUDA graph is made of it; None: none.");
  m.def("launches", [] { return simt::launches; }, "Kernels launched since the module was loaded.");
}
