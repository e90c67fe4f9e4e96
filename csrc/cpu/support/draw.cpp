#if !defined(FB_ISA)

#include "cpu/support/draw.h"

namespace fastblackout::cpu {
namespace {

// #{j < n : C(j) <= U} in the row of a table that `lane` names. The first k are known to be: their upper 16 bits are below U's.
int exact_count(const double (*cdf)[16], int rows, int lane, int n, double start_step, double odds, uint64_t u, int k) {
  while (k < n && k < rows && threshold(cdf[k][lane] / 65536.0) <= u) ++k;
  return k < n && k == rows ? count_below(n, row_start(start_step, lane), odds, u) : k;
}

// Whether the primary bits u leave open if the threshold after the first k is at or below U.
bool is_tie(const uint16_t (*h)[16], int lane, int n, uint32_t u, int k) { return k < n && h[k][lane] == u; }

// The exact result for one element whose fast search gave `found`, but met a tie or left its window.
uint8_t exact_draw(const DrawTable& t, const DrawKey& key, uint32_t stream_refine, uint32_t i, Primary primary, int n, int found) {
  const int a = n >> 4, b = n & 15, top = 16 * a, rows_1 = t.rows_upper[a >> 3], rows_2 = t.rows_lower[b >> 3];
  int k2 = 0;
  for (int j = 0; j < rows_2; ++j) k2 += t.h_lower[j][b] < primary.u2;  // they are few, and there is no branch to mispredict
  const int guess = (t.prob.mirrored ? n - found : found) - k2, most = top < rows_1 ? top : rows_1;
  int k1 = guess < 0 ? 0 : guess < most ? guess : most;  // nearly always right
  while (k1 > 0 && t.h_upper[k1 - 1][a] >= primary.u1) --k1;
  while (k1 < most && t.h_upper[k1][a] < primary.u1) ++k1;
  const bool tie_1 = is_tie(t.h_upper, a, top, primary.u1, k1), tie_2 = is_tie(t.h_lower, b, b, primary.u2, k2);
  if (tie_1 || tie_2) {
    const Uniforms u = refine(key, i, stream_refine, primary);
    if (tie_1) k1 = exact_count(t.cdf_upper, rows_1, a, top, t.step_upper, t.odds, u.u1, k1);
    if (tie_2) k2 = exact_count(t.cdf_lower, rows_2, b, b, t.prob.q, t.odds, u.u2, k2);
  }
  return static_cast<uint8_t>(t.prob.mirrored ? n - k1 - k2 : k1 + k2);
}

// The draws of a probability of 0 or 1; false, with nothing done, for any other.
bool trivial_draw(const DrawTable& table, int count, const uint8_t* n, uint8_t* k) {
  if (!table.prob.trivial) return false;
  if (table.prob.mirrored) std::memcpy(k, n, static_cast<size_t>(count));
  else std::memset(k, 0, static_cast<size_t>(count));
  return true;
}

}  // namespace

DrawTable& thread_table(int which) {
  thread_local std::unique_ptr<DrawTable> tables[2];
  if (!tables[which]) tables[which].reset(new DrawTable);
  return *tables[which];
}

}  // namespace fastblackout::cpu

// When it tunes for Skylake, g++ 12 spills fewer registers in the searches: 3% more draws a second, on Zen 4 too.
#define FB_TUNE_SKYLAKE
#define FB_FILE "cpu/support/draw.cpp"
#include "cpu/per_isa/for_each_isa.inc"

#else

namespace fastblackout::cpu::FB_ISA {

#if FB_ISA_LEVEL == 2
#include "cpu/per_isa/philox_avx512.inc"
#include "cpu/per_isa/draw_build.inc"
#include "cpu/per_isa/draw_search.inc"
#include "cpu/per_isa/draw_avx512.inc"
#else
#include "cpu/per_isa/draw_build.inc"
#include "cpu/per_isa/draw_narrow.inc"
#endif

}  // namespace fastblackout::cpu::FB_ISA

#endif
