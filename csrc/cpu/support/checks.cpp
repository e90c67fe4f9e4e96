// Checks of values: a pass over the chunks of an array, and the error for its first wrong value.
#if !defined(FB_ISA)

#include <cmath>
#include <cstdio>

#include "cpu/support/chunks.h"

namespace fastblackout::cpu {
namespace {

struct Check : Common {
  View view;
  Rule rule;
  double limit;
  std::atomic<int64_t>* first_bad;  // linear index of the first element that breaks the rule

  template <class Read>
  void fields(Read& read) {
    read(view);
  }
};

struct PairCheck : Common {
  View p, q;
  std::atomic<int64_t>* first_bad;

  template <class Read>
  void fields(Read& read) {
    read(p, q);
  }
};

struct UrnCheck : Common {
  View good, bad, draws;
  std::atomic<int64_t>* first_bad;
};

bool obeys(Rule rule, double x, double limit) {
  switch (rule) {
    case Rule::count: return x >= 0.0 && x <= limit && x == static_cast<double>(static_cast<int64_t>(x));
    case Rule::finite: case Rule::number: return x - x == 0.0;
    case Rule::nonnegative: return x >= 0.0 && x <= limit;
    case Rule::positive: return x >= 1.0 / limit && x <= limit;
    default: return x >= 0.0 && x <= 1.0;
  }
}

[[noreturn]] void refuse(const char* name, const char* argument, Rule rule, double limit, const char* value, const char* place) {
  char must[96];
  switch (rule) {
    case Rule::count: std::snprintf(must, sizeof(must), "must be whole numbers in 0..%.0f", limit); break;
    case Rule::finite: std::snprintf(must, sizeof(must), "must be finite in float32"); break;
    case Rule::number: std::snprintf(must, sizeof(must), "must be finite"); break;
    case Rule::nonnegative:
      if (limit >= kLargestFloat32) std::snprintf(must, sizeof(must), "must be finite and at least 0");
      else std::snprintf(must, sizeof(must), "must be finite and in 0..%.0f", limit);
      break;
    case Rule::positive: std::snprintf(must, sizeof(must), "must be finite and in %.9g..%.9g", 1.0 / limit, limit); break;
    default: std::snprintf(must, sizeof(must), "must be in [0, 1]");
  }
  char text[320];
  std::snprintf(text, sizeof(text), "%s: %s: %s, got %s at %s", name, argument, must, value, place);
  throw std::invalid_argument(text);
}

bool full_range(Dtype dtype, Rule rule, double limit) {
  return rule == Rule::count && dtype == Dtype::u8 && limit >= 255.0;  // every value of the dtype is allowed
}

}  // namespace
}  // namespace fastblackout::cpu

#define FB_FILE "cpu/support/checks.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

FB_CHUNK(check_chunk, Check)
FB_CHUNK(check_pair_chunk, PairCheck)
FB_CHUNK(check_urn_chunk, UrnCheck)

template <class T>
T value_at(const View& view, int64_t sample, int64_t i) {
  T value;
  scalar::load(view, sample, i, 1, &value);
  return value;
}

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.17g", value == value ? value : std::fabs(value));  // a NaN without its sign
  return text;
}

// float64 does not hold every integer.
std::string shown_at(const View& view, int64_t sample, int64_t i) {
  if (view.dtype == Dtype::i64) return std::to_string(value_at<int64_t>(view, sample, i));
  return shown(value_at<double>(view, sample, i));
}

std::string place_of(int64_t sample, int64_t i) {
  return "sample " + std::to_string(sample) + ", element " + std::to_string(i);
}

}  // namespace

void check_values(const Common& op, const char* name, const char* argument, const View& view, Rule rule, double limit) {
  if (full_range(view.dtype, rule, limit)) return;
  std::atomic<int64_t> first_bad{INT64_MAX};
  Check check{op, view, rule, limit, &first_bad};
  for_chunks(rows_as_one(check), check_chunk);
  const int64_t bad = first_bad.load();
  if (bad == INT64_MAX) return;
  const int64_t sample = bad / op.elements, i = bad % op.elements;
  refuse(name, argument, rule, limit, shown_at(view, sample, i).c_str(), place_of(sample, i).c_str());
}

void check_given(const Common& op, const char* name, const char* argument, const View& view, Rule rule, double limit) {
  Common looked_at = op;
  View first = view;
  if (is_one(view) && op.elements > 1) looked_at.elements = first.sizes[0] = 1;
  check_values(looked_at, name, argument, first, rule, limit);
}

void check_pairs(const Common& op, const char* name, const char* argument, const View& p, const View& q) {
  std::atomic<int64_t> first_bad{INT64_MAX};
  PairCheck check{op, p, q, &first_bad};
  for_chunks(rows_as_one(check), check_pair_chunk);
  const int64_t bad = first_bad.load();
  if (bad == INT64_MAX) return;
  const int64_t sample = bad / op.elements, i = bad % op.elements;
  char text[320];
  std::snprintf(text, sizeof(text), "%s: %s: p + q must be 1 within 1e-9, got p = %.17g and q = %.17g at %s", name, argument,
                value_at<double>(p, sample, i), value_at<double>(q, sample, i), place_of(sample, i).c_str());
  throw std::invalid_argument(text);
}

void check_urns(const Common& op, const char* name, const View& good, const View& bad, const View& draws) {
  std::atomic<int64_t> first_bad{INT64_MAX};
  UrnCheck check{op, good, bad, draws, &first_bad};
  for_chunks(check, check_urn_chunk);
  const int64_t at = first_bad.load();
  if (at == INT64_MAX) return;
  const int64_t sample = at / op.elements, i = at % op.elements;
  const int64_t all = value_at<int64_t>(good, sample, i) + value_at<int64_t>(bad, sample, i), drawn = value_at<int64_t>(draws, sample, i);
  const std::string sum = std::to_string(all), where = " at " + place_of(sample, i);
  if (drawn > all)
    throw std::invalid_argument(std::string(name) + ": draws: must be at most good + bad, " + sum + ", got " + std::to_string(drawn) + where);
  throw std::invalid_argument(std::string(name) + ": bad: good + bad must be at most 2^53, got " + sum + where);
}

void check_each(const char* name, const char* argument, const PerSample<double>& values, int64_t samples, Rule rule) {
  for (int64_t s = 0; s < values.distinct(samples); ++s) {
    if (obeys(rule, values[s], kLargest)) continue;
    char place[48];
    std::snprintf(place, sizeof(place), "sample %lld", static_cast<long long>(s));
    refuse(name, argument, rule, kLargest, shown(values[s]).c_str(), place);
  }
}

void check_reverse(const Reverse& op, const char* name) {
  check_values(op, name, "x_t", op.x_t, Rule::count, static_cast<double>(op.max_count));
  if (op.births) check_values(op, name, "births", op.given, Rule::nonnegative, kLargestFloat32);
  else check_values(op, name, "logits", op.given, Rule::finite, 0.0);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

// Whether a chunk has a value that breaks the rule, computed in Buffer: float or double, as the caller chooses.
template <class Buffer>
static int bad_in(const Check& op, int64_t sample, int64_t i0, int count) {
  alignas(64) Buffer buffer[kChunk];
  const Buffer* direct = in_place<Buffer>(op.view, sample, i0);
  const Buffer* x = direct != nullptr ? direct : buffer;
  if (direct == nullptr) load(op.view, sample, i0, count, buffer);
  const Buffer limit = static_cast<Buffer>(op.limit), top = op.rule == Rule::probability ? Buffer(1) : limit;
  const Buffer least = op.rule == Rule::positive ? Buffer(1) / limit : Buffer(0);
  constexpr Buffer kWhole = sizeof(Buffer) == 4 ? Buffer(0x1p23) : Buffer(0x1p52);
  int bad = 0;
  if (op.rule == Rule::finite || op.rule == Rule::number) {
    for (int k = 0; k < count; ++k) bad |= x[k] - x[k] != Buffer(0);
  } else {
    for (int k = 0; k < count; ++k) bad |= !(x[k] >= least) | !(x[k] <= top);
    if (op.rule == Rule::count && (op.view.dtype == Dtype::f32 || op.view.dtype == Dtype::f64))
      for (int k = 0; k < count; ++k) bad |= (x[k] < kWhole) & ((x[k] + kWhole) - kWhole != x[k]);  // above are only whole ones
  }
  return bad;
}

static void note_bad(const Check& op, int64_t sample, int64_t i) {
  note_first(*op.first_bad, sample * op.elements + i);
}

static void check_chunk(const Check& op, int64_t sample, int64_t i0, int count) {
  const Dtype dtype = op.view.dtype;
  const bool same_limit = static_cast<double>(static_cast<float>(op.limit)) == op.limit;
  const bool narrow = op.rule == Rule::finite || dtype == Dtype::u8 || dtype == Dtype::i16 || (dtype == Dtype::f32 && same_limit);
  if (dtype == Dtype::i64 && op.rule == Rule::count) {  // 2^53 + 1 would round to an allowed float64
    alignas(64) int64_t x[kChunk];
    load(op.view, sample, i0, count, x);
    const int64_t limit = static_cast<int64_t>(op.limit);
    for (int k = 0; k < count; ++k) {
      if (x[k] >= 0 && x[k] <= limit) continue;
      note_bad(op, sample, i0 + k);
      return;
    }
    return;
  }
  if ((narrow ? bad_in<float>(op, sample, i0, count) : bad_in<double>(op, sample, i0, count)) == 0) return;
  for (int k = 0; k < count; ++k) {
    double x;
    load(op.view, sample, i0 + k, 1, &x);
    if (op.rule == Rule::finite) x = static_cast<float>(x);
    if (obeys(op.rule, x, op.limit)) continue;
    note_bad(op, sample, i0 + k);
    return;
  }
}

static void check_pair_chunk(const PairCheck& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double p[kChunk], q[kChunk];
  load(op.p, sample, i0, count, p);
  load(op.q, sample, i0, count, q);
  for (int k = 0; k < count; ++k) {
    if (fastblackout::good_pair(p[k], q[k])) continue;
    note_first(*op.first_bad, sample * op.elements + i0 + k);
    return;
  }
}

static void check_urn_chunk(const UrnCheck& op, int64_t sample, int64_t i0, int count) {
  alignas(64) int64_t good[kChunk], bad[kChunk], draws[kChunk];
  load(op.good, sample, i0, count, good);
  load(op.bad, sample, i0, count, bad);
  load(op.draws, sample, i0, count, draws);
  for (int k = 0; k < count; ++k) {
    const int64_t all = good[k] + bad[k];
    if (all <= int64_t{1} << 53 && draws[k] <= all) continue;
    note_first(*op.first_bad, sample * op.elements + i0 + k);
    return;
  }
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
