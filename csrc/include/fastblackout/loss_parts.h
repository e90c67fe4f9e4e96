// What birth_loss makes of the polynomials' values, on FB_FLOAT: float, or for a loop over vectors one of them. Included once
// for each, where bits_of and to_floats of it are known.

// log(a) for a normal, positive and finite. a = (1 + f) 2^n with 1 + f in [sqrt(1/2), sqrt(2)); s = polynomial(f, FB_LOG_SERIES)
FB_HD FB_FLOAT log_power(FB_FLOAT a) { return to_floats((bits_of(a) - 0x3f3504f3) >> 23); }

FB_HD FB_FLOAT log_of(FB_FLOAT n, FB_FLOAT f, FB_FLOAT s) {
  return (f + (f * f) * (f * s - 0.5f)) + n * 0.693147182f;  // n log 2 to 2^-28 of itself
}

// softplus(x) of over = softplus_over and product = e * over
FB_HD FB_FLOAT softplus_from(FB_FLOAT x, FB_FLOAT over, FB_FLOAT product) { return bits_of(x) < 0 ? product : over; }

// log(softplus(x)), finite for every finite x, and x itself where it is very negative, of log = log(softplus_over)
FB_HD FB_FLOAT log_softplus_of(FB_FLOAT x, FB_FLOAT log) { return not_positive(x) + log; }

// sigmoid(x) / softplus(x), the derivative of log softplus: 1 for very negative x, subnormal above 2^126
FB_HD FB_FLOAT ratio_of(FB_FLOAT over, FB_FLOAT product) { return 1.0f / (over + product); }

// births 0 costs y = gain * soft alone: log_soft is finite for every finite logit, so 0 times it is 0.
FB_HD FB_FLOAT birth_loss_of(FB_FLOAT births, FB_FLOAT gain, FB_FLOAT log_gain, FB_FLOAT soft, FB_FLOAT log_soft) {
  return gain * soft - births * (log_gain + log_soft);
}

// The derivative by the logit, (y - births) y' / y with y' / y = ratio; up to coefficient = float32(upstream * weight), that
// product in float64. Above 2^126 ratio would be subnormal, and births / logit nothing beside gain.
FB_HD FB_FLOAT birth_loss_slope_of(FB_FLOAT logit, FB_FLOAT births, FB_FLOAT gain, FB_FLOAT soft, FB_FLOAT ratio) {
  const FB_FLOAT slope = (gain * soft - births) * ratio;
  return logit > 0x1p126f ? gain : slope;
}
