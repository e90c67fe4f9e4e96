// What fastblackout._cuda and fastblackout._simt share: the same functions over addresses of device memory, or of host
// memory. Arrays come as (address, dtype code, shape, strides in elements) or None, per-sample parameters as addresses.
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

// Where an op runs, on how much, with which key: (device, stream, samples, elements, key, flag, name). The device in use
// before, which torch takes for its current one, is in use again when the Head goes.
struct Head {
  void* stream;

  Head(cuda::Common& op, const py::tuple& head) : device(head[0].cast<int>()) {
    check(head[6].cast<std::string>().c_str(), cuda::use_device(device, &before));
    stream = pointer<void>(head[1].cast<uintptr_t>());
    op.samples = head[2].cast<int64_t>();
    op.elements = head[3].cast<int64_t>();
    op.key = pointer<const int64_t>(head[4].cast<uintptr_t>());
    op.flag = pointer<int>(head[5].cast<uintptr_t>());
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

inline cuda::Pair pair_of(uintptr_t p, uintptr_t q) { return cuda::Pair{pointer<double>(p), pointer<double>(q)}; }

inline void fill_reverse(cuda::Reverse& op, const py::tuple& arrays, const py::tuple& per_sample, int64_t max_count) {
  op.x_t = view_of(arrays[0]);
  op.births = arrays[1].is_none();
  op.given = view_of(arrays[op.births ? 2 : 1]);
  op.x_s = view_of(arrays[3]);
  op.input.out = view_of(arrays[4]);
  op.gain = pointer<float>(per_sample[0].cast<uintptr_t>());
  op.input.center = pointer<float>(per_sample[1].cast<uintptr_t>());
  op.input.scale = pointer<float>(per_sample[2].cast<uintptr_t>());
  op.max_count = max_count;
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

inline void define_categorical(py::module_& m) {
  m.def("categorical", [](const py::tuple& head, const py::object& state, const py::tuple& probs, uintptr_t index,
                          const py::object& out) {
    cuda::Categorical op;
    const Head where(op, head);
    op.state = view_of(state);
    op.out = view_of(out);
    op.probs = matrices_of(probs);
    op.index = pointer<const int64_t>(index);
    call("categorical", cuda::categorical, op, where.stream);
  });

  // Drawn from where there is a state, else built from probs.
  m.def("categorical_table", [](const py::tuple& head, const py::object& state, const py::tuple& probs, uintptr_t thresholds,
                                uintptr_t guide, uintptr_t index, const py::object& out) {
    cuda::Categorical op;
    const Head where(op, head);
    op.state = view_of(state);
    op.out = view_of(out);
    op.probs = matrices_of(probs);
    op.thresholds = pointer<int64_t>(thresholds);
    op.guide = pointer<uint16_t>(guide);
    op.index = pointer<const int64_t>(index);
    call("categorical", state.is_none() ? cuda::build_categorical_table : cuda::categorical_table, op, where.stream);
  });

  m.def("categorical_bridge", [](const py::tuple& head, const py::tuple& arrays, int64_t class_stride, bool logits,
                                 const py::tuple& before, const py::tuple& after, uintptr_t index) {
    cuda::CategoricalBridge op;
    const Head where(op, head);
    op.x_t = view_of(arrays[0]);
    op.x_0 = view_of(arrays[1]);
    op.weights = view_of(arrays[2]);
    op.x_s = view_of(arrays[3]);
    op.class_stride = class_stride;
    op.logits = logits;
    op.before = matrices_of(before);
    op.after = matrices_of(after);
    op.index = pointer<const int64_t>(index);
    call("categorical_bridge", cuda::categorical_bridge, op, where.stream);
  });

  m.def("transition_rows", [](const py::tuple& head, uintptr_t p, uintptr_t q, const py::tuple& out) {
    cuda::TransitionRows op;
    const cuda::Matrices rows = matrices_of(out);
    const Head where(op, head);
    op.prob = pair_of(p, q);
    op.states = rows.rows;
    op.strides[0] = rows.matrix_stride;
    op.strides[1] = rows.row_stride;
    op.strides[2] = rows.column_stride;
    op.out = pointer<double>(out[0].cast<uintptr_t>());
    call("transition_rows", cuda::transition_rows, op, where.stream);
  });

  m.def("log_prob", [](const py::tuple& head, int kind, const py::tuple& arrays) {
    cuda::LogProbs op;
    const Head where(op, head);
    op.kind = kind;
    op.x = view_of(arrays[0]);
    op.a = view_of(arrays[1]);
    op.b = view_of(arrays[2]);
    op.p = view_of(arrays[3]);
    op.q = view_of(arrays[4]);
    op.out = view_of(arrays[5]);
    call("log_prob", cuda::log_prob, op, where.stream);
  });
}

inline void define_ops(py::module_& m) {
  m.def("ops", [] {
    return py::make_tuple("thin", "bridge_step", "tau_leap_step", "birth_loss", "binomial", "poisson", "categorical",
                          "categorical_table", "categorical_bridge", "transition_rows", "thin_log_prob", "bridge_log_prob",
                          "binomial_log_prob");
  });
  define_categorical(m);

  // Addresses of int64: counter and key (6), words (threads, 3, 4).
  m.def("philox", [](const py::tuple& head, uintptr_t counter, uintptr_t words) {
    cuda::PhiloxWords op;
    const Head where(op, head);
    op.counter = pointer<const int64_t>(counter);
    op.words = pointer<int64_t>(words);
    call("philox", cuda::philox, op, where.stream);
  });

  m.def("thin", [](const py::tuple& head, const py::object& x_0, const py::object& x_t, const py::object& births,
                   const py::object& input, uintptr_t p, uintptr_t q, uintptr_t center, uintptr_t scale, int64_t max_count) {
    cuda::Thin op;
    const Head where(op, head);
    op.x_0 = view_of(x_0);
    op.x_t = view_of(x_t);
    op.births = view_of(births);
    op.input = cuda::Input{view_of(input), pointer<float>(center), pointer<float>(scale)};
    op.alive = pair_of(p, q);
    op.max_count = max_count;
    call("thin", cuda::thin, op, where.stream);
  });

  m.def("bridge", [](const py::tuple& head, const py::tuple& arrays, const py::tuple& per_sample, int64_t max_count, uintptr_t p,
                     uintptr_t q, uintptr_t sigma_p, uintptr_t sigma_q, bool stochastic) {
    cuda::Bridge op;
    const Head where(op, head);
    fill_reverse(op, arrays, per_sample, max_count);
    op.birth = pair_of(p, q);
    op.attrition = pair_of(sigma_p, sigma_q);
    op.stochastic = stochastic;
    call("bridge_step", cuda::bridge, op, where.stream);
  });

  m.def("tau_leap", [](const py::tuple& head, const py::tuple& arrays, const py::tuple& per_sample, int64_t max_count,
                       uintptr_t factor, uintptr_t overshoot) {
    cuda::TauLeap op;
    const Head where(op, head);
    fill_reverse(op, arrays, per_sample, max_count);
    op.factor = pointer<double>(factor);
    op.overshoot = pointer<unsigned long long>(overshoot);
    call("tau_leap_step", cuda::tau_leap, op, where.stream);
  });

  m.def("birth_loss", [](const py::tuple& head, const py::object& logits, const py::object& births, uintptr_t weight,
                         uintptr_t gain, uintptr_t loss, uintptr_t chunk_sums, uintptr_t chunks_done, const py::object& grad) {
    cuda::BirthLoss op;
    const Head where(op, head);
    op.logits = view_of(logits);
    op.births = view_of(births);
    op.grad = view_of(grad);
    op.weight = pointer<double>(weight);
    op.gain = pointer<float>(gain);
    op.loss = pointer<float>(loss);
    op.chunk_sums = pointer<float>(chunk_sums);
    op.chunks_done = pointer<unsigned>(chunks_done);
    call("birth_loss", grad.is_none() ? cuda::birth_loss : cuda::birth_loss_grad, op, where.stream);
  });

  m.def("binomial", [](const py::tuple& head, const py::object& count, const py::object& p, const py::object& q,
                       const py::object& out) {
    cuda::Element op;
    const Head where(op, head);
    op.count = view_of(count);
    op.p = view_of(p);
    op.q = view_of(q);
    op.out = view_of(out);
    call("binomial", cuda::binomial, op, where.stream);
  });

  m.def("poisson", [](const py::tuple& head, const py::object& rate, const py::object& out) {
    cuda::Element op;
    const Head where(op, head);
    op.p = view_of(rate);
    op.out = view_of(out);
    call("poisson", cuda::poisson, op, where.stream);
  });
}

}  // namespace bindings
}  // namespace fastblackout
