// fastblackout._cpu: the CPU kernels for Python.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>

#include "bindings/default_floats.h"
#include "bindings/functions.h"
#include "bindings/host.h"
#include "bindings/python_seed.h"
#include "bindings/record_reader.h"
#include "cpu/cells.h"
#include "cpu/group_norm.h"
#include "cpu/support/draw.h"

namespace py = pybind11;
namespace fb = fastblackout;
namespace cpu = fastblackout::cpu;

namespace {

cpu::Isa chosen_isa = cpu::Isa::scalar;  // set at import

// What differs where a record is read for the host. Size, threads and instruction set come before it. The key comes as (seed or a
// function that draws it, first sample, call).
class OnHost {
 public:
  using Backend = cpu::Backend;

  template <class Read>
  void begin(Read& read, cpu::Common& op) {
    const py::tuple size = read.next();
    op.samples = size[0].cast<int64_t>();
    op.elements = size[1].cast<int64_t>();
    op.threads = read.template next_as<int>();
    const int isa = read.template next_as<int>();
    op.isa = isa < 0 ? chosen_isa : static_cast<cpu::Isa>(isa);
    if (op.isa > cpu::widest_isa()) throw std::invalid_argument("this processor has no such instruction set");
  }

  void key(const py::tuple& words, fb::SampleKey& key, const cpu::Common& op) {
    const bool drawn = py::isinstance<py::int_>(words[0]);
    if (!drawn) seed_.lend(words[0].ptr(), nullptr, op);
    fb::bindings::set_key(key, drawn ? words[0].cast<uint64_t>() : 0, words[1].cast<uint32_t>(), words[2].cast<uint32_t>());
  }

 private:
  fb::PythonSeed seed_;
};

using Reader = fb::bindings::RecordReader<OnHost>;

// A function for Python, which fills an op by the list `fields` and runs its kernel.
template <class Op, auto fields, void (*kernel)(const Op&)>
void run(const py::args& values) {
  const fb::DefaultFloats floats;
  Op op;
  OnHost target;
  Reader read(values, target, op);
  (op.*fields)(read);
  try {
    fb::run_without_gil([&] { kernel(op); });
  } catch (const fb::PythonError&) {
    throw py::error_already_set();
  }
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

#define FB_DEFINE(name, Op, fields, kernel) m.def(#name, run<cpu::Op, &cpu::Op::fields<Reader>, cpu::kernel>);
  FB_OPS(FB_DEFINE)
  FB_CPU_OPS(FB_DEFINE)
  FB_DEFINE(thin_cells, ThinCells, fields, thin_cells)
  FB_DEFINE(keep_counts, KeepCounts, fields, keep_counts)
  FB_DEFINE(group_norm_silu, GroupNorm, fields, group_norm_silu)
  FB_DEFINE(group_norm_silu_gradient, GroupNormGradient, fields, group_norm_silu_gradient)
#undef FB_DEFINE

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
