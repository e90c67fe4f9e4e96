// Where the CUDA kernels put the buckets of a table, for the test of its bank conflicts (tests/backends/test_cuda_tables.py).
#include "simt/buckets.h"

#include "cuda/table.cuh"

namespace fastblackout::simt_test {

void bucket_places(const uint32_t* counts, const uint32_t* u1, const uint32_t* u2, int64_t size, uint32_t* upper, uint32_t* lower) {
  using namespace cuda;
  for (int64_t i = 0; i < size; ++i) {
    upper[i] = bucket_place<kUpperBits>(bucket_number<kUpperBits>(widened(u1[i])), mixed_rows<kUpperBits>(counts[i]), 0);
    lower[i] = bucket_place<kLowerBits>(bucket_number<kLowerBits>(widened(u2[i])), mixed_rows<kLowerBits>(counts[i]), 0);
  }
}

}  // namespace fastblackout::simt_test
