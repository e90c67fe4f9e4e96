// What the reverse step of a head that gives a law draws from, element by element. Twin: fastblackout/reference/posterior_step.py,
// whose docstring derives the error bounds. The law itself is in posterior_loss.h, the draws in gamma.h and binomial.h.
#pragma once

#include "fastblackout/gamma.h"
#include "fastblackout/posterior_loss.h"

namespace fastblackout {

// Births ~ Binomial(room, f step), f ~ Beta(a, b). Shapes are brought into the range that the gamma draw takes: one below 1e-300,
// or a NaN, is 1e-300, and f is 0 or 1 in every draw then.
struct StepShapes {
  double a, b;
};
FB_HD double drawable_shape(double a) { return a >= kLeastShape ? a : kLeastShape; }
FB_HD StepShapes step_shapes(const BetaBinomialLaw& law) {
  return StepShapes{drawable_shape(law.mean * law.c), drawable_shape(law.rest * law.c)};
}

// f p and 1 - f p = (1 - f) + f (1 - p), of f and 1 - f as drawn and of p and q = 1 - p as given; rounded, the sum may pass 1.
FB_HD BetaPair thinned_pair(const BetaPair& f, double p, double q) {
  const double rest = f.q + f.p * q;
  return BetaPair{f.p * p, rest < 1.0 ? rest : 1.0};
}

}  // namespace fastblackout
