// The table of the shared-p draw of a block. The thresholds of one probability lie in shared memory twice: all of them, 32 bits,
// for the exact search, and in buckets for the fast one, which then is one load. A bucket is a range of 16-bit uniforms
// that holds at most one threshold of a row: they are finer towards both ends, like floats, as thresholds are.
#pragma once

#include "cuda/checks.cuh"
#include "fastblackout/draw.h"
#include "fastblackout/streams.h"

namespace fastblackout {
namespace cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kPerThread = 16, kTile = 32 * kPerThread;
constexpr int kUpperBits = 3, kLowerBits = 2;  // buckets an octave: 8 and 4
constexpr int kUpperSize = 16 * 15 * 16 / 2, kLowerSize = 15 * 16 / 2;  // of all rows, without gaps
constexpr unsigned kAllLanes = 0xffffffffu;

// Entry of a bucket: t << 16, plus 0x8000, plus the number of thresholds below the bucket; t is the threshold in it, or one
// beyond its end where there is none.
struct alignas(256) DrawTable {
  uint32_t upper[16 << 5 << kUpperBits], lower[16 << 5 << kLowerBits];
  uint16_t h_upper[kUpperSize], h_lower[kLowerSize];  // min(C >> 32, 65535)
  uint16_t c_upper[kUpperSize], c_lower[kLowerSize];  // the 16 bits of C that follow, where h < 65535
  Word4 round_keys[5];                               // of Philox, two rounds each: loaded four at a time, not added up
  uint32_t sample, call;  // words of the counter
  uint32_t middle;        // 0x8000: a constant in the code is moved to a register for every use
  double odds, step, q;
  bool mirrored, trivial;
};

// Tiles of the warps in bytes: a thread draws 16 consecutive elements; of wider types it loads and stores fewer at a time.
struct Stage {
  Word4 of[kWarps][32];
};

// Elements of a piece (at most 65,536) that the fast search could not decide, drawn again when the piece is done: an entry
// is offset in the piece | second count << 16 | first count << 24. At most 78 of 65,536 uniforms equal a threshold, so
// that some 90 a draw are expected: a queue that overflows is a fault, and traps.
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

FB_DEVICE int upper_start(int a) { return 8 * a * (a - 1); }
FB_DEVICE int lower_start(int b) { return b * (b - 1) / 2; }

// Lanes 0..15 make the upper rows, 16..31 the lower ones. A row ends where its thresholds reach 65535 << 32; those that
// follow are the 65535 they were filled with.
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

// The first uniform of bucket r, counted upwards, of the 32 << Bits; of the last one's successor, 65,536. v = u + 1/2 below
// the middle and 65,536 - u - 1/2 above it falls into 16 octaves, from 1/2 on, cut into 1 << Bits equal parts each.
template <int Bits>
FB_DEVICE uint32_t bucket_start(uint32_t r) {
  constexpr uint32_t parts = 1u << Bits, half = 16 * parts;
  const uint32_t k = r <= half ? r : 2 * half - r;
  const uint32_t start = (((parts + k % parts) << k / parts) + parts - 1) >> (Bits + 1);
  return r <= half ? start : 65536u - start;
}

// Where a row's bucket lies, in bytes: sign, row and octave of float(z) and the first bits of its mantissa; the row stands
// in the place of those bits of the exponent that say nothing.
template <int Bits>
FB_DEVICE uint32_t bucket_place(uint32_t z, uint32_t row_bits) {
  constexpr uint32_t mask = (1u << (10 + Bits)) | ((1u << (6 + Bits)) - 4u);
  return ((bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(z))) >> (21 - Bits)) & mask) | row_bits;
}

FB_DEVICE uint32_t widened(uint32_t u) { return u << 16 | 0x8000u; }  // z of a uniform: its middle, as a signed fraction

// A thread makes neighbouring buckets of one row. That none of several uniforms holds two thresholds is a property of the
// binomial law (its mass between two quantiles against the bucket there: tests/backends/test_cuda_buckets.py): otherwise a fault.
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
    if (next == start) continue;  // near the ends parts of an octave hold no uniform
    buckets[place / 4] = (inside << 16) + 0x8000u + static_cast<uint32_t>(j);
    const int first = j;
    while (j < n && thresholds[j] < next) ++j;
    if (j > first + 1 && next > start + 1) __trap();
    start = next;
  }
}

// By the first threads of a block
FB_DEVICE void fill_round_keys(DrawTable& t, const SampleKey& key) {
  if (threadIdx.x >= 10) return;
  uint32_t* keys = t.round_keys[threadIdx.x / 2].v + 2 * (threadIdx.x & 1);
  keys[0] = key.seed_low + threadIdx.x * kPhiloxW0;
  keys[1] = key.seed_high + threadIdx.x * kPhiloxW1;
}

// By all threads of the block, which are together again when it returns. Empties the queue of the piece before.
FB_COLD void build_table(DrawTable& t, Queue& queue, PQ pair, const int64_t* op_key, uint32_t sample, int max_count) {
  const SampleKey key = key_of(op_key, sample);
  const SharedProb prob = shared_prob(pair.p, pair.q);
  __syncthreads();  // the table of the sample before is no longer read
  double* weights = reinterpret_cast<double*>(t.upper);  // until the buckets are written
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
  const int most = prob.trivial ? 0 : max_count;  // without thresholds, all draws are 0
  build_buckets<kUpperBits, 16>(t.upper, t.h_upper, most);
  build_buckets<kLowerBits, 1>(t.lower, t.h_lower, most);
  __syncthreads();
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
