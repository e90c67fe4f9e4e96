// transition_rows: rows of Binomial(n, p) probabilities, one warp a row. log_prob: log-probabilities of thinning and of the
// bridge, one thread an element.
#include "cuda/element.cuh"
#include "fastblackout/binomial.h"
#include "fastblackout/transition.h"

namespace fastblackout::cuda {
namespace {

struct Chain {  // the last entry made, and the sum so far
  double a, sum;
  bool open;  // whether entries are not negligible yet
};

// Makes the `count` entries from the mode on in one direction: all lanes (threads of a warp) make ratios, the first one
// multiplies and adds up, and all store.
template <bool Up>
FB_DEVICE void follow(Chain& chain, double* stage, double* out, int64_t stride, int n, int mode, double odds, int lane) {
  const int count = Up ? n - mode : mode;
  for (int from = 0; from < count; from += 32) {
    const int j = Up ? mode + from + lane : mode - from - lane;  // the entry before the lane's
    const bool inside = from + lane < count;
    if (inside) stage[lane] = Up ? step_up(n, j, odds) : step_down(n, j, odds);
    __syncwarp();
    if (lane == 0) {
      const int end = count - from < 32 ? count - from : 32;
      for (int c = 0; c < end; ++c) {
        if (chain.open) chain.a = chain.a * stage[c];
        chain.open = chain.open && !(chain.a < kNegligible);
        const double a = chain.open ? chain.a : 0.0;
        chain.sum = chain.sum + a;
        stage[c] = a;
      }
    }
    __syncwarp();
    if (inside) out[(Up ? j + 1 : j - 1) * stride] = stage[lane];
    __syncwarp();
  }
}

FB_KERNEL(kThreads, 4) transition_rows_kernel(FB_PARAM(TransitionRows) op) {
  __shared__ double stage[kWarps][32];
  __shared__ double sums[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, states = static_cast<int>(op.states);
  const int64_t lines = op.samples * op.states, stride = op.out.strides[2];
  for (int64_t line = static_cast<int64_t>(blockIdx.x) * kWarps + warp; line < lines; line += static_cast<int64_t>(gridDim.x) * kWarps) {
    const int64_t sample = line / states;
    const int n = static_cast<int>(line - sample * states);
    bool wrong = false;
    const PQ prob = checked_prob(op.prob, sample, wrong);
    double* out = op.out.data + sample * op.out.strides[0] + n * op.out.strides[1];
    raise(op.flag, kWrongProbability, wrong && lane == 0);
    const bool certain = prob.p == 0.0 || prob.q == 0.0;
    const int mode = prob.p == 0.0 ? 0 : prob.q == 0.0 ? n : static_cast<int>(binomial_mode(n, prob.p));
    Chain chain{1.0, 1.0, true};
    if (!certain) {
      follow<false>(chain, stage[warp], out, stride, n, mode, prob.q / prob.p, lane);
      chain = Chain{1.0, chain.sum, true};
      follow<true>(chain, stage[warp], out, stride, n, mode, prob.p / prob.q, lane);
    }
    if (lane == 0) sums[warp] = chain.sum;
    __syncwarp();  // before reading what other lanes have stored
    const double sum = sums[warp];
    for (int k = lane; k < states; k += 32) {
      const double a = k == mode ? 1.0 : (certain || k > n ? 0.0 : out[k * stride]);
      out[k * stride] = a / sum;
    }
    __syncwarp();
  }
}

FB_KERNEL(kThreads, 4) log_prob_kernel(FB_PARAM(LogProbs) op) {
  const Place place = place_of(op);
  if (place.sample >= op.samples) return;
  bool wrong = false, wrong_count = false;
  const auto count = [&](const View& view) {
    return clamp_count(load_one(view, place.sample, place.i), static_cast<double>(kMaxCount), wrong_count);
  };
  double x = count(op.x), n = count(op.a);
  if (op.law == LogProb::bridge) {
    x = x - n;
    n = count(op.b) - n;
  }
  const PQ prob = checked_pair(load_one(op.prob.p, place.sample, place.i), load_one(op.prob.q, place.sample, place.i), wrong);
  store_one(op.out, place.sample, place.i, binomial_log_pmf(x, n, prob.p, prob.q));
  raise(op.flag, (wrong ? kWrongProbability : 0) | (wrong_count ? kWrongCount : 0), wrong || wrong_count);
}

}  // namespace

int transition_rows(const TransitionRows& op, void* stream) {
  if (op.samples == 0 || op.states == 0) return 0;
  FB_LAUNCH(transition_rows_kernel, grid_of((op.samples * op.states + kWarps - 1) / kWarps), kThreads, stream, op);
  return cudaGetLastError();
}

int log_prob(const LogProbs& op, void* stream) { return launch_elements(log_prob_kernel, op, stream); }

}  // namespace fastblackout::cuda
