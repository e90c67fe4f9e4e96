// Draws one of S states from a row of weights: a 48-bit uniform V is compared with integer thresholds C(j), made of the
// running sums of the weights. It is lazy: the last 16 bits of V are made only where the first 32 do not decide.
// cum_0 = w_0, cum_j = cum_{j-1} + w_j in float64, factor = 2^48 / cum_{S-1}; C(j) = min(floor(cum_j factor), 2^48) for
// j < L and 2^48 from L on, where L is the last state of positive weight. The state drawn is #{0 <= j < S : C(j) <= V}, so
// that no state of weight 0 is drawn. fastblackout/reference/categorical.py, the twin in NumPy, derives the distance from
// the law of the weights. The order of every float64 operation is part of the result; there is no contraction to fma.
#pragma once

#include "fastblackout/draw.h"
#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int kGuide = 256;                    // entries of a row's guide, where searches start: guide[g] = #{j : C(j) <= g 2^40}
constexpr double kLargestWeight = 1.0001;      // a probability may be so large by rounding; a larger one counts as 0
// How far the sum of a row of probabilities may be from 1: of float64, and of float32.
constexpr double kRowTolerance = 1e-9, kSingleRowTolerance = 1e-4;
constexpr double kSmallestTotal = 0x1p-960;    // a row with a smaller sum is not drawn from: 2^48 / total stays finite

FB_HD bool is_weight(double w) { return w >= 0.0 && w <= kLargestWeight; }
FB_HD double weight_or_zero(double w) { return is_weight(w) ? w : 0.0; }  // 0 for NaN, negative and large ones
FB_HD bool sums_to_one(double total, double tolerance) {
  return total - 1.0 <= tolerance && total - 1.0 >= -tolerance;
}
FB_HD bool is_drawable(double total) { return total >= kSmallestTotal; }

// The weight of a logit in a row whose largest logit is `largest`: exp(logit - largest), and 0 where that difference is below
// -700. NaN and +inf are no logits (is_logit): they are not considered for the largest, and have weight 0.
FB_HD bool is_logit(float logit) { return logit < bit_cast<float>(0x7f800000u); }  // -inf is one
FB_HD double logit_weight(float logit, float largest) {
  const double d = static_cast<double>(logit) - static_cast<double>(largest);
  const double e = portable_exp(d <= 0.0 ? d : 0.0);
  return d >= -700.0 && d <= 0.0 ? e : 0.0;
}

// The bits of floats as integers of the same order, and back: a search for the largest vectorises with integers alone.
FB_HD int32_t in_order(int32_t bits) { return bits ^ (bits >> 31 & 0x7fffffff); }

FB_HD double threshold_factor(double total) { return kTwo48 / total; }

// C(j) of a state before the last one of positive weight
FB_HD uint64_t scaled_threshold(double cum, double factor) {
  const double scaled = cum * factor;
  return scaled >= kTwo48 ? uint64_t{1} << 48 : static_cast<uint64_t>(scaled);
}

// V = v << 16 | low. category_word makes v, the first 32 bits; category_bits makes all 48, which is needed only where
// C(j) >> 16 == v.
FB_HD uint32_t category_word(const SampleKey& key, uint32_t i, uint32_t stream) {
  return key.words(i >> 2, stream).w[i & 3u];
}
FB_HD uint64_t category_bits(const SampleKey& key, uint32_t i, uint32_t v, uint32_t stream_refine) {
  return static_cast<uint64_t>(v) << 16 | (key.words(i, stream_refine).w[0] & 0xffffu);
}

struct CategoryDraw {
  int64_t state;
  double total;  // of the weights; where that is not drawable, the state is the fallback
};

// The draw of one element as it is defined; weight(j) is called twice for each state. Every faster search must equal it.
template <class Weight>
FB_HD CategoryDraw draw_category(const Weight& weight, int64_t states, int64_t fallback, const SampleKey& key,
                                 uint32_t i, uint32_t stream, uint32_t stream_refine) {
  double total = weight(0);
  int64_t last = 0;
  for (int64_t j = 1; j < states; ++j) {
    const double w = weight(j);
    total = total + w;
    last = w > 0.0 ? j : last;
  }
  if (!is_drawable(total)) return CategoryDraw{fallback, total};
  const double factor = threshold_factor(total);
  const uint32_t v = category_word(key, i, stream);
  bool refined = false;
  uint64_t u = static_cast<uint64_t>(v) << 16;
  double cum = weight(0);
  int64_t state = 0;
  while (state < last) {
    const uint64_t c = scaled_threshold(cum, factor);
    if (c > u) {
      if (refined || c >> 16 != v) break;
      u = category_bits(key, i, v, stream_refine);
      refined = true;
      continue;
    }
    ++state;
    cum = cum + weight(state);
  }
  return CategoryDraw{state, total};
}

}  // namespace fastblackout
