// The shared-p draw of a block. The thresholds of one probability lie in shared memory twice: all of them, 32 bits,
// for the exact search, and in buckets for the fast one, which then is one load. A bucket is a range of 16-bit uniforms
// that holds at most one threshold of a row: they are finer towards both ends, like floats, as thresholds are.
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

// Tiles of the warps in bytes: a thread draws 16 consecutive elements, loads and stores of wider types take 4 at a time.
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
// binomial law (its mass between two quantiles against the bucket there: tests/test_cuda_buckets.py): otherwise a fault.
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
  if (threadIdx.x < 10) {
    uint32_t* keys = t.round_keys[threadIdx.x / 2].v + 2 * (threadIdx.x & 1);
    keys[0] = key.seed_low + threadIdx.x * kPhiloxW0;
    keys[1] = key.seed_high + threadIdx.x * kPhiloxW1;
  }
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

FB_DEVICE uint32_t at_byte(const uint32_t* table, uint32_t place) {
  return *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(table) + place);
}

// Words of the blocks block and block + 1 of a stream
FB_DEVICE void two_blocks(const DrawTable& t, uint32_t block, uint32_t stream, Words (&c)[2]) {
#pragma unroll
  for (int b = 0; b < 2; ++b) c[b] = Words{{block + static_cast<uint32_t>(b), t.sample, t.call, stream << 24}};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const Word4& keys = t.round_keys[round / 2];
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      const uint64_t p0 = wide_product(c[b].w[0], kPhiloxM0), p1 = wide_product(c[b].w[2], kPhiloxM1);
      c[b] = Words{{static_cast<uint32_t>(p1 >> 32) ^ c[b].w[1] ^ keys.v[2 * (round & 1)], static_cast<uint32_t>(p1),
                    static_cast<uint32_t>(p0 >> 32) ^ c[b].w[3] ^ keys.v[2 * (round & 1) + 1], static_cast<uint32_t>(p0)}};
    }
  }
}

// k ~ Binomial(n, min(p, q)) for the 16 elements from i, a multiple of 16; n and k are a thread's own words in shared
// memory. Where t.mirrored, the draw of probability p is n - k, left to the caller, who may need both. Returns a bit for
// each element that must be drawn again, as its uniform equals a threshold.
FB_DEVICE uint32_t draw16(const DrawTable& t, uint32_t stream, uint32_t i, const Word4& n, Word4& k) {
  uint32_t pending = 0;
#pragma unroll 1
  for (int part = 0; part < 2; ++part) {  // eight at a time: sixteen take more registers
    Words blocks[2];
    two_blocks(t, i / 4 + 2u * static_cast<uint32_t>(part), stream, blocks);
    uint32_t ties = 0;
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      const uint32_t count = n.v[2 * part + w], rows_upper = count >> 3 & 0x1e1e1e1eu, rows_lower = count & 0x0f0f0f0fu;
      uint32_t drawn = 0;
#pragma unroll
      for (int byte = 0; byte < 4; ++byte) {
        const Words& r = blocks[byte & 1];
        const uint32_t x = w == 0 ? r.w[1] : r.w[0], y = w == 0 ? r.w[3] : r.w[2];
        const int half = byte < 2 ? 0x1054 : 0x3254, to_second_byte = 0x4404 + 16 * byte;
        const uint32_t z1 = __byte_perm(x, t.middle, half), z2 = __byte_perm(y, t.middle, half);
        const uint32_t e1 = at_byte(t.upper, bucket_place<kUpperBits>(z1, __byte_perm(rows_upper, 0, to_second_byte)));
        const uint32_t e2 = at_byte(t.lower, bucket_place<kLowerBits>(z2, __byte_perm(rows_lower, 0, to_second_byte)));
        const uint32_t d1 = e1 - z1, d2 = e2 - z2;  // threshold minus uniform; equal: the count, below 256
        mark_if_below(ties, 1u << (4 * w + byte), 256u, d1, d2);
        const uint32_t sum = e1 + (d1 >> 31) + (e2 + (d2 >> 31));
        const int into = byte == 1 ? 0x3240 : byte == 2 ? 0x3410 : 0x4210;
        drawn = byte == 0 ? sum : __byte_perm(drawn, sum, into);
      }
      k.v[2 * part + w] = drawn;
    }
    pending |= ties << 8 * part;
  }
  return pending;
}

// Samples are cut into pieces of whole tiles, large enough to pay for a table; a block draws one.
struct Pieces {
  uint32_t first_sample, per_sample, size;
};

struct Piece {
  uint32_t sample;       // below 2^32, as in the key
  uint32_t begin, size;  // of its elements
};

constexpr int64_t kMaxBlocks = 1 << 30;

// One launch, but for billions of samples. shared: bytes beyond what the kernel declares.
template <class Kernel, class Op>
void launch_pieces(Kernel kernel, int shared, const Op& op, void* stream) {
  const uint32_t size = op.samples * op.elements >= int64_t{1} << 26 ? 1u << 16 : 1u << 14;
  const int64_t per_sample = (op.elements + size - 1) / size, most = kMaxBlocks / per_sample;
  for (int64_t first = 0; first < op.samples; first += most) {
    const int64_t samples = op.samples - first < most ? op.samples - first : most;
    const Pieces pieces{static_cast<uint32_t>(first), static_cast<uint32_t>(per_sample), size};
    FB_LAUNCH_SHARED(kernel, shared, static_cast<unsigned>(samples * per_sample), kThreads, stream, op, pieces);
  }
}

inline unsigned grid_of(int64_t work) { return static_cast<unsigned>(work < kMaxBlocks ? work : kMaxBlocks); }

FB_DEVICE int elements_left(int64_t elements, uint32_t i, int most) {
  const int64_t left = elements - static_cast<int64_t>(i);
  return static_cast<int>(left < most ? (left > 0 ? left : 0) : most);
}

FB_DEVICE Piece piece_of(const Common& op, const Pieces& pieces) {
  const uint32_t sample = blockIdx.x / pieces.per_sample, begin = (blockIdx.x - sample * pieces.per_sample) * pieces.size;
  return Piece{pieces.first_sample + sample, begin,
               static_cast<uint32_t>(elements_left(op.elements, begin, static_cast<int>(pieces.size)))};
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
