// The shared-p draw on the CPU: a table of the thresholds of all rows for one probability, and the search of up to 4,096
// elements at a time. fastblackout/draw.h explains thresholds C(j), upper and lower rows, primary bits, and mirrored draws.
//
// A fast search compares the primary bits u of a uniform, 16 bits, only with h = min(C >> 32, 65535) of each threshold.
// Where both are equal (a tie), or a threshold that was not searched may matter, the element is drawn again, exactly. Tables
// have a lane for each of the 16 rows of a kind, so that vectors build all rows at once. AVX-512 searches windows, which are
// a part of each row's thresholds: the first ones, or those around the mean. The other instruction sets look thresholds up in
// guides.
#pragma once

#include "cpu/support/isa.h"
#include "fastblackout/draw.h"
#include "fastblackout/probability.h"
#include "fastblackout/streams.h"

namespace fastblackout::cpu {

// The key of draws: of the elements of one sample or, where `row` is not 0, of samples of `row` elements that follow one another,
// numbered through from the first sample's first. Samples are the key's and those after it. With `index` the k-th element of
// a draw has the number index[k] instead of k.
struct DrawKey : SampleKey {
  uint32_t row = 0;
  const uint32_t* index = nullptr;

  bool scattered() const { return row != 0 || index != nullptr; }
  // The key of the sample of element i of a draw that has no list; i becomes the index in that sample.
  SampleKey of_element(uint32_t& i) const {
    SampleKey own = *this;
    if (row == 0) return own;
    own.sample += i / row;
    i %= row;
    return own;
  }
};

constexpr int kChunk = 1024;      // elements an op works on at a time: their buffers stay in the first-level cache
constexpr int kDrawChunk = 4096;  // the most that draw_chunk and thin take at a time, of bytes: fewer chunks, fewer starts
constexpr int kMaxLevels = 6;     // a search looks at windows of up to 2^6 - 1 thresholds

// The tables of a binary search over a window of 2^levels - 1 thresholds in each of 16 rows. They hold the thresholds in the
// order in which a search meets them: a threshold of level l of row a lies at level[(16 << l) + (a << l | path)], where the path has
// a bit for every step before, set if the step found its threshold below u. After all steps the path is the number of
// thresholds of the window below u. The result is right for every u with u - lowest <= span (unsigned; never for 65535) that
// equals no threshold the search met; other elements are searched again, exactly. Windows of up to four levels, of which none
// may be needed, are anchored: they start at the first threshold. `first` and `lowest` are for larger windows. Thresholds,
// lowest and the span of anchored windows have their highest bit flipped, as have the words they are compared with. With
// AVX-512's VBMI the levels from 3 on are stored by bytes: first the lower bytes of a level, then the upper ones.
struct alignas(64) WindowSearch {
  alignas(64) uint16_t first[32];             // of each row, twice: how many thresholds lie before the window
  alignas(64) uint8_t first_bytes[64];        // the same, four times
  alignas(64) uint16_t level[(16 << kMaxLevels) + 32];
  int levels;
  uint16_t lowest, span;
};

// Sizes of the guides, which find thresholds by the upper bits of a uniform (build_guide of draw_build.inc): a cell for each of
// 16 rows in each of 256 buckets, and in a fine guide in 32 buckets more.
constexpr int kCells = 256 * 16, kFineCells = kCells + 32 * 16;

enum class Layout { guides, words, bytes };  // words and bytes are windows, for AVX-512 without and with VBMI

// The part of the first three rounds of Philox that does not depend on the sample (philox_avx512.inc), for eight blocks. The
// upper halves of its numbers are read by loads that begin four bytes later, which need no computing unit; the last of these
// loads reads four bytes beyond the struct.
struct alignas(64) SharedRounds {
  uint64_t first_x1[8], p0[8];
};

// The SharedRounds of the first `filled` elements of a chunk, two for every 64 elements, and the key that they were made for.
struct ChunkRounds {
  SharedRounds of[kDrawChunk / 32];
  uint32_t seed_low = 0, seed_high = 0, call = 0, stream = 0;
  int filled = 0;
};

constexpr int kChunksKept = 16;  // 256 KB: they stay in the second-level cache

// The primary bits of elements of several samples, and of each its sample and its index in it.
struct Listed {
  alignas(64) uint32_t sample[kChunk + 16], element[kChunk + 16];
  alignas(64) uint16_t u1[kChunk + 16], u2[kChunk + 16];

  Primary primary(int e) const { return Primary{u1[e], u2[e]}; }
};

struct alignas(64) DrawTable {
  double p = -1.0, q = -1.0;                  // what the table was built for
  int max_count = -1;
  Layout layout = Layout::guides;
  SharedProb prob;
  double odds, step_upper;
  int rows_upper[2], rows_lower[2];           // how many j are stored of rows 0..7 and 8..15; later C(j) are >= 65535 << 32
  WindowSearch upper, lower;
  alignas(64) uint32_t guide_upper[kFineCells], guide_lower[kCells];
  double cdf_upper[240 + 8][16], cdf_lower[16 + 8][16];           // 2^16 cdf of rows n = 16 a, and n = b: [j][lane]
  uint16_t h_upper[240 + 8 + 64][16], h_lower[16 + 8 + 16][16];   // min(C >> 32, 65535), 65535 where j >= n
  ChunkRounds rounds[kChunksKept];                                // for any p; used by AVX-512 alone
};

// The tables of the calling thread, kept between calls: 0 is for an op's draw, 1 for its second one (attrition).
DrawTable& thread_table(int which);

// Binomial or Poisson draws of a chunk whose probabilities or rates are known roughly: memory of the calling thread. The caller fills the first five
// up to a multiple of 32 elements, with `small` min(p, 1 - p): the mean n small is start + part, start its whole part if it is at
// least 10 and else 0, and it may be off by doubt times itself. rough_binomial_draws sets `drawn`, the count with the probability `small`, but leaves some
// elements to binomial_at, which takes the exact numbers; they are listed in `open`, and their number returned. Poisson draws have no
// n and `small`.
struct RoughDraws {
  float *part, *start, *n, *small, *doubt, *drawn;
  int* open;
};

constexpr int padded(int count) { return (count + 31) & ~31; }  // how far the inputs of draws of elements are filled

// The functions of each instruction set:
//   build_table    makes the thresholds and windows or guides of a probability, if the table does not hold them already
//   draw_chunk     k[i] ~ Binomial(n[i], p), i0 + i the element index (i0 a multiple of kChunk), count <= kDrawChunk. n and
//                  k are distinct, have room for a multiple of 64 elements, and n is 0 beyond count; all within one chunk of
//                  kDrawChunk elements. share: other samples of no more than kChunksKept chunks follow
//   list_elements  the elements i0 + k of a key that has rows, count <= kChunk
//   binomial_draws n[k] <- Binomial(n[k], p), element i0 + k, by the per-element draw (fastblackout/binomial.h)
//   binomial_each  out[k] ~ Binomial(n[k], p[k]), q[k] = 1 - p[k]; the inputs are valid, and out has room, up to a multiple of 32
//   rough_binomials, rough_binomial_draws, binomial_at, and the same of Poisson draws: see RoughDraws; not for the scalar set
//   poisson_draws  x[k] ~ Poisson(rate[k]), element i0 + k
// The element indices i0 + k and i[k] run through the samples of a key that has rows, or through its list of indices.
//   element_words  words of trial `sub` of elements i[0..m): w0 << 32 | w1 and w2 << 32 | w3; room for a multiple of 8
//   stream_words   (without a list) word i % 4 of Philox block i / 4, the primary bits of rounding and of categorical draws; i0 is a multiple
//                  of 4, and there is room for a multiple of 64 words
//   trial_words    only the high words of element_words, w0 and w2; m is a multiple of 16; not for the scalar set
#define FB_DECLARE_DRAW(ISA)                                                                                          \
  namespace ISA {                                                                                                     \
  void build_table(DrawTable& table, double p, double q, int max_count);                                              \
  void draw_chunk(DrawTable& table, const DrawKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,       \
                  int count, const uint8_t* n, uint8_t* k, bool share);                                               \
  void list_elements(const DrawKey& key, uint32_t stream, uint32_t i0, int count, Listed& list);                      \
  void binomial_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count, double p, double q, int64_t* n);   \
  void binomial_each(const DrawKey& key, uint32_t stream, uint32_t i0, int count, const double* n, const double* p,   \
                     const double* q, double* out);                                                                   \
  RoughDraws rough_binomials();                                                                                       \
  int rough_binomial_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count);                              \
  void binomial_at(const DrawKey& key, uint32_t stream, uint32_t i0, const int* at, int m, const double* n,           \
                   const double* p, const double* q, double* out);                                                    \
  RoughDraws rough_poissons();                                                                                        \
  int rough_poisson_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count);                               \
  void poisson_at(const DrawKey& key, uint32_t stream, uint32_t i0, const int* at, int m, const double* rate,         \
                  double* out);                                                                                       \
  void poisson_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count, const double* rate, int64_t* x);  \
  void element_words(const DrawKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint64_t* high,     \
                     uint64_t* low);                                                                                  \
  void stream_words(const DrawKey& key, uint32_t stream, uint32_t i0, int count, uint32_t* words);                  \
  void trial_words(const DrawKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v); \
  }
FB_DECLARE_DRAW(scalar)
#if FB_X86
FB_DECLARE_DRAW(avx2)
FB_DECLARE_DRAW(avx512)
#endif
#undef FB_DECLARE_DRAW

}  // namespace fastblackout::cpu
