// What this machine does at most, one thread: bytes a second of Philox4x32-10 written to the first-level cache, in the
// widest lanes it is compiled for (-mavx512f, -mavx2, else scalar), and of memcpy in the caches and in memory. Prints a
// line "name<TAB>bytes a second" for each; status 1 when the words differ from the library's Philox. Compiled and run
// by test_ceilings.py. Nothing of the library's kernels is used: they may not be what limits the ceiling.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "fastblackout/philox.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

// Blocks lie in 64-bit lanes, of which a multiplication reads the low halves: the high ones may hold anything.
#if defined(__AVX512F__)
using Lanes = __m512i;
constexpr int kLanes = 8, kSets = 4;
constexpr char kName[] = "avx512";
Lanes all(uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
Lanes iota() { return _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7); }
Lanes add(Lanes a, Lanes b) { return _mm512_add_epi64(a, b); }
Lanes mul(Lanes a, Lanes b) { return _mm512_mul_epu32(a, b); }
Lanes mix(Lanes product, Lanes b, Lanes c) { return _mm512_ternarylogic_epi64(_mm512_srli_epi64(product, 32), b, c, 0x96); }
Lanes pair(Lanes low, Lanes high) { return _mm512_ternarylogic_epi64(_mm512_slli_epi64(high, 32), low, all(~0u), 0xF8); }
#elif defined(__AVX2__)
using Lanes = __m256i;
constexpr int kLanes = 4, kSets = 2;
constexpr char kName[] = "avx2";
Lanes all(uint64_t x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
Lanes iota() { return _mm256_setr_epi64x(0, 1, 2, 3); }
Lanes add(Lanes a, Lanes b) { return _mm256_add_epi64(a, b); }
Lanes mul(Lanes a, Lanes b) { return _mm256_mul_epu32(a, b); }
Lanes mix(Lanes product, Lanes b, Lanes c) { return _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product, 32), b), c); }
Lanes pair(Lanes low, Lanes high) { return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xAA); }
#else
using Lanes = uint64_t;
constexpr int kLanes = 1, kSets = 2;
constexpr char kName[] = "scalar";
Lanes all(uint64_t x) { return x; }
Lanes iota() { return 0; }
Lanes add(Lanes a, Lanes b) { return a + b; }
Lanes mul(Lanes a, Lanes b) { return (a & 0xffffffffu) * b; }
Lanes mix(Lanes product, Lanes b, Lanes c) { return product >> 32 ^ b ^ c; }
Lanes pair(Lanes low, Lanes high) { return (low & 0xffffffffu) | high << 32; }
#endif

constexpr int kBlocks = 256, kRounds = 10, kTimings = 15;
constexpr double kWindow = 0.02;  // seconds
constexpr uint32_t kSample = 3, kCall = 4, kLast = 5, kKey0 = 1, kKey1 = 2;

// Blocks first .. first + 255: words w0 | w1 << 32 of kLanes blocks, then w2 | w3 << 32 of them, and so on.
void philox(uint32_t first, Lanes* out) {
  Lanes key0[kRounds], key1[kRounds];
  for (int r = 0; r < kRounds; ++r) {
    key0[r] = all(kKey0 + static_cast<uint32_t>(r) * fastblackout::kPhiloxW0);
    key1[r] = all(kKey1 + static_cast<uint32_t>(r) * fastblackout::kPhiloxW1);
  }
  const Lanes m0 = all(fastblackout::kPhiloxM0), m1 = all(fastblackout::kPhiloxM1);
  Lanes block = add(all(first), iota());
  for (int at = 0; at < kBlocks; at += kSets * kLanes) {
    Lanes x0[kSets], x1[kSets], x2[kSets], x3[kSets];  // several sets: one alone would wait for its multiplications
#pragma GCC unroll 4
    for (int s = 0; s < kSets; ++s) {
      x0[s] = block, x1[s] = all(kSample), x2[s] = all(kCall), x3[s] = all(kLast);
      block = add(block, all(kLanes));
    }
#pragma GCC unroll 10
    for (int r = 0; r < kRounds; ++r)
#pragma GCC unroll 4
      for (int s = 0; s < kSets; ++s) {
        const Lanes p0 = mul(x0[s], m0), p1 = mul(x2[s], m1);
        x0[s] = mix(p1, x1[s], key0[r]), x2[s] = mix(p0, x3[s], key1[r]), x1[s] = p1, x3[s] = p0;
      }
#pragma GCC unroll 4
    for (int s = 0; s < kSets; ++s, out += 2) out[0] = pair(x0[s], x1[s]), out[1] = pair(x2[s], x3[s]);
  }
}

bool right(const Lanes* made, uint32_t first) {
  std::vector<uint64_t> found(kBlocks * 2);
  std::memcpy(found.data(), made, found.size() * sizeof found[0]);
  for (int i = 0; i < kBlocks; ++i) {
    const auto [w] = fastblackout::philox4x32(first + static_cast<uint32_t>(i), kSample, kCall, kLast, kKey0, kKey1);
    const int at = i / kLanes * 2 * kLanes + i % kLanes;
    if (found[at] != (w[0] | uint64_t{w[1]} << 32) || found[at + kLanes] != (w[2] | uint64_t{w[3]} << 32)) return false;
  }
  return true;
}

// Median bytes a second of `call`, which moves or makes `bytes`.
template <class Call>
double rate(double bytes, Call call) {
  const auto time = [&](int times) {
    const std::clock_t start = std::clock();  // processor time: other work on the machine does not add to it
    for (int i = 0; i < times; ++i) call(i);
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  };
  int times = 1;
  while (time(times) < kWindow && times < 1 << 28) times *= 2;
  std::vector<double> found;
  for (int i = 0; i < kTimings; ++i) found.push_back(bytes * times / time(times));
  std::nth_element(found.begin(), found.begin() + kTimings / 2, found.end());
  return found[kTimings / 2];
}

void copies() {
  const struct {
    const char* where;
    size_t bytes;
  } sizes[] = {{"first-level cache, 8 KB", 8 << 10}, {"second-level cache, 256 KB", 256 << 10}, {"memory, 256 MB", 256 << 20}};
  for (const auto& size : sizes) {
    std::vector<char> from(size.bytes, 1), to(size.bytes, 2);
    const double bytes = rate(static_cast<double>(size.bytes), [&](int) {
      std::memcpy(to.data(), from.data(), size.bytes);
      asm volatile("" : : "r"(to.data()) : "memory");  // the copy must happen
    });
    std::printf("memcpy, %s\t%.6g\n", size.where, bytes);
  }
}

}  // namespace

int main(int argc, char**) {
  alignas(64) static Lanes made[kBlocks * 2 / kLanes];
  philox(4096, made);
  if (!right(made, 4096)) return EXIT_FAILURE;
  const double bytes = rate(kBlocks * 16.0, [&](int i) {
    philox(static_cast<uint32_t>(i % 1024) * kBlocks, made);
    asm volatile("" : : "r"(made) : "memory");
  });
  std::printf("Philox4x32-10, %s\t%.6g\n", kName, bytes);
  if (argc > 1) copies();
}
