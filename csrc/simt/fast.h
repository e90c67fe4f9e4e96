#pragma once

#include <cstdint>

namespace fastblackout::simt_test {

// What the words of a first trial, or of an inversion, come to by float32 (fastblackout/fast_element.h) and exactly: for each of
// `size` draws, how it ends and k by float32, how it ends and k exactly. Ends: 0 drawn, 1 another trial is needed, 2 float32 does not
// tell. n: counts, or -1 for Poisson's law of rate p. words: four a draw.
void first_trials(const int64_t* n, const double* p, const double* q, const uint32_t* words, int64_t size, int64_t* ends);

}  // namespace fastblackout::simt_test
