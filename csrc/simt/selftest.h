#pragma once

#include <cstdint>

namespace fastblackout::simt_test {

// Runs a kernel of selftest.cu on `out` (256 ints). False if there is none of that name.
bool run(const char* name, int* out);

}  // namespace fastblackout::simt_test
