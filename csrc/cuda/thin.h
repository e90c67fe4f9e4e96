// The thin kernel as its bindings call it: pointers into device memory, sizes and a stream; nothing of CUDA's headers.
#pragma once

#include "fastblackout/philox.h"

namespace fastblackout {
namespace cuda {

struct Thin {
  const uint8_t* x_0;       // (samples, elements), C order
  uint8_t *x_t, *births;    // null: not asked for
  float* model_input;       // likewise
  const double *p, *q;      // (samples)
  const float *center, *scale;
  int64_t samples, elements;
  int max_count;            // at most 255; larger counts in x_0 are taken as max_count
  SampleKey key;            // of sample 0
};

// Returns a cudaError_t. `stream` is a cudaStream_t.
int thin(const Thin& op, void* stream);
const char* error_text(int code);

}  // namespace cuda
}  // namespace fastblackout
