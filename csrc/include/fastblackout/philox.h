// The counter-based random generator Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), one version for host and device.
#pragma once

#include "fastblackout/config.h"

namespace fastblackout {

constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;

struct Words {  // what one block of Philox gives
  uint32_t w[4];
};

template <int Rounds = 10>
FB_HD Words philox4x32(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < Rounds; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * c0;
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return Words{{c0, c1, c2, c3}};
}

// The part of a draw's key that is the same for every element of one sample. words() gives a block of random words: `stream`
// is the op and purpose they are for (Stream of fastblackout/reference/philox.py), `sub` the trial of a sampler that has several.
struct SampleKey {
  uint32_t seed_low, seed_high, sample, call;

  FB_HD Words words(uint32_t block, uint32_t stream, uint32_t sub = 0) const {
    return philox4x32(block, sample, call, stream << 24 | sub, seed_low, seed_high);
  }
};

}  // namespace fastblackout
