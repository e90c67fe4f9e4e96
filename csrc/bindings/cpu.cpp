// fastblackout._cpu: the CPU kernels for Python.
#include <pybind11/stl.h>

#include <array>

#include "bindings/default_floats.h"
#include "bindings/host_reader.h"
#include "bindings/quick.h"
#include "bindings/xla.h"
#include "cpu/group_norm.h"
#include "cpu/support/draw.h"

namespace py = pybind11;
namespace fb = fastblackout;
namespace cpu = fastblackout::cpu;
using fb::bindings::per_sample;
using fb::bindings::values;

namespace {

cpu::Isa chosen_isa = cpu::Isa::scalar;  // set at import

// Adds a function for Python that fills an op by `fields(op, reader)` and runs its kernel.
template <class Op, class Fields>
void define(py::module_& m, const char* name, void (*kernel)(const Op&), const Fields& fields) {
  m.def(name, [kernel, fields](const py::args& given) {
    const fb::DefaultFloats floats;
    Op op;
    fb::bindings::HostReader read(given, chosen_isa, op);
    fields(op, read);
    try {
      fb::run_without_gil([&] { kernel(op); });
    } catch (const fb::PythonError&) {
      throw py::error_already_set();
    }
  });
}

// cpu::PowerSeries says what the arguments are.
void power_series(const py::tuple& size, int threads, int isa, const py::array& offsets, const py::array& entries,
                  const py::object& start, const py::array& weights, const py::array& needed, const py::array& places,
                  const py::array& out, const py::array& sums) {
  const fb::DefaultFloats floats;
  cpu::PowerSeries op;
  const fb::bindings::HostReader read(py::make_tuple(size, threads, isa), chosen_isa, op);
  op.terms = weights.shape(1);
  op.diagonals = offsets.shape(0);
  op.offsets = values<int64_t>(offsets);
  op.entries = values<double>(entries);
  if (!start.is_none()) op.start = values<double>(py::reinterpret_borrow<py::array>(start));
  op.weights = values<double>(weights);
  op.needed = values<int64_t>(needed);
  op.places = values<int64_t>(places);
  op.out = values<double>(out);
  op.sums = values<double>(sums);
  fb::run_without_gil([&] { cpu::power_series(op); });
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "CPU kernels of fastblackout; use the functions of the package, which check their arguments.";
  const char* forced = std::getenv("FASTBLACKOUT_ISA");
  try {
    chosen_isa = forced != nullptr && *forced != '\0' ? cpu::parse_isa(forced) : cpu::best_isa();
  } catch (const std::invalid_argument& wrong) {
    throw py::import_error(wrong.what());
  }
  if (fb::add_quick(m.ptr(), chosen_isa) != 0 || fb::add_xla(m.ptr(), chosen_isa) != 0) throw py::error_already_set();
  m.def("isa", [] { return cpu::isa_name(chosen_isa); });
  m.def("isas", [] {
    py::list names;
    for (int level = 0; level <= static_cast<int>(cpu::widest_isa()); ++level) names.append(cpu::isa_name(static_cast<cpu::Isa>(level)));
    return names;
  });
  m.def("emulated", [](const std::string& name) { return cpu::parse_isa(name.c_str()) > cpu::best_isa(); });
  // For tests: whether draws by AVX-512 use VBMI and VBMI2, which not every such processor has. Returns whether they did.
  m.def("use_vbmi", [](bool use) {
    if (use && !cpu::find_vbmi()) throw py::value_error("use_vbmi: this processor lacks it");
    return std::exchange(cpu::has_vbmi, use);
  });
  // For tests: whether draws by AVX2 gather. Returns whether they did.
  m.def("use_gathers", [](bool use) { return std::exchange(cpu::has_fast_gathers, use); });

#define FB_DEFINE(name, Op, fields, kernel) \
  define<cpu::Op>(m, #name, cpu::kernel, [](cpu::Op& op, fb::bindings::HostReader& read) { op.fields(read); });
  FB_OPS(FB_DEFINE)
  FB_CPU_OPS(FB_DEFINE)
  FB_DEFINE(group_norm_silu, GroupNorm, fields, group_norm_silu)
  FB_DEFINE(group_norm_silu_gradient, GroupNormGradient, fields, group_norm_silu_gradient)
#undef FB_DEFINE
  m.def("power_series", power_series);

  // Whether two arrays are float64 probabilities of one length with p + q = 1, contiguous or of stride 0.
  m.def("good_pair", [](const py::array& p, const py::array& q) {
    const auto plain = [](const py::array& a) {
      return a.dtype().is(py::dtype::of<double>()) && a.ndim() == 1 && ((a.flags() & py::array::c_style) != 0 || a.strides(0) == 0);
    };
    if (!plain(p) || !plain(q) || p.size() != q.size()) return false;
    const fb::DefaultFloats floats;
    return cpu::good_pair(cpu::Prob{per_sample<double>(p), per_sample<double>(q)}, p.size());
  });

  // The words of one block, in all eight lanes, by the Philox of an instruction set: to be compared with its known answers.
  m.def("philox", [](const std::array<uint32_t, 4>& counter, const std::array<uint32_t, 2>& key, int isa) {
    const fb::cpu::DrawKey sample{key[0], key[1], counter[1], counter[2]};
    std::array<uint32_t, 8> block;
    std::array<uint64_t, 8> high, low;
    block.fill(counter[0]);
    FB_CALL_ISA(static_cast<cpu::Isa>(isa), element_words, sample, counter[3] >> 24, counter[3] & 0xffffffu, block.data(), 8,
                high.data(), low.data());
    py::list lanes;
    for (int i = 0; i < 8; ++i) lanes.append(py::make_tuple(high[i] >> 32, high[i] & 0xffffffffu, low[i] >> 32, low[i] & 0xffffffffu));
    return lanes;
  });

  // The thresholds C(j), j = 0..n-1, of row n = unit * lane (unit 16, else 1), as the kernel of an instruction set builds them:
  // for the test that proves the law. Those past the stored ones are at or above 65535 << 32; the exact search makes them as
  // here (fastblackout/draw.h).
  m.def("thresholds", [](double p, double q, int unit, int lane, int isa) {
    const fb::DefaultFloats floats;
    std::unique_ptr<cpu::DrawTable> table(new cpu::DrawTable);
    FB_CALL_ISA(static_cast<cpu::Isa>(isa), build_table, *table, p, q, fb::kMaxSharedCount);
    py::list out;
    const int n = unit * lane, rows = (unit == 16 ? table->rows_upper : table->rows_lower)[lane >> 3];
    double pm = fb::row_start(unit == 16 ? table->step_upper : table->prob.q, lane), cdf = pm;
    for (int j = 0; j < n; ++j) {
      const double stored = (unit == 16 ? table->cdf_upper[j][lane] : table->cdf_lower[j][lane]) / 65536.0;
      out.append(fb::threshold(j < rows ? stored : cdf));
      pm = pm * (static_cast<double>(n - j) * (table->odds / static_cast<double>(j + 1)));
      cdf = cdf + pm;
    }
    return out;
  });
}
