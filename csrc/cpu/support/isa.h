// Instruction sets of the CPU kernels. A kernel file's body is compiled once for each, in a namespace of that name,
// and one is chosen at import (FASTBLACKOUT_ISA=scalar|avx2|avx512 forces it; tests pass it per call).
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "fastblackout/portfloat.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FB_X86 1
#include <immintrin.h>
#else
#define FB_X86 0
#endif

namespace fastblackout::cpu {

enum class Isa : int { scalar = 0, avx2 = 1, avx512 = 2 };

Isa best_isa();                     // the widest this processor has: what is chosen
Isa widest_isa();                   // the widest that can be asked for: emulated ones too
bool find_vbmi();                   // whether this processor has AVX-512's VBMI and VBMI2: look-ups by bytes, shifts of words
extern bool has_vbmi;               // whether draws by AVX-512 use them; tests set it
bool find_fast_gathers();           // whether AVX2's gathers beat loads one by one on this processor
extern bool has_fast_gathers;       // whether draws by AVX2 gather; tests set it
extern const bool on_intel;         // whether it is Intel's: kernels of floats choose the faster way by it, with equal results
Isa parse_isa(const char* name);    // throws std::invalid_argument for an unknown or unsupported one
const char* isa_name(Isa isa);

#if FB_X86 && defined(FB_EMULATED_AVX512)
namespace avx512 {
#include "cpu/support/avx512_emulated.h"
}
#endif

}  // namespace fastblackout::cpu

// Calls NAME of the namespace of `isa`.
#if FB_X86
#define FB_CALL_ISA(isa, NAME, ...)                                                     \
  ((isa) == ::fastblackout::cpu::Isa::avx512 ? ::fastblackout::cpu::avx512::NAME(__VA_ARGS__)          \
   : (isa) == ::fastblackout::cpu::Isa::avx2 ? ::fastblackout::cpu::avx2::NAME(__VA_ARGS__)            \
                                             : ::fastblackout::cpu::scalar::NAME(__VA_ARGS__))
#else
#define FB_CALL_ISA(isa, NAME, ...) ((void)(isa), ::fastblackout::cpu::scalar::NAME(__VA_ARGS__))
#endif

// Defines NAME, a kernel of a part of an op's elements (for_chunks): the one for the instruction set that the op asks for.
#define FB_CHUNK(NAME, Op) \
  static void NAME(const Op& op, int64_t sample, int64_t i0, int count) { FB_CALL_ISA(op.isa, NAME, op, sample, i0, count); }
