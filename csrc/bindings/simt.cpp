// fastblackout._simt: the CUDA kernels, run on the CPU by the SIMT shim of csrc/simt, for tests. FASTBLACKOUT_SIMT=1 builds it.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/gpu.h"
#include "simt/buckets.h"
#include "simt/cuda.h"
#include "simt/fast.h"
#include "simt/kept.h"
#include "simt/selftest.h"

PYBIND11_MODULE(_simt, m) {
  namespace py = pybind11;
  m.doc() = "The CUDA kernels of fastblackout on the CPU, for its tests: addresses are in host memory.";
  fastblackout::bindings::define_ops(m, true);
  m.def("configure", simt::configure, py::arg("schedule") = "forward", py::arg("seed") = 0, py::arg("threads") = 1,
        py::arg("first_block") = 0, py::arg("blocks") = ~0u);
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
  m.def("first_trials", [](uintptr_t n, uintptr_t p, uintptr_t q, uintptr_t words, int64_t size, uintptr_t ends) {
    const auto numbers = [](uintptr_t address) { return reinterpret_cast<const double*>(address); };
    fastblackout::simt_test::first_trials(reinterpret_cast<const int64_t*>(n), numbers(p), numbers(q), reinterpret_cast<const uint32_t*>(words),
                                          size, reinterpret_cast<int64_t*>(ends));
  }, "Draws by float32 and exactly: addresses of n, p, q, words and ends (simt/fast.h).");
  m.def("build_tables", [](uintptr_t p, uintptr_t q, uintptr_t max_count, int64_t size, uintptr_t words, uintptr_t actions) {
    const auto numbers = [](uintptr_t address) { return reinterpret_cast<const double*>(address); };
    fastblackout::simt_test::build_tables(numbers(p), numbers(q), reinterpret_cast<const int64_t*>(max_count), size,
                                          reinterpret_cast<uint32_t*>(words), reinterpret_cast<uint8_t*>(actions));
  }, "Tables of `size` probabilities: addresses of p, q, max_count, words and actions (simt/kept.h).");
  m.def("table_words", fastblackout::simt_test::table_words);
  m.def("forget_tables", fastblackout::simt_test::forget_tables, "As if none had been kept by build_tables.");
  m.def("capture", [](py::object stream) {
    simt_captured = stream.is_none() ? &simt_no_stream : reinterpret_cast<const void*>(stream.cast<uintptr_t>());
  }, "Which stream says that a CUDA graph is made of it; None: none.");
  m.def("ask_for_stream", fastblackout::ask_for_stream, "Whether handlers ask XLA for a stream, which it has not on the CPU; at first not.");
  m.def("replace", [](uintptr_t kernel, const std::string& name, uintptr_t run, size_t shared, const std::vector<size_t>& sizes) {
    simt::replace(reinterpret_cast<const void*>(kernel), {name, reinterpret_cast<simt::Run>(run), shared, sizes});
  }, "Has another function run a kernel (simt/replaced.h): addresses of both, bytes of static shared memory, sizes of parameters.");
  m.def("restore", simt::restore, "Every kernel runs as it was compiled from source.");
  m.def("replaced", [] {
    py::dict launches;
    for (const simt::Replaced* const each : simt::all_replaced()) launches[py::str(each->name)] = each->launches;
    return launches;
  }, "Kernels that are replaced, and how often each was launched.");
  m.def("run", [](uintptr_t run, size_t shared, unsigned blocks, unsigned threads, const std::vector<std::string>& parameters) {
    simt::Replaced kernel{"kernel", reinterpret_cast<simt::Run>(run), 0, {}};
    std::vector<const unsigned char*> at;
    for (const std::string& each : parameters) {
      at.push_back(reinterpret_cast<const unsigned char*>(each.data()));
      kernel.sizes.push_back(each.size());
    }
    const py::gil_scoped_release others;
    simt::launch_replaced(kernel, shared, blocks, threads, at.data(), kernel.sizes);
  }, "Runs a function as a kernel, given bytes of shared memory, blocks, threads of each, and the bytes of its parameters.");
  m.def("launches", [] { return simt::launches; }, "Kernels launched since the module was loaded.");
  m.def("streams", [] {
    py::list seen;
    for (const void* const stream : simt::streams) seen.append(reinterpret_cast<uintptr_t>(stream));
    simt::streams.clear();
    return seen;
  }, "The streams of this thread's last launches, and forgets them.");
  m.def("last_launch", [] { return py::make_tuple(simt::last_launch[0], simt::last_launch[1]); },
        "Blocks, and threads of each, of this thread's last launch.");
}
