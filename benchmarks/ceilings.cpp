// What this machine does at most, one thread: bytes a second of Philox4x32-10 by the library's own code for each
// instruction set, and of memcpy in the caches and in memory. Prints a line "name<TAB>bytes a second" for each; status 1
// when an instruction set's words differ from the scalar ones. Compiled and run by test_ceilings.py with csrc/cpu/draw.cpp
// and csrc/cpu/isa.cpp.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <vector>

#include "cpu/draw.h"

using namespace fastblackout;
using namespace fastblackout::cpu;

namespace {

constexpr int kRounds = 15;
constexpr double kWindow = 0.02;  // seconds

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
  for (int round = 0; round < kRounds; ++round) found.push_back(bytes * times / time(times));
  std::nth_element(found.begin(), found.begin() + kRounds / 2, found.end());
  return found[kRounds / 2];
}

void words(Isa isa, const SampleKey& key, uint32_t first, uint32_t* out) { FB_CALL_ISA(isa, rounding_words, key, first, kChunk, out); }

}  // namespace

int main() {
  alignas(64) static uint32_t expected[kChunk], made[kChunk];
  const SampleKey key{1, 2, 3, 4};
  words(Isa::scalar, key, 4096, expected);
  for (int isa = 0; isa <= static_cast<int>(best_isa()); ++isa) {
    words(static_cast<Isa>(isa), key, 4096, made);
    if (std::memcmp(expected, made, sizeof made) != 0) return 1;
    const double bytes = rate(sizeof made, [&](int i) { words(static_cast<Isa>(isa), key, static_cast<uint32_t>(i % 1024) * kChunk, made); });
    std::printf("Philox4x32-10, %s\t%.6g\n", isa_name(static_cast<Isa>(isa)), bytes);
  }
  const struct {
    const char* where;
    size_t bytes;
  } copies[] = {{"first-level cache, 8 KB", 8 << 10}, {"second-level cache, 256 KB", 256 << 10}, {"memory, 256 MB", 256 << 20}};
  for (const auto& copy : copies) {
    std::vector<char> from(copy.bytes, 1), to(copy.bytes, 2);
    const double bytes = rate(static_cast<double>(copy.bytes), [&](int) {
      std::memcpy(to.data(), from.data(), copy.bytes);
      asm volatile("" : : "r"(to.data()) : "memory");  // the copy must happen
    });
    std::printf("memcpy, %s\t%.6g\n", copy.where, bytes);
  }
}
