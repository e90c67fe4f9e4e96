#pragma once

#include <cstdint>

namespace fastblackout {
namespace simt_test {

// Runs a kernel of selftest.cu on `out` (256 ints). False when there is none of that name.
bool run(const char* name, int* out);

// The words of a Philox block from each of 64 threads; input: four words of counter, two of key.
void philox(const uint32_t* input, uint32_t* words);

}  // namespace simt_test
}  // namespace fastblackout
