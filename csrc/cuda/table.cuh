// The table by which a thread block makes the shared-p draw (fastblackout/draw.h explains thresholds and rows). The thresholds of
// one probability lie in shared memory twice: their upper 32 bits for the exact search, and in buckets for the fast search,
// which is one load for each of the two kinds of rows. A bucket is a range of 16-bit uniforms that holds at most one threshold of
// a row. Like floats, buckets are finer towards both ends of the range, where thresholds lie closer together.
#pragma once

#include "cuda/checks.cuh"
#include "fastblackout/draw.h"
#include "fastblackout/streams.h"

namespace fastblackout {
namespace cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kPerThread = 16, kTile = 32 * kPerThread;
constexpr int kUpperBits = 3, kLowerBits = 2;  // log2 of the buckets an octave (bucket_start): 8 and 4
constexpr int kUpperSize = 121 * 16, kLowerSize = 17 * 16;  // room for the thresholds of all rows (upper_start, lower_start)
constexpr int kThresholds = kUpperSize + kLowerSize;
constexpr double kClosed = 65535.0 / 65536.0;  // from here on a threshold's first 16 bits are all ones
constexpr uint32_t kClosedBits = 65535u << 16;
constexpr unsigned kAllLanes = 0xffffffffu;  // a lane is a thread of a warp

// The entry of a bucket is t << 16, plus 0x8000, plus the number of thresholds below the bucket; t is the threshold in it or,
// where there is none, a number beyond its end.
struct alignas(256) DrawTable {
  uint32_t upper[16 << 5 << kUpperBits], lower[16 << 5 << kLowerBits];
  uint32_t thresholds[kThresholds];  // the upper 32 of a threshold's 48 bits: min(C >> 16, kClosedBits)
  Word4 round_keys[5];               // of Philox, two rounds each: loading them beats adding them up
  uint32_t sample, call;  // words of the counter
  uint32_t middle;        // 0x8000, kept here because nvcc moves a constant in the code to a register for every use
  double odds, step, q;
  bool mirrored, trivial;
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

// Where a row starts among the thresholds of all rows; each is followed by at least one place that belongs to none. No two rows
// start at the same place modulo 16, so that the lanes of build_rows, each of which has a row of its own, meet different banks of
// shared memory.
FB_DEVICE int upper_start(int a) { return 8 * a * (a - 1) + a; }
FB_DEVICE int lower_start(int b) { return kUpperSize + 17 * b; }

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

// The first uniform u of bucket r, of 32 << Bits buckets counted upwards; for r = 32 << Bits, past the last one, 65,536. The
// distance v of u from the nearer end, which is u + 1/2 below the middle and 65,536 - u - 1/2 above it, falls into one of 16
// octaves, of which the first starts at 1/2, and each octave is cut into 1 << Bits equal parts.
template <int Bits>
FB_DEVICE uint32_t bucket_start(uint32_t r) {
  constexpr uint32_t parts = 1u << Bits, half = 16 * parts;
  const uint32_t k = r <= half ? r : 2 * half - r;
  const uint32_t start = (((parts + k % parts) << k / parts) + parts - 1) >> (Bits + 1);
  return r <= half ? start : 65536u - start;
}

// Where a row's bucket lies, in bytes: made of the sign, the exponent (the octave) and the first bits of the mantissa of
// float(z); the row replaces those bits of the exponent that are always the same.
template <int Bits>
FB_DEVICE uint32_t bucket_place(uint32_t z, uint32_t row_bits) {
  constexpr uint32_t mask = (1u << (10 + Bits)) | ((1u << (6 + Bits)) - 4u);
  return ((bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(z))) >> (21 - Bits)) & mask) | row_bits;
}

FB_DEVICE uint32_t widened(uint32_t u) { return u << 16 | 0x8000u; }  // z of a uniform: its middle, as a signed fraction

// Makes the buckets of all rows; a thread makes neighbouring ones of one row. That no bucket of several uniforms holds two
// thresholds is a property of the binomial law (its mass between two quantiles, compared with the bucket there), which
// tests/backends/test_cuda_buckets.py checks; a bucket that does is a fault, and traps.
template <int Bits, int Unit>
FB_DEVICE void build_buckets(uint32_t* buckets, const uint32_t* all, int n_most) {
  constexpr uint32_t kEach = 2u << Bits;
  const uint32_t row = threadIdx.x >> 4;
  const int n = Unit * static_cast<int>(row) <= n_most ? Unit * static_cast<int>(row) : 0;
  const uint32_t* thresholds = all + (Unit == 16 ? upper_start(static_cast<int>(row)) : lower_start(static_cast<int>(row)));
  uint32_t r = (threadIdx.x & 15u) * kEach, start = bucket_start<Bits>(r);
  int j = 0;
  for (int end = n; j < end;) {
    const int middle = (j + end) >> 1;
    if (thresholds[middle] >> 16 < start) j = middle + 1;
    else end = middle;
  }
#pragma unroll 1
  for (uint32_t each = 0; each < kEach; ++each) {
    const uint32_t next = bucket_start<Bits>(++r), place = bucket_place<Bits>(widened(start), row << (6 + Bits));
    const uint32_t t = j < n ? thresholds[j] >> 16 : 65536u;
    const uint32_t inside = t < next ? t : start + 4096u;  // 4,096: more than a bucket holds, less than the sign allows
    if (next == start) continue;  // near the ends some parts of an octave hold no uniform
    buckets[place / 4] = (inside << 16) + 0x8000u + static_cast<uint32_t>(j);
    const int first = j;
    while (j < n && thresholds[j] >> 16 < next) ++j;
    if (j > first + 1 && next > start + 1) __trap();
    start = next;
  }
}

// Called by all threads of a block, of which the first ten fill the keys of a round each.
FB_DEVICE void fill_round_keys(DrawTable& t, const SampleKey& key) {
  if (threadIdx.x >= 10) return;
  uint32_t* keys = t.round_keys[threadIdx.x / 2].v + 2 * (threadIdx.x & 1);
  keys[0] = key.seed_low + threadIdx.x * kPhiloxW0;
  keys[1] = key.seed_high + threadIdx.x * kPhiloxW1;
}

// Called by all threads of a block, which have met at a barrier when it returns. Empties the queue too.
FB_COLD void build_table(DrawTable& t, Queue& queue, PQ pair, const int64_t* op_key, uint32_t sample, int max_count) {
  const SampleKey key = key_of(op_key, sample);
  const SharedProb prob = shared_prob(pair.p, pair.q);
  __syncthreads();  // after this no thread reads what was in the table before
  // Until the buckets are written, their place holds the factors and then the distribution function of every row.
  static_assert(kThresholds * sizeof(double) <= sizeof(t.upper) + sizeof(t.lower), "");
  double* rows = reinterpret_cast<double*>(t.upper);
  const double odds = prob.p / prob.q;
  build_factors(rows, odds);
  if (threadIdx.x == 0) {
    t.odds = odds;
    t.step = power16(prob.q);
    t.q = prob.q;
  }
  fill_round_keys(t, key);
  if (threadIdx.x == 0) {
    queue.length = 0;
    t.sample = key.sample;
    t.call = key.call;
    t.middle = 0x8000u;
    t.trivial = prob.trivial;
    t.mirrored = prob.mirrored;
  }
  __syncthreads();
  if (!prob.trivial && threadIdx.x < 32) build_rows(t, rows, max_count);
  __syncthreads();
  build_thresholds(t, rows);
  __syncthreads();
  const int most = prob.trivial ? 0 : max_count;  // without thresholds all draws are 0
  build_buckets<kUpperBits, 16>(t.upper, t.thresholds, most);
  build_buckets<kLowerBits, 1>(t.lower, t.thresholds, most);
  __syncthreads();
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
