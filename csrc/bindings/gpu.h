// What fastblackout._cuda and fastblackout._simt share: the same functions over addresses of device memory, or of host
// memory. A function takes a Head, then the op's fields in the order in which fastblackout/ops declares them, then its
// outputs. Tensors come as (address, dtype code, shape, strides in elements) or None.
#pragma once

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "bindings/gil.h"
#include "cuda/ops.h"

namespace fastblackout {
namespace bindings {

namespace py = pybind11;

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Of the memory of a tensor that is dense, or null for None.
template <class T>
T* address_of(const py::object& tensor) {
  return tensor.is_none() ? nullptr : pointer<T>(py::reinterpret_borrow<py::tuple>(tensor)[0].cast<uintptr_t>());
}

inline cuda::View view_of(const py::object& array) {
  cuda::View view;
  if (array.is_none()) return view;
  static constexpr int64_t kBytes[] = {1, 2, 4, 8, 4, 8, 2, 2};
  const py::tuple parts = py::reinterpret_borrow<py::tuple>(array);
  const uintptr_t address = parts[0].cast<uintptr_t>();
  view.data = pointer<char>(address);
  view.dtype = parts[1].cast<int>();
  const py::tuple shape = parts[2], strides = parts[3];
  if (shape.size() == 0) return view;
  view.sample_stride = strides[0].cast<int64_t>();
  view.dims = 0;
  int64_t elements = 1;
  for (size_t d = 1; d < shape.size(); ++d) {
    const int64_t size = shape[d].cast<int64_t>(), stride = strides[d].cast<int64_t>();
    elements *= size;
    if (size == 1) continue;
    if (view.dims > 0 && view.strides[view.dims - 1] == stride * size) {
      view.sizes[view.dims - 1] *= static_cast<uint32_t>(size);
      view.strides[view.dims - 1] = stride;
      continue;
    }
    if (view.dims == cuda::kMaxDims) throw std::invalid_argument("arrays may have at most 8 dimensions that do not merge");
    view.sizes[view.dims] = static_cast<uint32_t>(size);
    view.strides[view.dims++] = stride;
  }
  if (view.dims == 0) {
    view.dims = 1;
    view.sizes[0] = 1;
    view.strides[0] = 1;
  }
  const int64_t bytes = kBytes[view.dtype];
  view.aligned = view.dims == 1 && view.strides[0] == 1 && address % 16 == 0 &&
                 (shape[0].cast<int64_t>() == 1 || view.sample_stride * bytes % 16 == 0);
  view.vector = view.aligned && elements % 16 == 0;
  return view;
}

// Where an op runs and on how much: (device, stream, samples, elements, flag, name). The device in use before, which torch takes for its current one, is in use again when the Head goes.
struct Head {
  void* stream;

  Head(cuda::Common& op, const py::tuple& head) : device(head[0].cast<int>()) {
    check(head[5].cast<std::string>().c_str(), cuda::use_device(device, &before));
    stream = pointer<void>(head[1].cast<uintptr_t>());
    op.samples = head[2].cast<int64_t>();
    op.elements = head[3].cast<int64_t>();
    op.flag = pointer<int>(head[4].cast<uintptr_t>());
  }

  Head(const Head&) = delete;
  ~Head() {
    int now;
    if (before != device) cuda::use_device(before, &now);
  }

  static void check(const char* name, int error) {
    if (error != 0) throw std::runtime_error(std::string(name) + ": CUDA: " + cuda::error_text(error));
  }

 private:
  int device, before = 0;
};

// A launch; the GIL is released since the CPU twin takes its time.
template <class Op>
void call(const char* name, int (*kernel)(const Op&, void*), const Op& op, void* stream) {
  int error = 0;
  run_without_gil([&] { error = kernel(op, stream); });
  Head::check(name, error);
}

inline cuda::Pair pair_of(const py::object& p, const py::object& q) { return cuda::Pair{address_of<double>(p), address_of<double>(q)}; }

inline cuda::Input input_of(const py::object& out, const py::object& center, const py::object& scale) {
  return cuda::Input{view_of(out), address_of<float>(center), address_of<float>(scale)};
}

inline void fill_reverse(cuda::Reverse& op, const py::object& x_t, const py::object& logits, const py::object& births,
                         const py::object& key, int64_t max_count, const py::object& gain, const py::object& x_s) {
  op.x_t = view_of(x_t);
  op.births = logits.is_none();
  op.given = view_of(op.births ? births : logits);
  op.key = address_of<const int64_t>(key);
  op.max_count = max_count;
  op.gain = address_of<float>(gain);
  op.x_s = view_of(x_s);
}

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

inline void define_ops(py::module_& m) {
  m.def("ops", [] {
    return py::make_tuple("thin", "bridge_step", "tau_leap_step", "birth_loss", "binomial", "poisson", "categorical",
                          "categorical_table", "categorical_bridge", "transition_rows", "thin_log_prob", "bridge_log_prob",
                          "binomial_log_prob");
  });
  define_states(m);

  // int64: words (threads, 3, 4), counter and key (6).
  m.def("philox", [](const py::tuple& head, const py::object& words, const py::object& counter) {
    cuda::PhiloxWords op;
    const Head where(op, head);
    op.counter = address_of<const int64_t>(counter);
    op.words = address_of<int64_t>(words);
    call("philox", cuda::philox, op, where.stream);
  });

  m.def("thin", [](const py::tuple& head, const py::object& x_0, const py::object& p, const py::object& q, const py::object& key,
                   int64_t max_count, const py::object& center, const py::object& scale, const py::object& x_t,
                   const py::object& births, const py::object& input) {
    cuda::Thin op;
    const Head where(op, head);
    op.x_0 = view_of(x_0);
    op.alive = pair_of(p, q);
    op.key = address_of<const int64_t>(key);
    op.max_count = max_count;
    op.input = input_of(input, center, scale);
    op.x_t = view_of(x_t);
    op.births = view_of(births);
    call("thin", cuda::thin, op, where.stream);
  });

  m.def("bridge_step", [](const py::tuple& head, const py::object& x_t, const py::object& logits, const py::object& births,
                          const py::object& p, const py::object& q, const py::object& sigma_p, const py::object& sigma_q,
                          const py::object& key, int64_t max_count, const py::object& gain, bool stochastic, const py::object& center,
                          const py::object& scale, const py::object& x_s, const py::object& input) {
    cuda::Bridge op;
    const Head where(op, head);
    fill_reverse(op, x_t, logits, births, key, max_count, gain, x_s);
    op.birth = pair_of(p, q);
    op.attrition = pair_of(sigma_p, sigma_q);
    op.stochastic = stochastic;
    op.input = input_of(input, center, scale);
    call("bridge_step", cuda::bridge, op, where.stream);
  });

  m.def("tau_leap_step", [](const py::tuple& head, const py::object& x_t, const py::object& logits, const py::object& births,
                            const py::object& factor, const py::object& key, int64_t max_count, const py::object& gain,
                            const py::object& center, const py::object& scale, const py::object& x_s, const py::object& input,
                            const py::object& overshoot) {
    cuda::TauLeap op;
    const Head where(op, head);
    fill_reverse(op, x_t, logits, births, key, max_count, gain, x_s);
    op.factor = address_of<double>(factor);
    op.input = input_of(input, center, scale);
    op.overshoot = address_of<unsigned long long>(overshoot);
    call("tau_leap_step", cuda::tau_leap, op, where.stream);
  });

  // chunk_sums and chunks_done: scratch, None where a sample is one chunk.
  m.def("birth_loss", [](const py::tuple& head, const py::object& logits, const py::object& births, const py::object& weight,
                         const py::object& gain, const py::object& loss, const py::object& chunk_sums, const py::object& chunks_done) {
    cuda::BirthLoss op;
    const Head where(op, head);
    op.logits = view_of(logits);
    op.births = view_of(births);
    op.weight = address_of<double>(weight);
    op.gain = address_of<float>(gain);
    op.loss = address_of<float>(loss);
    op.chunk_sums = address_of<float>(chunk_sums);
    op.chunks_done = address_of<unsigned>(chunks_done);
    call("birth_loss", cuda::birth_loss, op, where.stream);
  });

  m.def("birth_loss_backward", [](const py::tuple& head, const py::object& logits, const py::object& births,
                                  const py::object& coefficient, const py::object& gain, const py::object& grad) {
    cuda::BirthLoss op;
    const Head where(op, head);
    op.logits = view_of(logits);
    op.births = view_of(births);
    op.weight = address_of<double>(coefficient);
    op.gain = address_of<float>(gain);
    op.grad = view_of(grad);
    call("birth_loss", cuda::birth_loss_grad, op, where.stream);
  });

  m.def("binomial", [](const py::tuple& head, const py::object& count, const py::object& p, const py::object& q,
                       const py::object& key, const py::object& out) {
    cuda::Element op;
    const Head where(op, head);
    op.count = view_of(count);
    op.p = view_of(p);
    op.q = view_of(q);
    op.key = address_of<const int64_t>(key);
    op.out = view_of(out);
    call("binomial", cuda::binomial, op, where.stream);
  });

  m.def("poisson", [](const py::tuple& head, const py::object& rate, const py::object& key, const py::object& out) {
    cuda::Element op;
    const Head where(op, head);
    op.p = view_of(rate);
    op.key = address_of<const int64_t>(key);
    op.out = view_of(out);
    call("poisson", cuda::poisson, op, where.stream);
  });
}

}  // namespace bindings
}  // namespace fastblackout
