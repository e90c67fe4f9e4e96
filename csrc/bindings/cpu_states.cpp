// fastblackout._cpu: the ops on states, categorical, transition and power_series.
#include "bindings/cpu_arguments.h"

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

}  // namespace

void define_states(py::module_& m) {
  m.def("categorical", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& state, const py::object& out,
                          const py::object& probs, const py::object& thresholds, const py::object& guide, const py::object& index,
                          double tolerance) {
    cpu::Categorical op;
    fill_common(op, size, key, threads, isa);
    op.state = view_of(state);
    op.out = view_of(out);
    op.probs = matrices_of(probs, index);
    op.thresholds = matrices_of(thresholds, index);
    op.guide = matrices_of(guide, index);
    op.tolerance = tolerance;
    call(cpu::categorical, op);
  });

  m.def("categorical_table", [](const py::tuple& size, int threads, int isa, const py::object& probs, double tolerance, py::array thresholds,
                                py::array guide) {
    cpu::CategoricalTable op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
    op.probs = matrices_of(probs, py::none());
    op.tolerance = tolerance;
    op.thresholds = values<int64_t>(thresholds);
    op.guide = values<uint16_t>(guide);
    call(cpu::categorical_table, op);
  });

  m.def("categorical_bridge", [](const py::tuple& size, const py::tuple& key, int threads, int isa, const py::object& x_t, const py::object& x_0,
                                 const py::object& weights, bool is_logits, const py::object& x_s, const py::object& before,
                                 const py::object& after, const py::object& index, double tolerance) {
    cpu::CategoricalBridge op;
    fill_common(op, size, key, threads, isa);
    op.x_t = view_of(x_t);
    op.x_0 = view_of(x_0);
    op.weights = view_of(weights);
    op.x_s = view_of(x_s);
    op.is_logits = is_logits;
    op.tolerance = tolerance;
    op.before = matrices_of(before, index);
    op.after = matrices_of(after, index);
    call(cpu::categorical_bridge, op);
  });

  m.def("transition_rows", [](const py::tuple& size, int threads, int isa, const py::object& prob, py::array out) {
    cpu::TransitionRows op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
    op.prob = prob_of(prob);
    op.out = values<double>(out);
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

  m.def("log_prob", [](const std::string& name, int kind, const py::tuple& size, int threads, int isa, const py::object& x, const py::object& a,
                       const py::object& b, const py::object& prob, const py::object& p, const py::object& q, const py::object& out) {
    cpu::LogProbs op;
    fill_common(op, size, py::make_tuple(0, 0, 0), threads, isa);
    op.name = name.c_str();
    op.kind = kind;
    op.x = view_of(x);
    op.a = view_of(a);
    op.b = view_of(b);
    op.prob = prob_of(prob);
    op.p = view_of(p);
    op.q = view_of(q);
    op.out = view_of(out);
    call(cpu::log_prob, op);
  });
}
