// What the laws of a head with a logit for every state need beside their chunks: memory for rows of logits, and tables.
#pragma once

#include <limits>
#include <memory>
#include <vector>

#include "cpu/support/chunks.h"
#include "fastblackout/states.h"

namespace fastblackout::cpu {

constexpr int kStatePart = 64;  // elements whose rows are made at once where they do not lie in memory as rows

// log n! for n = 0..kMostStates - 1
inline const double* factorials_of_states() {
  static const std::vector<double> table = [] {
    std::vector<double> made(static_cast<size_t>(kMostStates));
    for (size_t n = 0; n < made.size(); ++n) made[n] = log_factorial(static_cast<double>(n));
    return made;
  }();
  return table.data();
}

constexpr int kStateGroup = 16;  // elements whose weights are kept at once: few enough for the first-level cache
static_assert(2 * kStateGroup < kStatePart, "columns and the rows of a group find room in the rows of a part");

// The memory of one chunk, and for "bayes-categorical" the table of n L - log n! of its sample.
class StateScratch {
 public:
  int states, end, pitch;  // end: of whole vectors; pitch: of rows, which are not whole pages apart
  bool known;
  const double* factorials;
  float *rows, *weights, *columns;  // columns: in whole lines of the cache; what rows after the first kStateGroup have room for
  double *logs, *rest;  // rest: can be read from -kStateLanes on

  StateScratch(int64_t count, Family family, double offset)
      : states(static_cast<int>(count)), end((states + kStateLanes - 1) / kStateLanes * kStateLanes), pitch(end + kStateLanes),
        known(family == Family::bayes_categorical), factorials(factorials_of_states()),
        floats_(new float[static_cast<size_t>(pitch * (kStatePart + kStateGroup))]), doubles_(new double[static_cast<size_t>(3 * pitch)]) {
    rows = floats_.get();
    weights = rows + kStatePart * pitch;
    columns = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(rows + kStateGroup * pitch) + 63) & ~uintptr_t{63});
    logs = doubles_.get();
    rest = logs + pitch + kStateLanes;
    for (int n = -kStateLanes; n < 0; ++n) rest[n] = 0.0;
    for (int n = 0; known && n < states; ++n) rest[n] = known_rest(static_cast<double>(n), offset, factorials[n]);
  }

 private:
  std::unique_ptr<float[]> floats_;
  std::unique_ptr<double[]> doubles_;
};

}  // namespace fastblackout::cpu
