#pragma once

#include <cstdint>

namespace fastblackout {
namespace simt_test {

// Runs a kernel of selftest.cu on `out` (256 ints). False if there is none of that name.
bool run(const char* name, int* out);

}  // namespace simt_test
}  // namespace fastblackout
