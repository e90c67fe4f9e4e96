// The ops on states of fastblackout._cuda and fastblackout._simt; gpu.h says how they are called.
#pragma once

#include "bindings/gpu_arguments.h"

namespace fastblackout {
namespace bindings {

// (address, dtype code, shape, strides) of three dimensions
inline cuda::Matrices matrices_of(const py::tuple& array) {
  const py::tuple shape = array[2], strides = array[3];
  cuda::Matrices m;
  m.data = pointer<char>(array[0].cast<uintptr_t>());
  m.single = array[1].cast<int>() == cuda::kF32;
  m.matrices = shape[0].cast<int64_t>();
  m.rows = shape[1].cast<int64_t>();
  m.columns = shape[2].cast<int64_t>();
  m.matrix_stride = strides[0].cast<int64_t>();
  m.row_stride = strides[1].cast<int64_t>();
  m.column_stride = strides[2].cast<int64_t>();
  return m;
}

inline void define_states(py::module_& m) {
  m.def("categorical", [](const py::tuple& head, const py::object& state, const py::tuple& probs, const py::object& index,
                          const py::object& key, const py::object& out) {
    cuda::Categorical op;
    const Head where(op, head);
    op.state = view_of(state);
    op.probs = matrices_of(probs);
    op.index = address_of<const int64_t>(index);
    op.key = address_of<const int64_t>(key);
    op.out = view_of(out);
    call("categorical", cuda::categorical, op, where.stream);
  });

  m.def("categorical_table", [](const py::tuple& head, const py::object& state, const py::tuple& thresholds, const py::object& guide,
                                const py::object& index, const py::object& key, const py::object& out) {
    cuda::Categorical op;
    const Head where(op, head);
    op.state = view_of(state);
    op.probs = matrices_of(thresholds);
    op.thresholds = address_of<int64_t>(thresholds);
    op.guide = address_of<uint16_t>(guide);
    op.index = address_of<const int64_t>(index);
    op.key = address_of<const int64_t>(key);
    op.out = view_of(out);
    call("categorical", cuda::categorical_table, op, where.stream);
  });

  m.def("build_categorical_table", [](const py::tuple& head, const py::tuple& probs, const py::object& thresholds,
                                      const py::object& guide) {
    cuda::Categorical op;
    const Head where(op, head);
    op.probs = matrices_of(probs);
    op.thresholds = address_of<int64_t>(thresholds);
    op.guide = address_of<uint16_t>(guide);
    call("CategoricalTable", cuda::build_categorical_table, op, where.stream);
  });

  // weights: those of every element's first class, which the others follow by class_stride.
  m.def("categorical_bridge", [](const py::tuple& head, const py::object& x_t, const py::object& x_0, const py::object& weights,
                                 int64_t class_stride, bool logits, const py::tuple& before, const py::tuple& after,
                                 const py::object& index, const py::object& key, const py::object& x_s) {
    cuda::CategoricalBridge op;
    const Head where(op, head);
    op.x_t = view_of(x_t);
    op.x_0 = view_of(x_0);
    op.weights = view_of(weights);
    op.class_stride = class_stride;
    op.logits = logits;
    op.before = matrices_of(before);
    op.after = matrices_of(after);
    op.index = address_of<const int64_t>(index);
    op.key = address_of<const int64_t>(key);
    op.x_s = view_of(x_s);
    call("categorical_bridge", cuda::categorical_bridge, op, where.stream);
  });

  m.def("transition_rows", [](const py::tuple& head, const py::object& p, const py::object& q, const py::tuple& out) {
    cuda::TransitionRows op;
    const cuda::Matrices rows = matrices_of(out);
    const Head where(op, head);
    op.prob = pair_of(p, q);
    op.states = rows.rows;
    op.strides[0] = rows.matrix_stride;
    op.strides[1] = rows.row_stride;
    op.strides[2] = rows.column_stride;
    op.out = address_of<double>(out);
    call("transition_rows", cuda::transition_rows, op, where.stream);
  });

  // x, a and b of LogProb in transition.h; b is None for the law of thinning. p, q: of the shape of x.
  m.def("log_prob", [](const py::tuple& head, const py::object& x, const py::object& a, const py::object& b, const py::object& p,
                       const py::object& q, const py::object& out) {
    cuda::LogProbs op;
    const Head where(op, head);
    op.kind = b.is_none() ? 0 : 1;
    op.x = view_of(x);
    op.a = view_of(a);
    op.b = view_of(b);
    op.p = view_of(p);
    op.q = view_of(q);
    op.out = view_of(out);
    call("log_prob", cuda::log_prob, op, where.stream);
  });
}

}  // namespace bindings
}  // namespace fastblackout
