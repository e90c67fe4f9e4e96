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

// The first 2 << Bits uniforms and the last ones have a bucket each, of width one; a narrow bucket, for short. Of the wide ones
// in between there are kWide in each half of the range.
template <int Bits>
constexpr uint32_t kNarrow = 2u << Bits;
template <int Bits>
constexpr uint32_t kWide = static_cast<uint32_t>(14 - Bits) << Bits;

// The first uniform u of wide bucket k of the lower half; the upper half is its mirror image. u + 1/2 falls into an octave, and
// each octave is cut into 1 << Bits equal parts.
template <int Bits>
FB_DEVICE uint32_t wide_start(uint32_t k) {
  constexpr uint32_t parts = 1u << Bits;
  return (parts + k % parts) << (1 + k / parts);
}

// The rows of four counts, packed in a word, as bucket_place takes them. Of an upper row a byte has all four bits in bits 1 to 4,
// and the upper three in bits 5 to 7 as well; of a lower row it has all four twice.
template <int Bits>
FB_DEVICE uint32_t mixed_rows(uint32_t counts) {
  if constexpr (Bits == kUpperBits) return (counts >> 3 & 0x1e1e1e1eu) | (counts & 0xe0e0e0e0u);
  else return (counts & 0x0f0f0f0fu) * 17u;
}

// The number of a bucket: the sign, the exponent (the octave) and the first bits of the mantissa of float(z), times 4.
// Neighbours' numbers differ by 4: upwards in the lower half of the range, downwards in the upper one.
template <int Bits>
FB_DEVICE uint32_t bucket_number(uint32_t z) {
  return bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(z))) >> (21 - Bits);
}

// Where a row's bucket lies, in bytes. rows: of mixed_rows, of which one byte counts. The exclusive or with that byte, taken twice,
// tells the rows apart where the exponent's upper bits are, which follow from its lower ones; and where its lower ones are, it
// moves the buckets of different rows to different banks of shared memory. Without that, half of all uniforms would meet in 8 of
// the 32 banks, and those of the lower rows even in 4.
template <int Bits>
FB_DEVICE uint32_t bucket_place(uint32_t number, uint32_t rows, int byte) {
  constexpr uint32_t mask = (1u << (11 + Bits)) - 4u;
  return (number ^ __byte_perm(rows, 0, 0x4400u + 0x11u * static_cast<uint32_t>(byte))) & mask;
}

FB_DEVICE uint32_t widened(uint32_t u) { return u << 16 | 0x8000u; }  // z of a uniform: its middle, as a signed fraction

// The buckets that a thread makes: 16 threads make those of a row, each the same number of narrow ones and of neighbouring wide
// ones. Narrow buckets hold any number of thresholds. That no wide one holds two is a property of the binomial law (its mass
// between two quantiles, compared with the bucket there), which tests/backends/test_cuda_buckets.py checks; one that does is a
// fault, and traps. A row's thresholds are followed by a 65535, which ends the walk from bucket to bucket.
template <int Bits, int Unit>
struct OwnBuckets {
  static constexpr int kOwnNarrow = kNarrow<Bits> / 8, kOwnWide = kWide<Bits> / 8, kFirstStep = Unit == 16 ? 128 : 8;

  const uint32_t* thresholds;  // of all rows
  int row, begin, end;         // which row, and where it lies
  uint32_t k, base, sign;      // the wide buckets are k, k + sign, ..; they start at base + sign * wide_start; sign is 1 or -1
  // For each narrow bucket, and then for the wide one that the walk is at: where it starts, and the threshold that is the first not
  // below that.
  uint32_t starts[kOwnNarrow + 1], next[kOwnNarrow + 1];
  int at[kOwnNarrow + 1];
  uint32_t entries[kOwnWide], crowded;  // crowded: negative where a wide bucket holds two thresholds

  FB_DEVICE OwnBuckets(const uint32_t* all, int n_most) : thresholds(all), crowded(0) {
    const uint32_t of_row = threadIdx.x & 15u;
    row = static_cast<int>(threadIdx.x >> 4);
    begin = Unit == 16 ? upper_start(row) : lower_start(row);
    end = begin + (Unit * row <= n_most ? Unit * row : 0);
    const bool upper_half = of_row >= 8;
    k = upper_half ? 2 * kWide<Bits> - of_row * kOwnWide : of_row * kOwnWide;
    base = upper_half ? 65536u : 0u;
    sign = upper_half ? ~0u : 1u;
#pragma unroll
    for (int i = 0; i <= kOwnNarrow; ++i) {
      const uint32_t narrow = 16 * static_cast<uint32_t>(i) + of_row;
      starts[i] = narrow < kNarrow<Bits> ? narrow : 65536u - 2 * kNarrow<Bits> + narrow;
      at[i] = begin;
    }
    starts[kOwnNarrow] = start(0);
  }

  FB_DEVICE uint32_t first_bits(int index) const { return thresholds[index] >> 16; }

  FB_DEVICE uint32_t start(int wide) const {
    return base + sign * wide_start<Bits>(k + sign * static_cast<uint32_t>(wide));
  }

  // A step of all searches, side by side and without branches, for the first threshold that is not below a start. Past the end of
  // the row it reads thresholds of others, which do not count.
  FB_DEVICE void search(int step) {
#pragma unroll
    for (int i = 0; i <= kOwnNarrow; ++i) {
      const int to = at[i] + step;
      const bool below = first_bits(to - 1) < starts[i];
      at[i] = below && to <= end ? to : at[i];
    }
  }

  FB_DEVICE void end_search() {
#pragma unroll
    for (int i = 0; i <= kOwnNarrow; ++i) next[i] = first_bits(at[i]);
  }

  FB_DEVICE uint32_t entry(uint32_t start, bool holds, int i) const {
    const uint32_t inside = holds ? next[i] : start + 4096u;  // 4,096: more than a bucket holds, less than the sign allows
    return (inside << 16) + (0x8000u - static_cast<uint32_t>(begin)) + static_cast<uint32_t>(at[i]);
  }

  FB_DEVICE void walk(int wide) {
    const uint32_t beyond = start(wide + 1);
    const uint32_t holds = (next[kOwnNarrow] - beyond) >> 31;  // by its sign: a predicate takes longer
    entries[wide] = entry(start(wide), holds != 0, kOwnNarrow);
    at[kOwnNarrow] += static_cast<int>(holds);
    next[kOwnNarrow] = first_bits(at[kOwnNarrow]);
    crowded |= next[kOwnNarrow] - beyond;
  }

  FB_DEVICE void put(uint32_t* buckets) const {
    const uint32_t rows = mixed_rows<Bits>(static_cast<uint32_t>(Unit * row));
    const auto bucket = [&](uint32_t number) -> uint32_t& { return buckets[bucket_place<Bits>(number, rows, 0) / 4]; };
#pragma unroll
    for (int i = 0; i < kOwnNarrow; ++i)
      bucket(bucket_number<Bits>(widened(starts[i]))) = entry(starts[i], at[i] < end && next[i] == starts[i], i);
    const uint32_t first = bucket_number<Bits>(widened(start(0)));
#pragma unroll
    for (int wide = 0; wide < kOwnWide; ++wide) bucket(first + sign * static_cast<uint32_t>(4 * wide)) = entries[wide];
    if (crowded >> 31 != 0) __trap();
  }
};

// Makes the buckets of all rows, by all threads: those of the upper and of the lower rows in turns, since every step waits for the
// one before; and all are stored at the end, since no load goes ahead of a store that might be to its place.
FB_DEVICE void build_buckets(DrawTable& t, int n_most) {
  OwnBuckets<kUpperBits, 16> upper(t.thresholds, n_most);
  OwnBuckets<kLowerBits, 1> lower(t.thresholds, n_most);
#pragma unroll
  for (int step = upper.kFirstStep; step > 0; step /= 2) {
    upper.search(step);
    if (step <= lower.kFirstStep) lower.search(step);
  }
  upper.end_search();
  lower.end_search();
#pragma unroll
  for (int wide = 0; wide < upper.kOwnWide; ++wide) {
    upper.walk(wide);
    if (wide < lower.kOwnWide) lower.walk(wide);
  }
  upper.put(t.upper);
  lower.put(t.lower);
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
  const double odds = prob.trivial ? 1.0 : prob.p / prob.q;  // a trivial table has factors alone, which must be below 0
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
  build_buckets(t, prob.trivial ? 0 : max_count);  // without thresholds all draws are 0
  __syncthreads();
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
