#include "cpu/support/isa.h"

#if FB_X86
#include <cpuid.h>
#endif

namespace fastblackout::cpu {

bool find_vbmi() {
#if defined(FB_EMULATED_AVX512)
  return true;
#elif FB_X86
  return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
#else
  return false;
#endif
}

bool has_vbmi = find_vbmi();

// Gathers are fast on the Intel processors that needed no fix against gathers leaking data (Alder Lake, Sapphire Rapids and
// later), which can be told by their AVX-VNNI: on Emerald Rapids `thin` takes 5.2 clocks an element with vpgatherdd instead of
// 6.5. On older ones the instruction is slow, and on AMD's it runs as microcode (Zen 4: 10% slower).
bool find_fast_gathers() {
#if FB_X86
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_is("intel") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) != 0;
#else
  return false;
#endif
}

bool has_fast_gathers = find_fast_gathers();

#if FB_X86
const bool on_intel = __builtin_cpu_is("intel");
#else
const bool on_intel = false;
#endif

Isa best_isa() {
#if FB_X86 && !defined(FB_EMULATED_AVX512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
#endif
#if FB_X86
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return Isa::avx2;
#endif
  return Isa::scalar;
}

Isa widest_isa() {
#if FB_X86 && defined(FB_EMULATED_AVX512)
  if (best_isa() == Isa::avx2) return Isa::avx512;  // emulated, whatever the processor has
#endif
  return best_isa();
}

const char* isa_name(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "scalar";
}

Isa parse_isa(const char* name) {
  for (int level = 0; level <= 2; ++level) {
    const Isa isa = static_cast<Isa>(level);
    if (std::strcmp(name, isa_name(isa)) != 0) continue;
    if (isa > widest_isa())
      throw std::invalid_argument(std::string("FASTBLACKOUT_ISA: this processor has no ") + name + ", its best is " +
                                  isa_name(widest_isa()));
    return isa;
  }
  throw std::invalid_argument(std::string("FASTBLACKOUT_ISA: must be scalar, avx2 or avx512, got ") + name);
}

}  // namespace fastblackout::cpu
