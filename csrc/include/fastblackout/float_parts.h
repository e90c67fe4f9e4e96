// Parts of the portable float32 functions (portfloat.h), for the type FB_FLOAT: float, or a vector of floats for loops over many
// elements (cpu/per_isa/wide.inc). This file is included once for each type, after bits_of, from_bits, not_positive,
// not_negative, to_whole, number_of, times_power, less_product, log_power and significand have been defined for it.

FB_HD FB_FLOAT minus_abs(FB_FLOAT x) { return from_bits(bits_of(x) | INT32_MIN); }

// exp(t) for t = -|x| = n log 2 + r in three parts. exp_whole gives n in the form of to_whole. exp_rest gives r, which is
// rounded only once: log 2 is taken as the sum of two numbers of 17 bits, whose products with n are exact. exp_of gives the
// result from both and s = polynomial(r, FB_EXP_SERIES). Where n < -125, r may be anything, and the result is 0.
FB_HD FB_FLOAT exp_whole(FB_FLOAT t) { return to_whole(t * 1.44269502f); }

FB_HD FB_FLOAT exp_rest(FB_FLOAT t, FB_FLOAT whole) {
  const FB_FLOAT n = number_of(whole);
  return less_product(less_product(t, n, 0.693145752f), n, 1.42860517e-6f);
}

FB_HD FB_FLOAT exp_of(FB_FLOAT whole, FB_FLOAT r, FB_FLOAT s) { return times_power(1.0f + (r + (r * r) * s), whole); }

// softplus(x) from x, e = exp_minus_abs(x) and g = log1p_over(e). The functions below choose one of two forms by the sign bit of
// x; for 0 and -0 both forms give the same.
FB_HD FB_FLOAT softplus_of(FB_FLOAT x, FB_FLOAT e, FB_FLOAT g) { return not_negative(x) + e * g; }

// softplus(x) where x is positive, else log1p(e) / e: softplus(x) without the factor e that makes it small
FB_HD FB_FLOAT softplus_over(FB_FLOAT x, FB_FLOAT e, FB_FLOAT g) { return bits_of(x) < 0 ? g : x + e * g; }

// log(a) for a normal, positive and finite. a = (1 + f) 2^n with 1 + f in [3/4, 3/2), n = log_power(a);
// s = polynomial(f, FB_LOG_SERIES)
FB_HD FB_FLOAT log_fraction(FB_FLOAT a) { return significand(a) - 1.0f; }

FB_HD FB_FLOAT log_of(FB_FLOAT n, FB_FLOAT f, FB_FLOAT s) {
  return (f + (f * f) * (f * s - 0.5f)) + n * 0.693147182f;  // n log 2 to 2^-28 of itself
}

// softplus(x) from over = softplus_over and product = e * over
FB_HD FB_FLOAT softplus_from(FB_FLOAT x, FB_FLOAT over, FB_FLOAT product) { return bits_of(x) < 0 ? product : over; }

// log(softplus(x)) from log = log(softplus_over); finite for every finite x, and x itself where x is very negative
FB_HD FB_FLOAT log_softplus_of(FB_FLOAT x, FB_FLOAT log) { return not_positive(x) + log; }

// The loss of one element. Where births is 0 it is y alone: log y is finite for every finite logit, so 0 times it is 0.
FB_HD FB_FLOAT birth_loss_of(FB_FLOAT births, FB_FLOAT y, FB_FLOAT log_y) { return y - births * log_y; }

// The derivative of that loss by the logit, (y - births) y' / y, where y' / y = sigmoid / softplus = 1 / (over + product). The
// caller multiplies it by the coefficient float32(upstream * weight), whose product is taken in float64.
FB_HD FB_FLOAT birth_loss_slope_of(FB_FLOAT births, FB_FLOAT y, FB_FLOAT over, FB_FLOAT product) {
  return (y - births) / (over + product);
}

// Of the energy loss: z = 2 logit + offset, e = exp_minus_abs(z), inverse = 1 / (1 + e), y = room * sigmoid(z), and dy / dlogit =
// 2 room sigmoid(z) (1 - sigmoid(z))
FB_HD FB_FLOAT energy_argument(FB_FLOAT logit, FB_FLOAT offset) { return (logit + logit) + offset; }

FB_HD FB_FLOAT energy_inverse(FB_FLOAT e) { return 1.0f / (1.0f + e); }

FB_HD FB_FLOAT energy_draw(FB_FLOAT room, FB_FLOAT z, FB_FLOAT e, FB_FLOAT inverse) {
  return room * (bits_of(z) < 0 ? e * inverse : inverse);
}

FB_HD FB_FLOAT energy_slope(FB_FLOAT room, FB_FLOAT e, FB_FLOAT inverse) { return (room + room) * ((e * inverse) * inverse); }
