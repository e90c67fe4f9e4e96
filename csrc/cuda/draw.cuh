// The shared-p draw of a block. The thresholds of one probability lie in shared memory twice: all of them, 32 bits,
// for the exact search, and a window of 63 (upper rows) and all 15 (lower rows) of them in level order for the fast one.
// A warp draws tiles of 512 elements, 16 consecutive ones a thread, packed four to a word.
#pragma once

#include "cuda/view.cuh"
#include "fastblackout/draw.h"
#include "fastblackout/streams.h"

namespace fastblackout {
namespace cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kPerThread = 16, kTile = 32 * kPerThread;
constexpr int kUpperLevels = 6, kLowerLevels = 4;
constexpr int kUpperSize = 16 * 15 * 16 / 2, kLowerSize = 15 * 16 / 2;  // of all rows, without gaps
constexpr unsigned kAllLanes = 0xffffffffu;

// Node (1 << level | path) of row a is entry node * 16 + a; bit s of the path is set when step s found its threshold below
// u. A leaf holds the first threshold at or above u in its high half and the number of those below in its low half.
struct alignas(256) DrawTable {
  uint16_t upper[16 << kUpperLevels], lower[16 << kLowerLevels];  // first: walks start from the address of the table
  uint32_t upper_leaf[16 << kUpperLevels], lower_leaf[16 << kLowerLevels];
  uint16_t h_upper[kUpperSize], h_lower[kLowerSize];  // min(C >> 32, 65535)
  uint16_t c_upper[kUpperSize], c_lower[kLowerSize];  // the 16 bits of C that follow, where h < 65535
  Word4 round_keys[5];                               // of Philox, two rounds each: loaded four at a time, not added up
  uint32_t sample, call;  // words of the counter
  double odds, step, q;
  bool mirrored, trivial;
};

// Tiles of the warps in bytes: a thread draws 16 consecutive elements, loads and stores of wider types take 4 at a time.
struct Stage {
  Word4 of[kWarps][32];
};

// Elements of a piece (at most 65,536) that the fast search could not decide, drawn again when the piece is done: an entry
// is offset in the piece | second count << 16 | first count << 24. At most 78 of 65,536 uniforms equal a threshold and
// 2e-4 lie outside the window, so that some 90 are expected: a queue that overflows is a fault, and traps.
constexpr unsigned kQueue = 1024;
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

struct PQ {
  double p, q;
};

// p and q of a sample; what is out of range is made 0, 1 or 1 - p.
FB_DEVICE PQ checked_prob(const Pair& pair, int64_t sample, bool& wrong) {
  double p = pair.p[sample], q = pair.q[sample];
  if (!(p >= 0.0 && p <= 1.0 && q >= 0.0 && q <= 1.0)) {
    wrong = true;
    p = p >= 0.0 ? (p <= 1.0 ? p : 1.0) : 0.0;
    q = 1.0 - p;
  }
  return PQ{p, q};
}

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

// Level-ordered nodes and leaves of one kind of rows from the plain ones.
template <int Levels, int Unit>
FB_DEVICE void build_window(uint16_t* nodes, uint32_t* leaves, const uint16_t* h, double p) {
  for (int at = static_cast<int>(threadIdx.x); at < 16 << Levels; at += kThreads) {
    const int row = at & 15, node = at >> 4, n = Unit * row;
    const uint16_t* thresholds = h + (Unit == 16 ? upper_start(row) : lower_start(row));
    int start = static_cast<int>(n * p) - (1 << (Levels - 1));  // any start gives the same draws
    if (start < 0 || n < 1 << Levels) start = 0;
    if (node > 0) {
      const int level = 31 - __clz(node);
      const int below = static_cast<int>(__brev(static_cast<uint32_t>(node) ^ (1u << level)) >> (32 - Levels));
      const int j = start + below + (1 << (Levels - 1 - level)) - 1;
      nodes[at] = j < n ? thresholds[j] : 65535;
    }
    // Left of a window that does not start at 0, anything may be: a threshold of 0 sends that to the exact search.
    const int below = static_cast<int>(__brev(static_cast<uint32_t>(node)) >> (32 - Levels)), j = start + below;
    const uint32_t next = below == 0 && start > 0 ? 0u : (j < n ? thresholds[j] : 65535u);
    leaves[at] = next << 16 | (static_cast<uint32_t>(j) & 255u);
  }
}

// By all threads of the block, which are together again when it returns. Empties the queue of the piece before.
FB_COLD void build_table(DrawTable& t, Queue& queue, PQ pair, SampleKey key, int max_count) {
  const SharedProb prob = shared_prob(pair.p, pair.q);
  __syncthreads();  // the table of the sample before is no longer read
  double* weights = reinterpret_cast<double*>(t.upper_leaf);  // until the leaves are written
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
  if (threadIdx.x < 10) {
    uint32_t* keys = t.round_keys[threadIdx.x / 2].v + 2 * (threadIdx.x & 1);
    keys[0] = key.seed_low + threadIdx.x * kPhiloxW0;
    keys[1] = key.seed_high + threadIdx.x * kPhiloxW1;
  }
  if (threadIdx.x == 0) {
    queue.length = 0;
    t.sample = key.sample;
    t.call = key.call;
    t.trivial = prob.trivial;
    t.mirrored = prob.mirrored;
  }
  __syncthreads();
  if (prob.trivial) return;
  if (threadIdx.x < 32) build_rows(t, weights, max_count);
  __syncthreads();
  build_window<kUpperLevels, 16>(t.upper, t.upper_leaf, t.h_upper, prob.p);
  build_window<kLowerLevels, 1>(t.lower, t.lower_leaf, t.h_lower, prob.p);
  __syncthreads();
}

FB_COLD int slow_count(int n, double step, int row, double odds, uint64_t u) {
  return count_below(n, row_start(step, row), odds, u);
}

// #{j < n : C(j) <= U} by the upper 32 bits; what they leave open, and U >= 65535 << 32, where C may not have been stored
// or be 2^48, by making the thresholds once more.
FB_DEVICE int exact_row(const uint16_t* h, const uint16_t* c, int n, uint64_t u, double step, int row, double odds) {
  const uint32_t high = static_cast<uint32_t>(u >> 32), next = static_cast<uint32_t>(u >> 16) & 0xffffu;
  int low = 0, end = n;
  while (low < end) {
    const int middle = (low + end) >> 1;
    if (h[middle] < high) low = middle + 1;
    else end = middle;
  }
  while (low < n && h[low] == high && c[low] < next) ++low;
  if (high == 65535u || (low < n && h[low] == high && c[low] == next)) return slow_count(n, step, row, odds, u);
  return low;
}

FB_DEVICE int exact_draw(const DrawTable& t, SampleKey key, uint32_t stream, uint32_t stream_refine, uint32_t i, int n) {
  const Uniforms u = refine(key, i, stream_refine, primary_bits(key, i, stream));
  const int a = n >> 4, b = n & 15;
  return exact_row(t.h_upper + upper_start(a), t.c_upper + upper_start(a), 16 * a, u.u1, t.step, a, t.odds) +
         exact_row(t.h_lower + lower_start(b), t.c_lower + lower_start(b), b, u.u2, t.q, b, t.odds);
}

// Words of the blocks block + 0..3 of a stream
FB_DEVICE void four_blocks(const DrawTable& t, uint32_t block, uint32_t stream, Words (&c)[4]) {
#pragma unroll
  for (int b = 0; b < 4; ++b) c[b] = Words{{block + static_cast<uint32_t>(b), t.sample, t.call, stream << 24}};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const Word4& keys = t.round_keys[round / 2];
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const uint64_t p0 = wide_product(c[b].w[0], kPhiloxM0), p1 = wide_product(c[b].w[2], kPhiloxM1);
      c[b] = Words{{static_cast<uint32_t>(p1 >> 32) ^ c[b].w[1] ^ keys.v[2 * (round & 1)], static_cast<uint32_t>(p1),
                    static_cast<uint32_t>(p0 >> 32) ^ c[b].w[3] ^ keys.v[2 * (round & 1) + 1], static_cast<uint32_t>(p0)}};
    }
  }
}

constexpr int kLower = 32 << kUpperLevels, kUpperLeaf = kLower + (32 << kLowerLevels), kLowerLeaf = kUpperLeaf + (64 << kUpperLevels);

// From place = table + 2 * row down the levels; returns the leaf there.
template <int Levels>
FB_DEVICE uint32_t leaf_of(const DrawTable& t, uint32_t place, uint32_t minus_base, uint32_t u, int nodes, int leaves) {
#pragma unroll
  for (int level = 0; level < Levels; ++level)
    step_if_below(place, 32u << level, load_shared_u16(&t, place, nodes + (32 << level)), u);
  return load_shared_u32(&t, 2 * place + minus_base, leaves);
}

// k ~ Binomial(n, min(p, q)) for the 16 elements from i, a multiple of 16; n and k are a thread's own words in shared
// memory. Where t.mirrored, the draw of probability p is n - k, left to the caller, who may need both. Returns a bit for
// each element that must be drawn again: its uniform is at or above the leaf's threshold, so that it equals it or lies
// outside the window.
FB_DEVICE uint32_t draw16(const DrawTable& t, uint32_t stream, uint32_t i, const Word4& n, Word4& k) {
  if (t.trivial) {
#pragma unroll
    for (int w = 0; w < 4; ++w) k.v[w] = 0;
    return 0;
  }
  const uint32_t ones = in_register(0xffffu), base = shared_address(&t), minus_base = 0u - base;
  uint32_t pending = 0;
  Words blocks[4];
  four_blocks(t, i / 4, stream, blocks);
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const uint32_t count = n.v[w], rows_upper = count >> 3 & 0x1e1e1e1eu, rows_lower = count << 1 & 0x1e1e1e1eu;
    uint32_t drawn = 0;
#pragma unroll
    for (int byte = 0; byte < 4; ++byte) {
      const Words& r = blocks[2 * (w / 2) + (byte & 1)];
      const uint32_t x = (w & 1) == 0 ? r.w[1] : r.w[0], y = (w & 1) == 0 ? r.w[3] : r.w[2];
      const bool low = byte < 2;
      const uint32_t u1 = low ? x & 0xffffu : x >> 16, u2 = low ? y & 0xffffu : y >> 16;
      const uint32_t edge1 = low ? (x << 16) + ones : x | 0xffffu, edge2 = low ? (y << 16) + ones : y | 0xffffu;
      const uint32_t a = __byte_perm(rows_upper, base, 0x7650 + byte), b = __byte_perm(rows_lower, base, 0x7650 + byte);
      const uint32_t upper = leaf_of<kUpperLevels>(t, a, minus_base, u1, 0, kUpperLeaf);
      const uint32_t lower = leaf_of<kLowerLevels>(t, b, minus_base, u2, kLower, kLowerLeaf);
      mark_if_reached(pending, 1u << (4 * w + byte), upper, edge1, lower, edge2);
      const int into = byte == 1 ? 0x3240 : byte == 2 ? 0x3410 : 0x4210;
      drawn = byte == 0 ? upper + lower : __byte_perm(drawn, upper + lower, into);
    }
    k.v[w] = drawn;
  }
  return pending;
}

// Sample and elements of a piece of work: samples are cut into pieces of whole tiles, large enough to pay for a table.
struct Pieces {
  int64_t per_sample, total;
  uint32_t size;
};

inline Pieces pieces_of(const Common& op) {
  const int64_t everything = op.samples * op.elements;
  const uint32_t size = everything >= int64_t{1} << 26 ? 1u << 16 : 1u << 14;
  const int64_t per_sample = (op.elements + size - 1) / size;
  return Pieces{per_sample, per_sample * op.samples, size};
}

constexpr int64_t kMaxBlocks = 1 << 30;  // blocks loop over what is left

inline unsigned grid_of(int64_t work) { return static_cast<unsigned>(work < kMaxBlocks ? work : kMaxBlocks); }

FB_DEVICE int elements_left(int64_t elements, uint32_t i, int most) {
  const int64_t left = elements - static_cast<int64_t>(i);
  return static_cast<int>(left < most ? (left > 0 ? left : 0) : most);
}

// The counts of a tile into shared memory, four neighbouring elements a lane at a time.
FB_DEVICE void load_tile(const Common& op, const View& view, int64_t sample, uint32_t i, int max_count, uint32_t* n) {
#pragma unroll 1
  for (int part = 0; part < 4; ++part, i += 128)
    n[part * 32] = load_counts4(view, sample, i, elements_left(op.elements, i, 4), max_count, op.flag);
}

// Byte by byte; b is nowhere above a, so nothing borrows.
FB_DEVICE Word4 minus(const Word4& a, const Word4& b) {
  return Word4{{a.v[0] - b.v[0], a.v[1] - b.v[1], a.v[2] - b.v[2], a.v[3] - b.v[3]}};
}

// (x - center) * scale for four counts in a word
FB_DEVICE Float4 model_input4(uint32_t word, float center, float scale) {
  Float4 x;
#pragma unroll
  for (int c = 0; c < 4; ++c) x.v[c] = (static_cast<float>(word >> 8 * c & 255u) - center) * scale;
  return x;
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
