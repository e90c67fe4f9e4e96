#pragma once

#include <cstdint>

namespace fastblackout::simt_test {

// Where the draws of `size` counts (0..255) by the uniforms u1 and u2 (0..65,535) look up their buckets, in bytes from the
// beginning of the upper and of the lower buckets of a table (cuda/table.cuh).
void bucket_places(const uint32_t* counts, const uint32_t* u1, const uint32_t* u2, int64_t size, uint32_t* upper, uint32_t* lower);

}  // namespace fastblackout::simt_test
