// Per-element draws by float32 beside the exact ones, for the test of the bounds between them (tests/backends/test_fast_element.py).
#include "simt/fast.h"

#include "fastblackout/fast_element.h"

namespace fastblackout::simt_test {
namespace {

// Has the words of one trial. Where another is asked for, it gets words that end the draw, and `again` is set.
struct OneTrial {
  const uint32_t* first;
  mutable bool again = false;

  Words words(uint32_t, uint32_t, uint32_t trial = 0) const {
    if (trial == 0) return Words{{first[0], first[1], first[2], first[3]}};
    again = true;
    return Words{{1u << 31, 0, 1u << 28, 0}};
  }
};

bool by_float32(int64_t n, double p, const OneTrial& key, int64_t& k) {
  return n < 0 ? fast_poisson(p, key, 0, 0, k) : fast_binomial(n, p, key, 0, 0, k);
}

int64_t exactly(int64_t n, double p, double q, const OneTrial& key) {
  PoissonHat poisson;
  BinomialHat binomial;
  return n < 0 ? poisson_element(p, key, 0, 0, poisson) : binomial_element(n, p, q, key, 0, 0, binomial);
}

}  // namespace

void first_trials(const int64_t* n, const double* p, const double* q, const uint32_t* words, int64_t size, int64_t* ends) {
  for (int64_t i = 0; i < size; ++i) {
    const OneTrial fast{words + 4 * i}, exact{words + 4 * i};
    int64_t* const end = ends + 4 * i;
    end[1] = 0;
    const bool told = by_float32(n[i], p[i], fast, end[1]);
    end[0] = fast.again ? 1 : told ? 0 : 2;
    end[3] = exactly(n[i], p[i], q[i], exact);
    end[2] = exact.again ? 1 : 0;
  }
}

}  // namespace fastblackout::simt_test
