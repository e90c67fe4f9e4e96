// Streams of the Philox counter (word 3 = stream << 24 | sub): one number an op and purpose, never reused.
// fastblackout/reference/philox.py holds the Python twin; a test compares the two.
#pragma once

#include "fastblackout/config.h"

namespace fastblackout {

enum Stream : uint32_t {
  THIN_DRAW = 1,
  THIN_REFINE = 2,
  THIN_ELEMENT = 3,
  BRIDGE_DRAW = 4,
  BRIDGE_REFINE = 5,
  BRIDGE_ELEMENT = 6,
  ATTRITION_DRAW = 7,
  ATTRITION_REFINE = 8,
  ATTRITION_ELEMENT = 9,
  ROUNDING = 10,
  ROUNDING_REFINE = 11,
  TAU_LEAP = 12,
  BINOMIAL = 13,
  POISSON = 14,
  SCHEDULE_INDEX = 15,
  SCHEDULE_CONTINUOUS = 16,
  CATEGORICAL = 17,
  CATEGORICAL_REFINE = 18,
  DATA_ORDER = 19,
  DATA_FLIP = 20,
  CATEGORICAL_X0 = 21,
  CATEGORICAL_X0_REFINE = 22,
  CATEGORICAL_BRIDGE = 23,
  CATEGORICAL_BRIDGE_REFINE = 24,
  REVERSE_PATH = 25,
};

}  // namespace fastblackout
