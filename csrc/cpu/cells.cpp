// The loops of fb.cells: thin of cells that have different numbers of counts, and what is left without the counts that became 0.
#if !defined(FB_ISA)

#include "cpu/cells.h"

#include <initializer_list>

#include "cpu/support/chunks.h"
#include "fastblackout/portfloat.h"

#define FB_FILE "cpu/cells.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

void thin_some(void* context, int64_t begin, int64_t end) {
  const ThinCells& op = *static_cast<const ThinCells*>(context);
  for (int64_t cell = begin; cell < end; ++cell) FB_CALL_ISA(op.isa, thin_cell, op, cell);
}

void check_dtype(const char* name, const char* argument, Dtype given, std::initializer_list<Dtype> known) {
  for (const Dtype each : known)
    if (each == given) return;
  throw std::invalid_argument(std::string(name) + ": " + argument + ": must have a dtype that the kernel knows");
}

}  // namespace

void Cells::check(const char* name) const {
  bool good = ends[0] == 0 && ends[samples] == elements;
  for (int64_t cell = 0; cell < samples; ++cell) good = good && ends[cell] <= ends[cell + 1];
  if (!good) throw std::invalid_argument(std::string(name) + ": the cells must end one after the other");
}

void thin_cells(const ThinCells& op) {
  op.check("thin_cells");
  check_dtype("thin_cells", "counts", op.counts.dtype, {Dtype::u8, Dtype::i32, Dtype::i64});
  check_each("thin_cells", "alive", op.alive.p, op.samples, Rule::probability);
  check_each("thin_cells", "alive", op.alive.q, op.samples, Rule::probability);
  const int threads = op.elements < kParallelFrom ? 1 : op.threads;
  parallel_for(op.samples, threads, thin_some, const_cast<ThinCells*>(&op));
}

void keep_counts(const KeepCounts& op) {
  op.check("keep_counts");
  check_dtype("keep_counts", "counts", op.counts.dtype, {Dtype::u8, Dtype::i32, Dtype::i64});
  check_dtype("keep_counts", "genes", op.genes.dtype, {Dtype::i32, Dtype::i64});
  FB_CALL_ISA(op.isa, keep_all, op);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/steps.inc"

static inline int largest(const uint8_t* n, int count) {
  uint8_t top = 0;
  for (int e = 0; e < count; ++e) top = n[e] > top ? n[e] : top;
  return top;
}

template <class Count>
static void thin_counts(const ThinCells& op, int64_t cell) {
  constexpr bool kBytes = sizeof(Count) == 1;
  constexpr int64_t kMost = kBytes ? kDrawChunk : kChunk;
  const int64_t size = op.ends[cell + 1] - op.ends[cell];
  const Count* from = reinterpret_cast<const Count*>(op.counts.data) + op.ends[cell];
  Count* to = reinterpret_cast<Count*>(op.drawn.data) + op.ends[cell];
  const double p = op.alive.p[cell], q = op.alive.q[cell];
  const bool share = size <= kChunksKept * kDrawChunk, own = op.alive.p.stride != 0;
  const DrawKey key = key_of(op, cell);
  DrawTable& table = thread_table(0);
  for (int64_t at = 0; at < size; at += kMost) {
    const uint32_t i0 = static_cast<uint32_t>(at);
    const int count = static_cast<int>(size - at < kMost ? size - at : kMost);
    if constexpr (kBytes) {
      alignas(64) uint8_t n[kMost], k[kMost];
      std::memcpy(n, from + at, static_cast<size_t>(count));
      std::memset(n + count, 0, static_cast<size_t>(-count & 63));
      build_table(table, p, q, own ? largest(n, count) : kMaxSharedCount);
      draw_chunk(table, key, THIN_DRAW, THIN_REFINE, i0, count, n, k, share);
      std::memcpy(to + at, k, static_cast<size_t>(count));
    } else {
      alignas(64) int64_t n[kMost];
      for (int e = 0; e < count; ++e) n[e] = from[at + e];
      row_draws(table, key, {THIN_DRAW, THIN_REFINE, THIN_ELEMENT}, i0, count, p, q, share, n);
      for (int e = 0; e < count; ++e) to[at + e] = static_cast<Count>(n[e]);
    }
  }
}

static void thin_cell(const ThinCells& op, int64_t cell) {
  switch (op.counts.dtype) {
    case Dtype::u8: return thin_counts<uint8_t>(op, cell);
    case Dtype::i32: return thin_counts<int32_t>(op, cell);
    default: return thin_counts<int64_t>(op, cell);
  }
}

// Copies the counts from..end that are not 0, and their genes. Returns where the next are kept.
template <class Count, class Gene>
static inline int64_t keep_some(const Count* counts, const Gene* genes, int64_t from, int64_t end, Count* kept, Gene* kept_genes, int64_t to) {
#if FB_ISA_LEVEL == 2 && !defined(FB_EMULATED_AVX512)
  if constexpr (sizeof(Count) == 1 && sizeof(Gene) == 4)
    for (; from + 16 <= end; from += 16) {
      const __m512i n = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(counts + from)));
      const __mmask16 some = _mm512_test_epi32_mask(n, n);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(kept + to), _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(some, n)));
      _mm512_storeu_si512(kept_genes + to, _mm512_maskz_compress_epi32(some, _mm512_loadu_si512(genes + from)));
      to += __builtin_popcount(some);
    }
#endif
  for (; from < end; ++from) {  // without a branch, which nobody could predict
    const Count n = counts[from];
    kept[to] = n;
    kept_genes[to] = genes[from];
    to += n != 0;
  }
  return to;
}

template <class Count, class Gene>
static void keep_cells(const KeepCounts& op) {
  const Count* counts = reinterpret_cast<const Count*>(op.counts.data);
  const Gene* genes = reinterpret_cast<const Gene*>(op.genes.data);
  Count* kept = reinterpret_cast<Count*>(op.kept.data);
  Gene* kept_genes = reinterpret_cast<Gene*>(op.kept_genes.data);
  int64_t to = op.kept_ends[0] = 0;
  for (int64_t cell = 0; cell < op.samples; ++cell)
    op.kept_ends[cell + 1] = to = keep_some(counts, genes, op.ends[cell], op.ends[cell + 1], kept, kept_genes, to);
}

template <class Count>
static void keep_by_genes(const KeepCounts& op) {
  op.genes.dtype == Dtype::i32 ? keep_cells<Count, int32_t>(op) : keep_cells<Count, int64_t>(op);
}

static void keep_all(const KeepCounts& op) {
  switch (op.counts.dtype) {
    case Dtype::u8: return keep_by_genes<uint8_t>(op);
    case Dtype::i32: return keep_by_genes<int32_t>(op);
    default: return keep_by_genes<int64_t>(op);
  }
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
