// fastblackout._cpu: the ops on states, categorical, transition and power_series.
#include "bindings/cpu_arguments.h"
#include "fastblackout/transition.h"

namespace {

// Matrices (K, R, S) as (address, dtype code, shape, strides), and which one each sample uses.
cpu::Matrices matrices_of(const py::object& array, const py::object& index) {
  cpu::Matrices made;
  if (array.is_none()) return made;
  const py::tuple parts = py::reinterpret_borrow<py::tuple>(array);
  made.data = reinterpret_cast<const char*>(parts[0].cast<uintptr_t>());
  made.dtype = static_cast<cpu::Dtype>(parts[1].cast<int>());
  const py::tuple shape = parts[2], strides = parts[3];
  made.matrices = shape[0].cast<int64_t>();
  made.rows = shape[1].cast<int64_t>();
  made.states = shape[2].cast<int64_t>();
  made.matrix_stride = strides[0].cast<int64_t>();
  made.row_stride = strides[1].cast<int64_t>();
  if (!index.is_none()) made.index = values<int64_t>(py::reinterpret_borrow<py::array>(index));
  return made;
}

// Of the sum of a row of probabilities from 1: what its dtype allows.
double tolerance_of(cpu::Dtype dtype) { return dtype == cpu::Dtype::f32 ? 1e-4 : 1e-9; }

void fill_log_prob(cpu::LogProbs& op, const char* name, fb::LogProb law, const py::object& x, const py::object& a,
                   const py::object& b, const py::object& out) {
  op.name = name;
  op.kind = static_cast<int>(law);
  op.x = view_of(x);
  op.a = view_of(a);
  op.b = view_of(b);
  op.out = view_of(out);
}

}  // namespace

void define_states(py::module_& m) {
  m.def("categorical", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& state,
                          const py::object& probs, const py::object& index, const py::object& out) {
    cpu::Categorical op;
    fill_common(op, size, key, threads, isa);
    op.state = view_of(state);
    op.probs = matrices_of(probs, index);
    op.tolerance = tolerance_of(op.probs.dtype);
    op.out = view_of(out);
    call(cpu::categorical, op);
  });

  m.def("categorical_table", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& state,
                                const py::object& thresholds, const py::object& guide, const py::object& index,
                                const py::object& out) {
    cpu::Categorical op;
    fill_common(op, size, key, threads, isa);
    op.state = view_of(state);
    op.thresholds = matrices_of(thresholds, index);
    op.guide = matrices_of(guide, index);
    op.out = view_of(out);
    call(cpu::categorical, op);
  });

  m.def("build_categorical_table", [](const py::tuple& size, const py::tuple&, int threads, int isa, const py::object& probs,
                                      const py::tuple& thresholds, const py::tuple& guide) {
    cpu::CategoricalTable op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
    op.probs = matrices_of(probs, py::none());
    op.tolerance = tolerance_of(op.probs.dtype);
    op.thresholds = address_of<int64_t>(thresholds);
    op.guide = address_of<uint16_t>(guide);
    call(cpu::categorical_table, op);
  });

  m.def("categorical_bridge", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_t,
                                 const py::object& x_0, const py::object& weights, bool is_logits, const py::object& before,
                                 const py::object& after, const py::object& index, const py::object& x_s) {
    cpu::CategoricalBridge op;
    fill_common(op, size, key, threads, isa);
    op.x_t = view_of(x_t);
    op.x_0 = view_of(x_0);
    op.weights = view_of(weights);
    op.is_logits = is_logits;
    op.tolerance = tolerance_of(op.weights.dtype);
    op.before = matrices_of(before, index);
    op.after = matrices_of(after, index);
    op.x_s = view_of(x_s);
    call(cpu::categorical_bridge, op);
  });

  // The states are the elements of `size`.
  m.def("transition_rows", [](const py::tuple& size, const py::tuple&, int threads, int isa, const py::object& prob, int64_t,
                              const py::tuple& out) {
    cpu::TransitionRows op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
    op.prob = prob_of(prob);
    op.out = address_of<double>(out);
    call(cpu::transition_rows, op);
  });

  m.def("power_series", [](const py::tuple& size, int threads, int isa, const py::array& offsets, const py::array& entries,
                           const py::object& start, const py::array& weights, const py::array& needed, const py::array& places,
                           py::array out, py::array sums) {
    cpu::PowerSeries op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
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
    call(cpu::power_series, op);
  });

  m.def("thin_log_prob", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_t,
                            const py::object& x_0, const py::object& alive, const py::object& out) {
    cpu::LogProbs op;
    fill_common(op, size, key, threads, isa);
    fill_log_prob(op, "thin_log_prob", fb::LogProb::thin, x_t, x_0, py::none(), out);
    op.prob = prob_of(alive);
    call(cpu::log_prob, op);
  });

  m.def("bridge_log_prob", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_s,
                              const py::object& x_t, const py::object& x_0, const py::object& step, const py::object& out) {
    cpu::LogProbs op;
    fill_common(op, size, key, threads, isa);
    fill_log_prob(op, "bridge_log_prob", fb::LogProb::bridge, x_s, x_t, x_0, out);
    op.prob = prob_of(step);
    call(cpu::log_prob, op);
  });

  m.def("binomial_log_prob", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x,
                                const py::object& count, const py::object& p, const py::object& q, const py::object& out) {
    cpu::LogProbs op;
    fill_common(op, size, key, threads, isa);
    fill_log_prob(op, "binomial_log_prob", fb::LogProb::element, x, count, py::none(), out);
    op.p = view_of(p);
    op.q = view_of(q);
    call(cpu::log_prob, op);
  });
}
