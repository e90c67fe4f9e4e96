// What fastblackout._cuda and fastblackout._simt share: the same functions over addresses of device memory, or of host
// memory. A function takes a Head, then the op's fields in the order in which fastblackout/ops declares them, then its
// outputs.
#pragma once

#include "bindings/gpu_states.h"

namespace fastblackout {
namespace bindings {

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
