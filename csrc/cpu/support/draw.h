// The shared-p draw on the CPU: thresholds of all rows for one probability, and the search of up to 4,096 elements at a time.
#pragma once

#include "cpu/support/isa.h"
#include "fastblackout/draw.h"
#include "fastblackout/probability.h"
#include "fastblackout/streams.h"

namespace fastblackout {
namespace cpu {

constexpr int kChunk = 1024;      // elements an op works on at a time: their buffers stay in the first-level cache
constexpr int kDrawChunk = 4096;  // at most so many for draw_chunk and thin, whose bytes are few: fewer starts
constexpr int kMaxLevels = 6;     // a search looks at windows of up to 2^6 - 1 thresholds

// A binary search over a window of 2^levels - 1 thresholds of 16 rows at once. Level l of row a lies at
// level[(16 << l) + (a << l | path)], the bits of the path set where a step found its threshold below u: after all steps it is
// the number of thresholds below. The result is right for every u with u - lowest <= span (unsigned), 65535 never, that equals
// no threshold it met; the others are searched again, exactly. Windows of up to four levels, or none, start at the first threshold;
// first and lowest are of the others. Thresholds, lowest and, where there is none, span have their highest bit flipped, as the
// words they are compared with. With VBMI the levels from 3 on lie by bytes: the lower ones of a level, then the upper ones.
struct alignas(64) WindowSearch {
  alignas(64) uint16_t first[32];             // per row, twice: thresholds below the window
  alignas(64) uint8_t first_bytes[64];        // the same four times
  alignas(64) uint16_t level[(16 << kMaxLevels) + 32];
  int levels;
  uint16_t lowest, span;
};

// Of the guides by the upper bits of a uniform that find thresholds without AVX-512 (draw_build.inc): 256 buckets of 16 rows, and in
// a fine one 32 more.
constexpr int kCells = 256 * 16, kFineCells = kCells + 32 * 16;

enum class Layout { guides, words, bytes };  // the last two are windows, of AVX-512 without and with VBMI

// What the first three rounds of Philox make of eight blocks whatever the sample (philox_avx512.inc). Upper halves are read by loads
// four bytes on, which take no unit that computes; the last one reads four bytes beyond.
struct alignas(64) SharedRounds {
  uint64_t first_x1[8], p0[8];
};

// Those of the first `filled` elements of a chunk, two for 64 elements.
struct ChunkRounds {
  SharedRounds of[kDrawChunk / 32];
  uint32_t seed_low = 0, seed_high = 0, call = 0, stream = 0;
  int filled = 0;
};

constexpr int kChunksKept = 16;  // 256 KB: they stay in the second-level cache

struct alignas(64) DrawTable {
  double p = -1.0, q = -1.0;                  // what the table was built for
  int max_count = -1;
  Layout layout = Layout::guides;
  SharedProb prob;
  double odds, step_upper;
  int rows_upper[2], rows_lower[2];           // thresholds j stored of rows 0..7 and 8..15; later ones: 65535 << 32 or more
  WindowSearch upper, lower;
  alignas(64) uint32_t guide_upper[kFineCells], guide_lower[kCells];
  double cdf_upper[240 + 8][16], cdf_lower[16 + 8][16];           // 2^16 cdf of rows n = 16 a, and n = b
  uint16_t h_upper[240 + 8 + 64][16], h_lower[16 + 8 + 16][16];   // min(C >> 32, 65535), 65535 where j >= n
  ChunkRounds rounds[kChunksKept];                                // whatever p; of AVX-512 alone
};

// Tables of the calling thread, kept between calls: 0 is an op's draw, 1 its second.
DrawTable& thread_table(int which);

// Per instruction set:
//   build_table    thresholds and windows for one probability; a no-op when the table holds them already
//   draw_chunk     k[i] ~ Binomial(n[i], p), i0 + i the element index (i0 a multiple of kChunk), count <= kDrawChunk. n and
//                  k are distinct, have room for a multiple of 64 elements, and n is 0 beyond count; all within one chunk of
//                  kDrawChunk elements. share: other samples follow, of no more than kChunksKept chunks
//   binomial_draws n[k] <- Binomial(n[k], p), element i0 + k, by the per-element draw
//   poisson_draws  x[k] ~ Poisson(rate[k]), element i0 + k
//   element_words  words of trial `sub` of elements i[0..m): w0 << 32 | w1 and w2 << 32 | w3; room for a multiple of 8
//   stream_words   word i % 4 of Philox block i / 4, the primary bits of rounding and of categorical draws; i0 a multiple
//                  of 4, and room for a multiple of 64 words
//   trial_words    of element_words only the high ones, w0 and w2; m a multiple of 16; not on the scalar set
#define FB_DECLARE_DRAW(ISA)                                                                                          \
  namespace ISA {                                                                                                     \
  void build_table(DrawTable& table, double p, double q, int max_count);                                              \
  void draw_chunk(DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,       \
                  int count, const uint8_t* n, uint8_t* k, bool share);                                               \
  void binomial_draws(const SampleKey& key, uint32_t stream, uint32_t i0, int count, double p, double q, int64_t* n);   \
  void poisson_draws(const SampleKey& key, uint32_t stream, uint32_t i0, int count, const double* rate, int64_t* x);  \
  void element_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint64_t* high,     \
                     uint64_t* low);                                                                                  \
  void stream_words(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint32_t* words);                  \
  void trial_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v); \
  }
FB_DECLARE_DRAW(scalar)
#if FB_X86
FB_DECLARE_DRAW(avx2)
FB_DECLARE_DRAW(avx512)
#endif
#undef FB_DECLARE_DRAW

}  // namespace cpu
}  // namespace fastblackout
