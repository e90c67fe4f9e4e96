// transition_rows: whole rows of Binomial(n, p); log_prob: exact log-probabilities of thinning, of the bridge and of any
// binomial law.
#if !defined(FB_ISA)

#include "fastblackout/transition.h"

#include <cstdio>

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/transition.cpp"
namespace fastblackout::cpu {
constexpr double kMaxWhole = 9007199254740992.0;  // 2^53
constexpr int kPart = 256;                         // elements at a time: nine buffers of doubles fit the first-level cache
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(rows_chunk, TransitionRows)
FB_CHUNK(log_prob_chunk, LogProbs)

void transition_rows(const TransitionRows& op) {
  check_each("transition_rows", "prob", op.prob.p, op.samples, Rule::probability);
  check_each("transition_rows", "prob", op.prob.q, op.samples, Rule::probability);
  for_chunks(op, rows_chunk, 32, op.elements);
}

void log_prob(const LogProbs& op) {
  const bool bridge = op.law == LogProb::bridge;
  const char *name = bridge ? "bridge_log_prob" : "thin_log_prob", *prob = bridge ? "step" : "alive";
  if (op.prob.p) {  // the arguments of binomial_log_prob, which has a p for each element instead, were checked in Python
    check_each(name, prob, op.prob.p, op.samples, Rule::probability);
    check_each(name, prob, op.prob.q, op.samples, Rule::probability);
    check_values(op, name, bridge ? "x_s" : "x_t", op.x, Rule::count, kMaxWhole);
    check_values(op, name, bridge ? "x_t" : "x_0", op.a, Rule::count, kMaxWhole);
    if (bridge) check_values(op, name, "x_0", op.b, Rule::count, kMaxWhole);
  }
  for_chunks(op, log_prob_chunk, kPart);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

static void rows_chunk(const TransitionRows& op, int64_t sample, int64_t n0, int count) {
  const double p = probability_or_zero(op.prob.p[sample]), q = probability_or_zero(op.prob.q[sample]);
  const double odds = p / q, inverse_odds = q / p;
  double up_of[kMaxTransitionStates + 1], down_of[kMaxTransitionStates + 1];
  for (int64_t j = 0; j <= op.elements; ++j) up_of[j] = odds / static_cast<double>(j + 1);
  for (int64_t j = 0; j <= op.elements; ++j) down_of[j] = inverse_odds / static_cast<double>(j);
  for (int64_t n = n0; n < n0 + count; ++n)
    transition_row(n, op.elements, p, q, up_of, down_of, op.out + (sample * op.elements + n) * op.elements);
}

// Stirling's corrections of whole numbers of at least 1: a table look-up for the small ones, the series for the others.
static void corrections(const double* x, int count, double* to) {
  alignas(64) double small[kPart];
  for (int k = 0; k < count; ++k) small[k] = stirling_tabulated(x[k] < 16.0 ? x[k] : 0.0);
  for (int k = 0; k < count; ++k) to[k] = x[k] < 16.0 ? small[k] : stirling_series(x[k]);
}

static void log_prob_chunk(const LogProbs& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double x[kPart], n[kPart], p[kPart], q[kPart], of_n[kPart], of_x[kPart], of_rest[kPart], part[kPart];
  load(op.x, sample, i0, count, x);
  load(op.a, sample, i0, count, n);
  if (op.law == LogProb::bridge) {
    load(op.b, sample, i0, count, part);
    for (int k = 0; k < count; ++k) {
      x[k] = x[k] - n[k];
      n[k] = part[k] - n[k];
    }
  }
  if (op.prob.p) {
    for (int k = 0; k < count; ++k) p[k] = op.prob.p[sample];
    for (int k = 0; k < count; ++k) q[k] = op.prob.q[sample];
  } else {
    load(op.p, sample, i0, count, p);
    load(op.q, sample, i0, count, q);
    // fb.binomial_log_prob takes any x: one that is no whole number counts as outside 0..n.
    for (int k = 0; k < count; ++k) {
      const double small = x[k] >= 0.0 && x[k] < kMaxWhole ? x[k] : 0.0;  // all above are whole numbers
      const bool whole = x[k] >= kMaxWhole || static_cast<double>(static_cast<int64_t>(small)) == x[k];
      x[k] = whole ? x[k] : -1.0;
    }
  }
  // Elements outside 0 < x < n do not use the corrections, and get any.
  for (int k = 0; k < count; ++k) part[k] = x[k] > 0.0 && x[k] < n[k] ? n[k] : 2.0;
  corrections(part, count, of_n);
  for (int k = 0; k < count; ++k) part[k] = x[k] > 0.0 && x[k] < n[k] ? x[k] : 1.0;
  corrections(part, count, of_x);
  for (int k = 0; k < count; ++k) part[k] = x[k] > 0.0 && x[k] < n[k] ? n[k] - x[k] : 1.0;
  corrections(part, count, of_rest);
  for (int k = 0; k < count; ++k) part[k] = (of_n[k] - of_x[k]) - of_rest[k];
  double *log_p = of_x, *log_q = of_rest;
  const int distinct = op.prob.p ? 1 : count;  // prob has one p for all elements of a sample
  for (int k = 0; k < distinct; ++k) log_p[k] = log_chance(p[k], q[k]);
  for (int k = 0; k < distinct; ++k) log_q[k] = log_chance(q[k], p[k]);
  for (int k = distinct; k < count; ++k) log_p[k] = log_p[0];
  for (int k = distinct; k < count; ++k) log_q[k] = log_q[0];
  for (int k = 0; k < count; ++k) x[k] = binomial_log_pmf_from(x[k], n[k], p[k], q[k], part[k], log_p[k], log_q[k]);
  store(op.out, sample, i0, count, x);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
