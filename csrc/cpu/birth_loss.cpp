// birth_loss: the sum of y - births log y over each sample, and its gradient by the logits. Where a gradient will be asked
// for, the same pass keeps the slope of every element; the gradient is the slope times the sample's coefficient. A loss with a gain
// or a weight for each element, for which other backends make every element a sample (ops/birth_loss.py), reads them in a pass that
// keeps no slopes. Samples of one element each go through the vectors together.
#if !defined(FB_ISA)

#include <algorithm>
#include <cstdio>

#include "fastblackout/birth_loss.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/birth_loss.cpp"
namespace fastblackout::cpu {
namespace {

template <class Op>
struct SumsOf : Op {
  float* chunk_sums;  // (samples, chunks of a sample)
  std::atomic<bool>* bad;  // set where a value may be wrong
};
using Sums = SumsOf<BirthLoss>;
using EachSums = SumsOf<EachLoss>;

struct Largest : EachLoss {
  uint64_t* largest;  // (samples, chunks of a sample)
};


int64_t chunks_of(const Common& op) { return (op.elements + kChunk - 1) / kChunk; }

bool is_singles(const Common& op) { return op.elements == 1 && op.samples > 1; }

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

FB_CHUNK(loss_chunk, Sums)
FB_CHUNK(grad_chunk, BirthLoss)
FB_CHUNK(scale_chunk, BirthLoss)
FB_CHUNK(singles_loss_chunk, Sums)
FB_CHUNK(singles_grad_chunk, BirthLoss)
FB_CHUNK(singles_scale_chunk, BirthLoss)
FB_CHUNK(largest_chunk, Largest)
FB_CHUNK(each_loss_chunk, EachSums)
FB_CHUNK(each_grad_chunk, EachLoss)

// Samples of one element each as one sample. It has a loss, a weight and a gain for each element.
BirthLoss joined(const BirthLoss& op) {
  BirthLoss one = op;
  for (View* view : {&one.logits, &one.births, &one.grad}) {
    view->dims = 1;
    view->sizes[0] = op.samples;
    view->strides[0] = view->sample_stride;
    view->sample_stride = 0;
  }
  one.elements = op.samples;
  one.samples = 1;
  return one;
}

void check_inputs(const BirthLoss& op) {
  check_values(op, "birth_loss", "logits", op.logits, Rule::finite, 0.0);
  check_values(op, "birth_loss", "births", op.births, Rule::nonnegative, kLargestFloat32);
}

void check_gains(const EachLoss& op) {
  for (int64_t sample = 0; sample < op.samples; ++sample)
    for (int64_t i = 0; i < op.elements; ++i) {
      float gain;
      scalar::load(op.gains, sample, i, 1, &gain);
      if (gain > 0.0f && gain - gain == 0.0f) continue;
      char text[160];
      std::snprintf(text, sizeof(text), "birth_loss: gain: must be finite and above 0, got %.9g at sample %lld, element %lld",
                    static_cast<double>(gain), static_cast<long long>(sample), static_cast<long long>(i));
      throw std::invalid_argument(text);
    }
}

// The largest magnitudes of the weights of the samples, in `weight`.
EachLoss with_largest(const EachLoss& op, std::vector<double>& kept) {
  const int64_t chunks = chunks_of(op);
  std::vector<uint64_t> largest(static_cast<size_t>(op.samples * chunks));
  for_chunks(Largest{op, largest.data()}, largest_chunk);
  kept.resize(static_cast<size_t>(op.samples));
  bool finite = true;
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    const uint64_t* const first = largest.data() + sample * chunks;
    const double most = bit_cast<double>(*std::max_element(first, first + chunks));
    finite = finite && most - most == 0.0;
    kept[static_cast<size_t>(sample)] = most;
  }
  if (!finite) check_values(op, "birth_loss", "weight", op.weights, Rule::number, 0.0);
  EachLoss other = op;
  other.weight = PerSample<double>{kept.data(), 1};
  return other;
}

// The losses of the samples from the sums of their chunks, added in ascending order.
void add_chunks(const BirthLoss& op, const float* sums) {
  const int64_t chunks = chunks_of(op);
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + static_cast<double>(sums[sample * chunks + chunk]);
    op.loss[sample] = static_cast<float>(op.weight[sample] * total);
  }
}

}  // namespace

static_assert(kLossChunk == kChunk, "a loss chunk is summed as one tree");

void birth_loss(const BirthLoss& op) {
  std::atomic<bool> bad{false};
  if (is_singles(op)) {
    const Sums job{joined(op), nullptr, &bad};
    for_chunks(job, singles_loss_chunk);
    if (bad) check_inputs(op);
    return;
  }
  const int64_t chunks = chunks_of(op);
  std::vector<float> several(static_cast<size_t>(chunks > 1 ? op.samples * chunks : 0));
  float* const sums = chunks > 1 ? several.data() : op.loss;  // where a sample is one chunk, its sum lies where its loss will
  Sums job{op, sums, &bad};
  for_chunks(job, loss_chunk);
  if (bad) check_inputs(op);  // only now is every value checked; what has been written reaches nobody if a check throws
  add_chunks(op, sums);
}

void birth_loss_gradient(const BirthLoss& op) {
  if (is_singles(op)) return for_chunks(joined(op), singles_grad_chunk);
  for_chunks(op, grad_chunk);
}

void birth_loss_each(const EachLoss& given) {
  std::vector<double> largest;
  const EachLoss op = with_largest(given, largest);
  std::vector<float> sums(static_cast<size_t>(op.samples * chunks_of(op)));
  std::atomic<bool> bad{false};
  for_chunks(EachSums{op, sums.data(), &bad}, each_loss_chunk);
  if (bad) {
    check_inputs(op);
    check_gains(op);
  }
  add_chunks(op, sums.data());
}

void birth_loss_each_gradient(const EachLoss& given) {
  std::vector<double> largest;
  for_chunks(with_largest(given, largest), each_grad_chunk);
}

void birth_loss_scale(const BirthLoss& op) {
  if (is_singles(op)) return for_chunks(joined(op), singles_scale_chunk);
  for_chunks(op, scale_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/exponentials.inc"
#include "cpu/per_isa/double_parts.inc"
#include "cpu/per_isa/birth_loss.inc"
#include "cpu/per_isa/birth_loss_each.inc"

static void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) {
  const OfSample numbers{op.gain[sample], 1.0f};
  if (!kept_losses(op, sample, i0, count, numbers, false)) scalar::loss_chunk(op, sample, i0, count);
}

static void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  bool bad = false;
  any_chunk_of<false, true>(op, sample, i0, count, OfSample{op.gain[sample], static_cast<float>(op.weight[sample])}, bad);
}

// In place: grad holds the slopes and gets the gradient.
static void scale_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float buffer[kChunk];
  float* direct = in_place<float>(op.grad, sample, i0);
  float* grad = direct != nullptr ? direct : buffer;
  const float coefficient = static_cast<float>(op.weight[sample]);
  if (direct == nullptr) load(op.grad, sample, i0, count, buffer);
  for (int k = 0; k < count; ++k) grad[k] = coefficient * grad[k];
  if (direct == nullptr) store(op.grad, sample, i0, count, buffer);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
