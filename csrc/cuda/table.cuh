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
constexpr int kUpperSize = 16 * 15 * 16 / 2, kLowerSize = 15 * 16 / 2;  // thresholds of all rows, stored without gaps
constexpr unsigned kAllLanes = 0xffffffffu;  // a lane is a thread of a warp

// The entry of a bucket is t << 16, plus 0x8000, plus the number of thresholds below the bucket; t is the threshold in it or,
// where there is none, a number beyond its end.
struct alignas(256) DrawTable {
  uint32_t upper[16 << 5 << kUpperBits], lower[16 << 5 << kLowerBits];
  uint16_t h_upper[kUpperSize], h_lower[kLowerSize];  // min(C >> 32, 65535)
  uint16_t c_upper[kUpperSize], c_lower[kLowerSize];  // the 16 bits of C that follow, where h < 65535
  Word4 round_keys[5];                               // of Philox, two rounds each: loading them beats adding them up
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

// Where the thresholds of a row start among those of all rows.
FB_DEVICE int upper_start(int a) { return 8 * a * (a - 1); }
FB_DEVICE int lower_start(int b) { return b * (b - 1) / 2; }

// Makes the thresholds, by one warp: lanes 0..15 make the upper rows, lanes 16..31 the lower ones. A row ends where its
// thresholds reach 65535 << 32; those that follow stay the 65535 that they were filled with.
FB_DEVICE void build_rows(DrawTable& t, const double* weights, int max_count) {
  const int lane = static_cast<int>(threadIdx.x), row = lane & 15;
  const bool upper = lane < 16;
  const int n = upper ? 16 * row : row;
  uint16_t* h = upper ? t.h_upper + upper_start(row) : t.h_lower + lower_start(row);
  uint16_t* c = upper ? t.c_upper + upper_start(row) : t.c_lower + lower_start(row);
  double pm = row_start(upper ? t.step : t.q, row), cdf = pm;
  bool open = n > 0 && n <= max_count;
  for (int j = 0; __any_sync(kAllLanes, open); ) {
#pragma unroll 8
    for (int end = j + 8; j < end; ++j) {
      if (!open) continue;
      const uint64_t at = threshold(cdf);
      open = (at >> 32) < 65535u;
      if (open) {
        h[j] = static_cast<uint16_t>(at >> 32);
        c[j] = static_cast<uint16_t>(at >> 16);
      }
      pm = pm * (static_cast<double>(n - j) * weights[j]);
      cdf = cdf + pm;
      open = open && j + 1 < n;
    }
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
FB_DEVICE void build_buckets(uint32_t* buckets, const uint16_t* h, int n_most) {
  constexpr uint32_t kEach = 2u << Bits;
  const uint32_t row = threadIdx.x >> 4;
  const int n = Unit * static_cast<int>(row) <= n_most ? Unit * static_cast<int>(row) : 0;
  const uint16_t* thresholds = h + (Unit == 16 ? upper_start(static_cast<int>(row)) : lower_start(static_cast<int>(row)));
  uint32_t r = (threadIdx.x & 15u) * kEach, start = bucket_start<Bits>(r);
  int j = 0;
  for (int end = n; j < end;) {
    const int middle = (j + end) >> 1;
    if (thresholds[middle] < start) j = middle + 1;
    else end = middle;
  }
#pragma unroll 1
  for (uint32_t each = 0; each < kEach; ++each) {
    const uint32_t next = bucket_start<Bits>(++r), place = bucket_place<Bits>(widened(start), row << (6 + Bits));
    const uint32_t t = j < n ? thresholds[j] : 65536u;
    const uint32_t inside = t < next ? t : start + 4096u;  // 4,096: more than a bucket holds, less than the sign allows
    if (next == start) continue;  // near the ends some parts of an octave hold no uniform
    buckets[place / 4] = (inside << 16) + 0x8000u + static_cast<uint32_t>(j);
    const int first = j;
    while (j < n && thresholds[j] < next) ++j;
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
  double* weights = reinterpret_cast<double*>(t.upper);  // odds / (j + 1), here until the buckets are written
  if (!prob.trivial) {
    const double odds = prob.p / prob.q;
    for (int j = static_cast<int>(threadIdx.x); j < 248; j += kThreads) weights[j] = odds / static_cast<double>(j + 1);
    for (int j = static_cast<int>(threadIdx.x); j < kUpperSize; j += kThreads) t.h_upper[j] = 65535;
    for (int j = static_cast<int>(threadIdx.x); j < kLowerSize; j += kThreads) t.h_lower[j] = 65535;
    if (threadIdx.x == 0) {
      t.odds = odds;
      t.step = power16(prob.q);
      t.q = prob.q;
    }
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
  if (!prob.trivial && threadIdx.x < 32) build_rows(t, weights, max_count);
  __syncthreads();
  const int most = prob.trivial ? 0 : max_count;  // without thresholds all draws are 0
  build_buckets<kUpperBits, 16>(t.upper, t.h_upper, most);
  build_buckets<kLowerBits, 1>(t.lower, t.h_lower, most);
  __syncthreads();
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
