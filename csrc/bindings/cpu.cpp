// fastblackout._cpu: the CPU kernels for Python. Arrays come as (address, dtype code, shape, strides in elements) or None,
// per-sample parameters as contiguous NumPy arrays; fastblackout/ops has checked dtypes, shapes and devices, and owns the memory.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "cpu/draw.h"
#include "cpu/ops.h"

namespace py = pybind11;
namespace fb = fastblackout;
namespace cpu = fastblackout::cpu;

namespace {

cpu::Isa chosen = cpu::Isa::scalar;

// A per-sample parameter or result. No copy, no conversion: a wrong dtype is a fault of the caller in the package.
template <class T>
T* values(const py::array& array) {
  if (!array.dtype().is(py::dtype::of<T>())) throw std::invalid_argument("a per-sample array has the wrong dtype");
  return static_cast<T*>(const_cast<void*>(array.data()));
}

cpu::View view_of(const py::object& array) {
  cpu::View view;
  if (array.is_none()) return view;
  const py::tuple parts = py::reinterpret_borrow<py::tuple>(array);
  view.data = reinterpret_cast<char*>(parts[0].cast<uintptr_t>());
  view.dtype = static_cast<cpu::Dtype>(parts[1].cast<int>());
  const py::tuple shape = parts[2], strides = parts[3];
  if (shape.size() == 0) return view;
  view.sample_stride = strides[0].cast<int64_t>();
  view.dims = 0;
  for (size_t d = 1; d < shape.size(); ++d) {
    const int64_t size = shape[d].cast<int64_t>(), stride = strides[d].cast<int64_t>();
    if (size == 1) continue;
    if (view.dims > 0 && view.strides[view.dims - 1] == stride * size) {
      view.sizes[view.dims - 1] *= size;
      view.strides[view.dims - 1] = stride;
      continue;
    }
    if (view.dims == cpu::kMaxDims) throw std::invalid_argument("arrays may have at most 16 dimensions that do not merge");
    view.sizes[view.dims] = size;
    view.strides[view.dims++] = stride;
  }
  if (view.dims == 0) {
    view.dims = 1;
    view.sizes[0] = view.strides[0] = 1;
  }
  return view;
}

void fill_common(cpu::Common& op, const py::tuple& size, const py::tuple& key, int threads, int isa) {
  op.samples = size[0].cast<int64_t>();
  op.elements = size[1].cast<int64_t>();
  const uint64_t seed = key[0].cast<uint64_t>();
  op.key = fb::SampleKey{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), key[1].cast<uint32_t>(), key[2].cast<uint32_t>()};
  op.threads = threads;
  op.isa = isa < 0 ? chosen : static_cast<cpu::Isa>(isa);
  if (op.isa > cpu::best_isa()) throw std::invalid_argument("this processor has no such instruction set");
}

cpu::Prob prob_of(const py::object& pair) {
  if (pair.is_none()) return cpu::Prob{};
  const py::tuple parts = py::reinterpret_borrow<py::tuple>(pair);
  return cpu::Prob{values<double>(parts[0]), values<double>(parts[1])};
}

cpu::Input input_of(const py::object& out, const py::array& center, const py::array& scale) {
  cpu::Input input;
  input.out = view_of(out);
  input.center = values<float>(center);
  input.scale = values<float>(scale);
  return input;
}

template <class Op>
void call(void (*kernel)(const Op&), const Op& op) {
  py::gil_scoped_release free;
  kernel(op);
}

void fill_reverse(cpu::Reverse& op, const py::object& x_t, const py::object& logits, const py::object& births,
                  const py::object& x_s, const py::object& input, const py::array& gain, const py::array& center, const py::array& scale,
                  int64_t max_count) {
  op.x_t = view_of(x_t);
  op.logits = view_of(logits);
  op.births = view_of(births);
  op.x_s = view_of(x_s);
  op.input = input_of(input, center, scale);
  op.gain = values<float>(gain);
  op.max_count = max_count;
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "CPU kernels of fastblackout; use the functions of the package, which check their arguments.";
  const char* forced = std::getenv("FASTBLACKOUT_ISA");
  try {
    chosen = forced != nullptr && *forced != '\0' ? cpu::parse_isa(forced) : cpu::best_isa();
  } catch (const std::invalid_argument& wrong) {
    throw py::import_error(wrong.what());
  }
  m.def("isa", [] { return cpu::isa_name(chosen); });
  m.def("isas", [] {
    py::list names;
    for (int level = 0; level <= static_cast<int>(cpu::best_isa()); ++level) names.append(cpu::isa_name(static_cast<cpu::Isa>(level)));
    return names;
  });

  m.def("thin", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_0,
                   const py::object& x_t, const py::object& births, const py::object& input, const py::object& alive,
                   const py::array& center, const py::array& scale, int64_t max_count) {
    cpu::Thin op;
    fill_common(op, size, key, threads, isa);
    op.x_0 = view_of(x_0);
    op.x_t = view_of(x_t);
    op.births = view_of(births);
    op.input = input_of(input, center, scale);
    op.alive = prob_of(alive);
    op.max_count = max_count;
    call(cpu::thin, op);
  });

  m.def("bridge", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_t,
                     const py::object& logits, const py::object& births, const py::object& x_s, const py::object& input,
                     const py::array& gain, const py::array& center, const py::array& scale, int64_t max_count, const py::object& birth,
                     const py::object& attrition, bool stochastic) {
    cpu::Bridge op;
    fill_common(op, size, key, threads, isa);
    fill_reverse(op, x_t, logits, births, x_s, input, gain, center, scale, max_count);
    op.birth = prob_of(birth);
    op.attrition = prob_of(attrition);
    op.stochastic = stochastic;
    call(cpu::bridge, op);
  });

  m.def("tau_leap", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_t,
                       const py::object& logits, const py::object& births, const py::object& x_s, const py::object& input,
                       const py::array& gain, const py::array& center, const py::array& scale, int64_t max_count, const py::array& factor, const py::array& overshoot) {
    cpu::TauLeap op;
    fill_common(op, size, key, threads, isa);
    fill_reverse(op, x_t, logits, births, x_s, input, gain, center, scale, max_count);
    op.factor = values<double>(factor);
    op.overshoot = values<int64_t>(overshoot);
    call(cpu::tau_leap, op);
  });

  m.def("birth_loss", [](const py::tuple& size, int threads, int isa, const py::object& logits, const py::object& births,
                         const py::array& weight, const py::array& gain, const py::object& loss, const py::object& grad) {
    cpu::BirthLoss op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
    op.logits = view_of(logits);
    op.births = view_of(births);
    op.grad = view_of(grad);
    op.weight = values<double>(weight);
    op.gain = values<float>(gain);
    if (!loss.is_none()) op.loss = values<float>(loss);
    call(grad.is_none() ? cpu::birth_loss : cpu::birth_loss_grad, op);  // an empty gradient has no address
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

  // Whether two arrays are contiguous float64 probabilities of one length with p + q = 1 within `tolerance`.
  m.def("good_pair", [](const py::array& p, const py::array& q, double tolerance) {
    const py::dtype f64 = py::dtype::of<double>();
    if (!p.dtype().is(f64) || !q.dtype().is(f64) || p.size() != q.size()) return false;
    if (!(p.flags() & py::array::c_style) || !(q.flags() & py::array::c_style)) return false;
    const double *a = values<double>(p), *b = values<double>(q);
    bool good = true;
    for (py::ssize_t i = 0; i < p.size(); ++i) {
      const double off = (a[i] + b[i]) - 1.0;
      good = good && a[i] >= 0.0 && a[i] <= 1.0 && b[i] >= 0.0 && b[i] <= 1.0 && off <= tolerance && off >= -tolerance;
    }
    return good;
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
    const int n = unit * lane, rows = unit == 16 ? table->rows_upper : table->rows_lower;
    double pm = fb::row_start(unit == 16 ? table->step_upper : table->prob.q, lane), cdf = pm;
    for (int j = 0; j < n; ++j) {
      const double stored = unit == 16 ? table->cdf_upper[j][lane] : table->cdf_lower[j][lane];
      out.append(fb::threshold(j < rows ? stored : cdf));
      pm = pm * (static_cast<double>(n - j) * (table->odds / static_cast<double>(j + 1)));
      cdf = cdf + pm;
    }
    return out;
  });
}
