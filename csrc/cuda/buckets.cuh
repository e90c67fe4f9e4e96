// The buckets of a table of thresholds (table.cuh), by which the fast search finds the threshold of a uniform in one load. A bucket is
// a range of 16-bit uniforms that holds at most one threshold of a row. Like floats, buckets are finer towards both ends of the
// range, where thresholds lie closer together.
#pragma once

#include "cuda/view.cuh"

namespace fastblackout::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kUpperBits = 3, kLowerBits = 2;  // log2 of the buckets an octave (bucket_start): 8 and 4
constexpr int kUpperEntries = 16 << 5 << kUpperBits, kLowerEntries = 16 << 5 << kLowerBits;
constexpr int kUpperSize = 121 * 16, kLowerSize = 17 * 16;  // room for the thresholds of all rows (upper_start, lower_start)
constexpr int kThresholds = kUpperSize + kLowerSize;

// Where a row starts among the thresholds of all rows; each is followed by at least one place that belongs to none. No two rows
// start at the same place modulo 16, so that the lanes of build_rows, each of which has a row of its own, meet different banks of
// shared memory.
FB_DEVICE int upper_start(int a) { return 8 * a * (a - 1) + a; }
FB_DEVICE int lower_start(int b) { return kUpperSize + 17 * b; }

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
// the 32 banks, and for the lower rows even in 4.
template <int Bits>
FB_DEVICE uint32_t bucket_place(uint32_t number, uint32_t rows, int byte) {
  constexpr uint32_t mask = (1u << (11 + Bits)) - 4u;
  return (number ^ __byte_perm(rows, 0, 0x4400u + 0x11u * static_cast<uint32_t>(byte))) & mask;
}

FB_DEVICE uint32_t widened(uint32_t u) { return u << 16 | 0x8000u; }  // z of a uniform: its middle, as a signed fraction

// The buckets that a thread makes: 16 threads make a row's, each the same number of narrow ones and of neighbouring wide
// ones. Narrow buckets hold any number of thresholds. That no wide one holds two is a property of the binomial law (its mass
// between two quantiles, compared with the bucket there), which tests/backends/test_cuda_tables.py checks; one that does is a
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

// All threads make the buckets of all rows. Upper and lower rows take turns, since every step waits for the one before. All are
// stored at the end, since no load goes ahead of a store that might be to its place.
FB_DEVICE void build_buckets(const uint32_t* thresholds, uint32_t* upper_buckets, uint32_t* lower_buckets, int n_most) {
  OwnBuckets<kUpperBits, 16> upper(thresholds, n_most);
  OwnBuckets<kLowerBits, 1> lower(thresholds, n_most);
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
  upper.put(upper_buckets);
  lower.put(lower_buckets);
}

}  // namespace
}  // namespace fastblackout::cuda
