// Draws of a law f from a law g that is at hand: an attempt proposes a number under g and accepts it with f / g over the largest
// such ratio.
#pragma once

#include "fastblackout/philox.h"

namespace fastblackout {

constexpr uint32_t kMaxAttempts = 64;  // an attempt succeeds with probability above 0.6: never reached in practice
constexpr uint32_t kAttemptShift = 10;  // the trials of an attempt's own draw, at most kMaxTrials, lie below it

// The key of an attempt: the trials of its draw have words of their own.
template <class Key>
struct AttemptKey {
  const Key& key;
  uint32_t attempt;

  FB_HD Words words(uint32_t block, uint32_t stream, uint32_t sub = 0) const {
    return key.words(block, stream, attempt << kAttemptShift | sub);
  }
};

}  // namespace fastblackout
