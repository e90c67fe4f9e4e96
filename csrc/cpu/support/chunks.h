// Cuts the work of an op into chunks, each a part of one sample of 1,024 elements unless told otherwise, and spreads them
// over threads; and checks of values that run in this way.
#pragma once

#include "cpu/support/draw.h"
#include "cpu/ops.h"
#include "cpu/support/pool.h"

namespace fastblackout::cpu {

constexpr int64_t kParallelFrom = 64 * 1024;  // fewer elements than this are not worth waking a thread

template <class Op>
struct ChunkJob {
  const Op* op;
  void (*body)(const Op& op, int64_t sample, int64_t i0, int count);
  int64_t chunk;
};

template <class Op>
void run_chunks(void* context, int64_t begin, int64_t end) {
  const ChunkJob<Op>& job = *static_cast<const ChunkJob<Op>*>(context);
  const int64_t elements = job.op->elements, size = job.chunk, per_sample = (elements + size - 1) / size;
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    const int64_t i0 = chunk % per_sample * size;
    job.body(*job.op, chunk / per_sample, i0, static_cast<int>(elements - i0 < size ? elements - i0 : size));
  }
}

// Calls body(op, sample, i0, count) for every chunk of every sample. cost: the work on an element, 1 for a plain draw.
template <class Op>
void for_chunks(const Op& op, void (*body)(const Op&, int64_t, int64_t, int), int64_t chunk = kChunk, int64_t cost = 1) {
  ChunkJob<Op> job{&op, body, chunk};
  const int64_t chunks = op.samples * ((op.elements + chunk - 1) / chunk);
  const int threads = op.samples * op.elements < kParallelFrom / cost ? 1 : op.threads;
  parallel_for(chunks, threads, run_chunks<Op>, &job);
}

constexpr int64_t kShortRow = 512;  // samples of fewer elements fill too little of a chunk on their own

// The same for draws by a table: from so many elements on, draws of one sample at a time are faster. AVX-512 draws short samples of a
// multiple of eight elements nearly as fast as one long sample.
inline int64_t short_table_row(const Common& op) {
  if (op.isa != Isa::avx512) return 24;
  return op.elements % 8 == 0 ? 256 : 48;
}

// Goes along an op's fields and makes its samples one, the first dimension of its views.
struct OneRow {
  int64_t samples;
  bool possible = true;  // as long as no view has too many dimensions, and all samples share every number

  template <class... Fields>
  void operator()(Fields&... fields) {
    (merge(fields), ...);
  }
  template <class... Fields>
  void elements(Fields&... fields) {
    (merge(fields), ...);
  }
  template <class... Fields>
  void outputs(Fields&... fields) {
    (merge(fields), ...);
  }
  void either(View& view, bool&) { merge(view); }
  void optional(Prob& prob) { merge(prob); }
  template <class T>
  void at_least(T, PerSample<T>& numbers) {
    merge(numbers);
  }
  void choice(bool&, const char*, const char*) {}

 private:
  template <class Other>
  void merge(Other&) {}
  template <class T>
  void merge(PerSample<T>& numbers) {
    possible = possible && numbers.stride == 0;
  }
  void merge(Prob& prob) {
    merge(prob.p);
    merge(prob.q);
  }
  void merge(View& view) {
    View merged = view;
    merged.sample_stride = 0;
    merged.dims = 1;
    merged.sizes[0] = merged.strides[0] = 1;
    possible = possible && view.dims < kMaxDims;
    if (!possible) return;
    Merge merge(merged);
    merge.append(samples, view.sample_stride);
    for (int d = 0; d < view.dims; ++d) merge.append(view.sizes[d], view.strides[d]);
    view = merged;
  }
};

// The op with samples of fewer elements than `most` made one, so that chunks run over several.
template <class Op>
Op rows_as_one(const Op& op, int64_t most = kShortRow) {
  const int64_t elements = op.samples * op.elements;
  if (op.samples < 2 || op.elements >= most || elements > INT64_C(0xffffffff)) return op;
  Op one = op;
  OneRow merge{op.samples};
  one.fields(merge);
  if (!merge.possible) return op;
  one.row = static_cast<uint32_t>(op.elements);
  one.samples = 1;
  one.elements = elements;
  return one;
}

// Whether draw_chunk is to keep the part of Philox that does not depend on the sample (SharedRounds) for the samples that follow.
inline bool shares_rounds(const Common& op) { return op.samples > 1 && op.elements <= kChunksKept * kDrawChunk; }

// The largest count up to which a dtype holds every count: draws come back in the dtype of the counts.
inline double exact_counts(Dtype dtype) { return dtype == Dtype::f32 ? 0x1p24 : 0x1p53; }

enum class Rule { count, finite, number, nonnegative, positive, probability };  // finite: in float32; number: in float64

constexpr double kLargest = 1.7976931348623157e308;  // of float64
constexpr double kLargestFloat32 = 3.4028234663852886e38;

// Throws std::invalid_argument unless every value of `view` obeys the rule (counts: whole numbers in 0..limit; positive: in
// 1 / limit..limit).
void check_values(const Common& op, const char* name, const char* argument, const View& view, Rule rule, double limit);
// The same, which looks once at what is one number for all elements.
void check_given(const Common& op, const char* name, const char* argument, const View& view, Rule rule, double limit);
// The same for p + q = 1 in every element, with each of them in [0, 1].
void check_pairs(const Common& op, const char* name, const char* argument, const View& p, const View& q);
// The same for numbers of balls, of which good and bad ones are at most 2^53 and the draws no more than they, all of them counts.
void check_urns(const Common& op, const char* name, const View& good, const View& bad, const View& draws);
// The same for numbers of which every sample has one.
void check_each(const char* name, const char* argument, const PerSample<double>& values, int64_t samples, Rule rule);
// The same for the arrays of a head.
template <class Op>
void check_head(const Op& op, const char* name) {
  static constexpr const char* kArguments[ops::kMostHead] = {"head[0]", "head[1]", "head[2]", "head[3]", "head[4]", "head[5]", "head[6]", "head[7]"};
  for (int at = 0; at < ops::kMostHead; ++at) {
    if (op.head[at]) check_values(op, name, kArguments[at], op.head[at], Rule::finite, 0.0);
  }
}
// How many arrays a head has.
template <class Op>
int heads_of(const Op& op) {
  int count = 0;
  while (count < ops::kMostHead && op.head[count]) ++count;
  return count;
}
// Notes `at` unless a smaller one is noted already: that finds the first of several wrong places, whatever the order of threads.
inline void note_first(std::atomic<int64_t>& first, int64_t at) {
  int64_t seen = first.load();
  while (at < seen && !first.compare_exchange_weak(seen, at)) {
  }
}
// Checks the counts, and the logits or births, of a reverse step.
void check_reverse(const Reverse& op, const char* name);

}  // namespace fastblackout::cpu
