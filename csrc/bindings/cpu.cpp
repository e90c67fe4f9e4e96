// fastblackout._cpu: the CPU kernels for Python.
#include <pybind11/stl.h>

#include <array>

#include "bindings/cpu_arguments.h"
#include "bindings/quick.h"
#include "cpu/draw.h"

cpu::Isa chosen_isa = cpu::Isa::scalar;

namespace {

cpu::Input input_of(const py::object& out, const py::array& center, const py::array& scale) {
  cpu::Input input;
  input.out = view_of(out);
  input.center = per_sample<float>(center);
  input.scale = per_sample<float>(scale);
  return input;
}

void fill_reverse(cpu::Reverse& op, const py::object& x_t, const py::object& logits, const py::object& births,
                  const py::object& x_s, const py::object& input, const py::array& gain, const py::array& center, const py::array& scale,
                  int64_t max_count) {
  op.x_t = view_of(x_t);
  op.logits = view_of(logits);
  op.births = view_of(births);
  op.x_s = view_of(x_s);
  op.input = input_of(input, center, scale);
  op.gain = per_sample<float>(gain);
  op.max_count = max_count;
}

cpu::BirthLoss birth_loss_of(const py::tuple& size, int threads, int isa, const py::object& logits, const py::object& births,
                             const py::array& weight, const py::array& gain) {
  cpu::BirthLoss op;
  fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
  op.logits = view_of(logits);
  op.births = view_of(births);
  op.weight = per_sample<double>(weight);
  op.gain = per_sample<float>(gain);
  return op;
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
  if (fb::add_quick(m.ptr(), chosen_isa) != 0) throw py::error_already_set();
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

  // The ops take size, key, threads and instruction set, then their fields in the order in which fastblackout/ops declares
  // them, then their outputs.
  m.def("thin", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_0, const py::object& alive,
                   int64_t max_count, const py::array& center, const py::array& scale, const py::object& x_t, const py::object& births,
                   const py::object& input) {
    cpu::Thin op;
    fill_common(op, size, key, threads, isa);
    op.x_0 = view_of(x_0);
    op.alive = prob_of(alive);
    op.max_count = max_count;
    op.input = input_of(input, center, scale);
    op.x_t = view_of(x_t);
    op.births = view_of(births);
    call(cpu::thin, op);
  });

  m.def("bridge_step", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_t,
                          const py::object& logits, const py::object& births, const py::object& step, const py::object& attrition,
                          int64_t max_count, const py::array& gain, bool stochastic, const py::array& center, const py::array& scale,
                          const py::object& x_s, const py::object& input) {
    cpu::Bridge op;
    fill_common(op, size, key, threads, isa);
    fill_reverse(op, x_t, logits, births, x_s, input, gain, center, scale, max_count);
    op.birth = prob_of(step);
    op.attrition = prob_of(attrition);
    op.stochastic = stochastic;
    call(cpu::bridge, op);
  });

  m.def("tau_leap_step", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_t,
                            const py::object& logits, const py::object& births, const py::array& step, int64_t max_count,
                            const py::array& gain, const py::array& center, const py::array& scale, const py::object& x_s,
                            const py::object& input, const py::object& overshoot) {
    cpu::TauLeap op;
    fill_common(op, size, key, threads, isa);
    fill_reverse(op, x_t, logits, births, x_s, input, gain, center, scale, max_count);
    op.factor = per_sample<double>(step);
    op.overshoot = address_of<int64_t>(overshoot);
    call(cpu::tau_leap, op);
  });

  m.def("birth_loss", [](const py::tuple& size, const py::tuple&, int threads, int isa, const py::object& logits,
                         const py::object& births, const py::array& weight, const py::array& gain, const py::object& loss) {
    cpu::BirthLoss op = birth_loss_of(size, threads, isa, logits, births, weight, gain);
    op.loss = address_of<float>(loss);
    call(cpu::birth_loss, op);
  });

  // The loss, and slopes: gain * sigmoid - births * sigmoid / softplus, float32 like the logits.
  m.def("birth_loss_and_slopes", [](const py::tuple& size, const py::tuple&, int threads, int isa, const py::object& logits,
                                    const py::object& births, const py::array& weight, const py::array& gain, const py::object& loss,
                                    const py::object& slopes) {
    cpu::BirthLoss op = birth_loss_of(size, threads, isa, logits, births, weight, gain);
    op.loss = address_of<float>(loss);
    op.grad = view_of(slopes);
    call(cpu::birth_loss, op);
  });

  m.def("birth_loss_backward", [](const py::tuple& size, const py::tuple&, int threads, int isa, const py::object& logits,
                                  const py::object& births, const py::array& coefficient, const py::array& gain,
                                  const py::object& grad) {
    cpu::BirthLoss op = birth_loss_of(size, threads, isa, logits, births, coefficient, gain);
    op.grad = view_of(grad);
    call(cpu::birth_loss_grad, op);
  });

  // In place, from slopes to the gradient.
  m.def("birth_loss_scale", [](const py::tuple& size, const py::tuple&, int threads, int isa, const py::array& coefficient,
                               const py::object& slopes) {
    cpu::BirthLoss op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
    op.grad = view_of(slopes);
    op.weight = per_sample<double>(coefficient);
    call(cpu::birth_loss_scale, op);
  });

  m.def("binomial", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& count,
                       const py::object& p, const py::object& q, const py::object& out) {
    cpu::Element op;
    fill_common(op, size, key, threads, isa);
    op.count = view_of(count);
    op.p = view_of(p);
    op.q = view_of(q);
    op.out = view_of(out);
    call(cpu::binomial, op);
  });

  m.def("poisson", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& rate, const py::object& out) {
    cpu::Element op;
    fill_common(op, size, key, threads, isa);
    op.p = view_of(rate);
    op.out = view_of(out);
    call(cpu::poisson, op);
  });

  define_states(m);

  // Whether two arrays are float64 probabilities of one length with p + q = 1, contiguous or of stride 0.
  m.def("good_pair", [](const py::array& p, const py::array& q) {
    const auto plain = [](const py::array& a) {
      return a.dtype().is(py::dtype::of<double>()) && a.ndim() == 1 && ((a.flags() & py::array::c_style) != 0 || a.strides(0) == 0);
    };
    if (!plain(p) || !plain(q) || p.size() != q.size()) return false;
    return cpu::good_pair(cpu::Prob{per_sample<double>(p), per_sample<double>(q)}, p.size());
  });

  // The words of a block in all eight lanes, by the Philox of an instruction set: for the known answers.
  m.def("philox", [](const std::array<uint32_t, 4>& counter, const std::array<uint32_t, 2>& key, int isa) {
    const fb::SampleKey sample{key[0], key[1], counter[1], counter[2]};
    std::array<uint32_t, 8> block;
    std::array<uint64_t, 8> high, low;
    block.fill(counter[0]);
    FB_CALL_ISA(static_cast<cpu::Isa>(isa), element_words, sample, counter[3] >> 24, counter[3] & 0xffffffu, block.data(), 8,
                high.data(), low.data());
    py::list lanes;
    for (int i = 0; i < 8; ++i) lanes.append(py::make_tuple(high[i] >> 32, high[i] & 0xffffffffu, low[i] >> 32, low[i] & 0xffffffffu));
    return lanes;
  });

  // C(j), j = 0..n-1, of rows n = unit * lane (unit 16, else 1), as the kernel of an instruction set builds them: for the
  // test that proves the law. Rows past the stored ones are at or above 65535 << 32 and come from the slow path.
  m.def("thresholds", [](double p, double q, int unit, int lane, int isa) {
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
