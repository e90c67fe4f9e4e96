// The shared-p draw (fastblackout/draw.h) of a thread block by its table (table.cuh). A warp draws tiles of 512 elements, of
// which every thread has 16 consecutive ones, packed four to a word.
#pragma once

#include "cuda/table.cuh"

namespace fastblackout::cuda {
namespace {

FB_COLD int slow_count(int n, double step, int row, double odds, uint64_t u) {
  return count_below(n, row_start(step, row), odds, u);
}

// #{j < n : C(j) <= U} by the upper 32 bits of both. Where these leave it open, and where U >= 65535 << 32, for which C may not
// have been stored or be 2^48, the thresholds are made once more.
FB_DEVICE int exact_row(const uint32_t* thresholds, int n, uint64_t u, double step, int row, double odds) {
  const uint32_t upper = static_cast<uint32_t>(u >> 16);
  int low = 0, end = n;
  while (low < end) {
    const int middle = (low + end) >> 1;
    if (thresholds[middle] < upper) low = middle + 1;
    else end = middle;
  }
  if (upper >= kClosedBits || (low < n && thresholds[low] == upper)) return slow_count(n, step, row, odds, u);
  return low;
}

// The key of the sample that a table was made for, which waits in shared memory: it takes fewer registers than the key of the op.
FB_DEVICE SampleKey key_of(const DrawTable& t) { return SampleKey{t.round_keys[0].v[0], t.round_keys[0].v[1], t.sample, t.call}; }

FB_DEVICE int exact_draw(const DrawTable& t, uint32_t stream, uint32_t stream_refine, uint32_t i, int n) {
  const SampleKey key = key_of(t);
  const Uniforms u = refine(key, i, stream_refine, primary_bits(key, i, stream));
  const int a = n >> 4, b = n & 15;
  return exact_row(t.thresholds + upper_start(a), 16 * a, u.u1, t.step, a, t.odds) +
         exact_row(t.thresholds + lower_start(b), b, u.u2, t.q, b, t.odds);
}

FB_DEVICE uint32_t at_byte(const uint32_t* table, uint32_t place) {
  return *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(table) + place);
}

// The words of the Philox blocks from `block` on. last: the counter's fourth word.
template <int Blocks>
FB_DEVICE void philox_blocks(const DrawTable& t, uint32_t block, uint32_t last, Words (&c)[Blocks]) {
#pragma unroll
  for (int b = 0; b < Blocks; ++b) c[b] = Words{{block + static_cast<uint32_t>(b), t.sample, t.call, last}};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const Word4& keys = t.round_keys[round / 2];
#pragma unroll
    for (int b = 0; b < Blocks; ++b) {
      const uint64_t p0 = wide_product(c[b].w[0], kPhiloxM0), p1 = wide_product(c[b].w[2], kPhiloxM1);
      c[b] = Words{{static_cast<uint32_t>(p1 >> 32) ^ c[b].w[1] ^ keys.v[2 * (round & 1)], static_cast<uint32_t>(p1),
                    static_cast<uint32_t>(p0 >> 32) ^ c[b].w[3] ^ keys.v[2 * (round & 1) + 1], static_cast<uint32_t>(p0)}};
    }
  }
}

// k ~ Binomial(n, min(p, q)) for the 16 elements from i, a multiple of 16; n and k are a thread's own words in shared
// memory. Where t.mirrored, the draw with probability p is n - k, which is left to the caller, who may need both. Returns a
// bit for each element that must be drawn again, because its uniform equals a threshold.
FB_DEVICE uint32_t draw16(const DrawTable& t, uint32_t stream, uint32_t i, const Word4& n, Word4& k) {
  uint32_t pending = 0;
#pragma unroll 1
  for (int part = 0; part < 2; ++part) {  // eight at a time: sixteen take more registers
    Words blocks[2];
    philox_blocks(t, i / 4 + 2u * static_cast<uint32_t>(part), stream << 24, blocks);
    uint32_t ties = 0;
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      const uint32_t counts = n.v[2 * part + w];
      const uint32_t rows_upper = mixed_rows<kUpperBits>(counts), rows_lower = mixed_rows<kLowerBits>(counts);
      uint32_t drawn = 0;
#pragma unroll
      for (int byte = 0; byte < 4; ++byte) {
        const Words& r = blocks[byte & 1];
        const uint32_t x = w == 0 ? r.w[1] : r.w[0], y = w == 0 ? r.w[3] : r.w[2];
        const int half = byte < 2 ? 0x1054 : 0x3254;
        const uint32_t z1 = __byte_perm(x, t.middle, half), z2 = __byte_perm(y, t.middle, half);
        const uint32_t e1 = at_byte(t.upper, bucket_place<kUpperBits>(bucket_number<kUpperBits>(z1), rows_upper, byte));
        const uint32_t e2 = at_byte(t.lower, bucket_place<kLowerBits>(bucket_number<kLowerBits>(z2), rows_lower, byte));
        const uint32_t d1 = e1 - z1, d2 = e2 - z2;  // threshold minus uniform; where both are equal only the count, below 256
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

// Samples are cut into pieces of whole tiles, large enough to pay for a table; a thread block draws one piece.
struct Pieces {
  uint32_t first_sample, per_sample, size;
};

struct Piece {
  uint32_t sample;       // below 2^32, as in the key
  uint32_t begin, size;  // its elements within the sample
};

constexpr int64_t kMaxBlocks = 1 << 30;

// Launches a kernel over pieces: once, except for billions of samples. shared: bytes beyond those that the kernel declares.
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

// a - b byte by byte; no byte of b is above the byte of a, so that none borrows from the next.
FB_DEVICE Word4 minus(const Word4& a, const Word4& b) {
  return Word4{{a.v[0] - b.v[0], a.v[1] - b.v[1], a.v[2] - b.v[2], a.v[3] - b.v[3]}};
}

}  // namespace
}  // namespace fastblackout::cuda
