// The table by which a thread block makes the shared-p draw (fastblackout/draw.h explains thresholds and rows). The thresholds of
// one probability lie in shared memory twice: their upper 32 bits for the exact search, and in buckets for the fast search,
// which is one load for each of the two kinds of rows (buckets.cuh).
#pragma once

#include "cuda/kept.cuh"
#include "fastblackout/draw.h"
#include "fastblackout/streams.h"

namespace fastblackout::cuda {
namespace {

constexpr int kPerThread = 16, kTile = 32 * kPerThread;
constexpr double kClosed = 65535.0 / 65536.0;  // from here on a threshold's first 16 bits are all ones
constexpr uint32_t kClosedBits = 65535u << 16;
constexpr unsigned kAllLanes = 0xffffffffu;  // a lane is a thread of a warp

// The entry of a bucket is t << 16, plus 0x8000, plus the number of thresholds below the bucket; t is the threshold in it or,
// where there is none, a number beyond its end.
struct alignas(256) DrawTable {
  uint32_t upper[kUpperEntries], lower[kLowerEntries];
  uint32_t thresholds[kThresholds];  // the upper 32 of a threshold's 48 bits: min(C >> 16, kClosedBits)
  Word4 round_keys[5];               // of Philox, two rounds each: loading them beats adding them up
  uint32_t sample, call;  // words of the counter
  uint32_t middle;        // 0x8000, kept here because nvcc moves a constant in the code to a register for every use
  double odds, step, q;
  bool mirrored, trivial;
  KeptTable kept;

  FB_DEVICE Word4* words() { return reinterpret_cast<Word4*>(this); }  // upper, lower and thresholds
};

// The tiles of a block's warps as bytes. A thread draws 16 consecutive elements; of wider types it loads and stores fewer at a
// time (tile.cuh).
struct Stage {
  Word4 of[kWarps][32];
};

// The elements of a piece (draw.cuh; at most 65,536) that the fast search could not decide: they are drawn again when the piece
// is done. An entry is offset in the piece | second count << 16 | first count << 24. At most 78 of 65,536 uniforms equal a
// threshold, so that some 90 a draw are expected: a queue that overflows is a fault, and traps.
constexpr unsigned kQueue = 512;
struct Queue {
  unsigned length;
  uint32_t entries[kQueue];
};

FB_DEVICE void push_all(Queue& queue, uint32_t pending, uint32_t offset, const Word4& first, const Word4& second) {
  while (pending != 0) {
    const uint32_t e = static_cast<uint32_t>(__ffs(static_cast<int>(pending)) - 1);
    pending &= pending - 1;
    const unsigned at = atomicAdd(&queue.length, 1u);
    if (at >= kQueue) __trap();
    queue.entries[at] = (offset + e) | static_cast<uint32_t>(reinterpret_cast<const uint8_t*>(second.v)[e]) << 16 |
                        static_cast<uint32_t>(reinterpret_cast<const uint8_t*>(first.v)[e]) << 24;
  }
}

// Makes the factors (n - j) w_j of every row, by all threads, as negative numbers; -1 where no threshold belongs.
FB_DEVICE void build_factors(double* factors, double odds) {
  const int j = static_cast<int>(threadIdx.x), row = j >> 4, column = j & 15;
  const double weight = odds / static_cast<double>(j + 1), of_column = odds / static_cast<double>(column + 1);
  double left = -static_cast<double>(j);
#pragma unroll
  for (int a = 0; a < 16; ++a) {
    if (j <= 16 * a) factors[upper_start(a) + j] = j < 16 * a ? -(left * weight) : -1.0;
    left = left + 16.0;
  }
  factors[lower_start(row) + column] = column < row ? -(static_cast<double>(row - column) * of_column) : -1.0;
  if (column == 0) factors[lower_start(row) + 16] = -1.0;
}

constexpr int kGroup = 8;  // steps of build_rows between two votes

// Makes the distribution function of every row, by one warp: lanes 0..15 make the upper rows, lanes 16..31 the lower ones. A step's
// number takes the place of its factor. Every step waits for the one before, so that it is kept to a product and a sum; all threads
// make thresholds of them later. A row ends where it reaches kClosed: from there on, negative factors stay. The vote asks for that
// one group late, when nothing waits for its result, and factors are loaded a group ahead.
FB_DEVICE void build_rows(const DrawTable& t, double* rows, int max_count) {
  const int lane = static_cast<int>(threadIdx.x), row = lane & 15;
  const bool upper = lane < 16;
  const int n = upper ? 16 * row : row, end = n <= max_count ? n : 0;
  double* own = rows + (upper && row > 0 ? upper_start(row) : lower_start(row));  // row 0, of nothing, has room among the lower ones
  double pm = row_start(upper ? t.step : t.q, row), cdf = pm, factors[kGroup];
#pragma unroll
  for (int k = 0; k < kGroup; ++k) factors[k] = own[k];
  bool more = true;
#pragma unroll 1
  for (int j = 0; more; j += kGroup) {
    const bool open = j < end, follows = j + kGroup < end;
    more = __any_sync(kAllLanes, follows && cdf < kClosed);
    const double* from = own + (follows ? j + kGroup : 0);
    double next[kGroup];
#pragma unroll
    for (int k = 0; k < kGroup; ++k) next[k] = from[k];
#pragma unroll
    for (int k = 0; k < kGroup; ++k) {
      if (open) own[j + k] = cdf;
      pm = pm * -factors[k];
      cdf = cdf + pm;
      factors[k] = next[k];
    }
  }
}

// C >> 16 of the cumulative probability of a threshold, up to kClosedBits, and kClosedBits where there is none: in integers, which
// all GPUs have in plenty.
FB_DEVICE uint32_t upper_bits(double cdf) {
  const uint64_t bits = bit_cast<uint64_t>(cdf);
  if (bits >= bit_cast<uint64_t>(kClosed)) return kClosedBits;  // negative numbers too
  const uint32_t shift = 1043u - static_cast<uint32_t>(bits >> 52);
  return shift > 63 ? 0 : static_cast<uint32_t>(((bits & 0xfffffffffffffu) | 0x10000000000000u) >> shift);
}

// Makes the thresholds of the distribution function, by all threads.
FB_DEVICE void build_thresholds(DrawTable& t, const double* rows) {
  constexpr int kOwn = (kThresholds + kThreads - 1) / kThreads;
  const int first = static_cast<int>(threadIdx.x), own = (kThresholds - 1 - first) / kThreads + 1;  // kOwn, or one less
  double cdf[kOwn];  // all are loaded before the first threshold is stored, so that no load waits for another
#pragma unroll
  for (int k = 0; k < kOwn; ++k) cdf[k] = k + 1 < kOwn || k < own ? rows[first + k * kThreads] : 1.0;
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    if (k + 1 < kOwn || k < own) t.thresholds[first + k * kThreads] = upper_bits(cdf[k]);
  }
}

// Called by all threads of a block, of which the first ten fill the keys of a round each.
FB_DEVICE void fill_round_keys(DrawTable& t, const SampleKey& key) {
  if (threadIdx.x >= 10) return;
  uint32_t* keys = t.round_keys[threadIdx.x / 2].v + 2 * (threadIdx.x & 1);
  keys[0] = key.seed_low + threadIdx.x * kPhiloxW0;
  keys[1] = key.seed_high + threadIdx.x * kPhiloxW1;
}

// Copies or makes a table. Called by all threads of a block, which have met at a barrier when it returns. Empties the queue too.
FB_COLD void build_table(DrawTable& t, Queue& queue, PQ pair, const int64_t* op_key, uint32_t sample, int max_count) {
  const SampleKey key = key_of(op_key, sample);
  const SharedProb prob = shared_prob(pair.p, pair.q);
  const double odds = prob.trivial ? 1.0 : prob.p / prob.q;  // a trivial table has factors alone, which must be below 0
  if (threadIdx.x == 32) t.kept = look_up(pair, max_count);
  if (threadIdx.x == 0) {
    queue.length = 0;
    t.sample = key.sample;
    t.call = key.call;
    t.middle = 0x8000u;
    t.odds = odds;
    t.step = power16(prob.q);
    t.q = prob.q;
    t.mirrored = prob.mirrored;
    t.trivial = prob.trivial;
  }
  fill_round_keys(t, key);
  __syncthreads();
  if (t.kept.action == kCopy) {
    copy_kept(t.kept, t.words());
    __syncthreads();
    return;
  }
  // Until the buckets are written, their place holds the factors and then the distribution function of every row.
  static_assert(kThresholds * sizeof(double) <= sizeof(t.upper) + sizeof(t.lower), "");
  double* rows = reinterpret_cast<double*>(t.upper);
  build_factors(rows, odds);
  __syncthreads();
  if (!prob.trivial && threadIdx.x < 32) build_rows(t, rows, max_count);
  __syncthreads();
  build_thresholds(t, rows);
  __syncthreads();
  build_buckets(t.thresholds, t.upper, t.lower, prob.trivial ? 0 : max_count);  // without thresholds all draws are 0
  __syncthreads();
  if (t.kept.action == kStore) keep_table(t.kept, t.words());
}

}  // namespace
}  // namespace fastblackout::cuda
