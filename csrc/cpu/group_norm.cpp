// GroupNorm followed by SiLU on images whose channels lie side by side: no op of the package, but what a training step of its
// networks on a CPU spends its time on beside convolutions (fastblackout/models/group_norm.py).
// An image is read a tile at a time: as many numbers as are whole pixels and whole blocks of kBlock, so that a place within the
// tile belongs to the same channel in every tile, whatever the number of channels. Sums are kept for each place of a tile, over
// an image's tiles in ascending order, and then added in float64; so results are the same to the bit for every instruction set
// and number of threads. Most images stay in the second-level cache between two passes. A few pixels give a rough mean of each
// group; a pass gives mean and variance of what differs from it, which a mean far from 0 does not harm.
#if !defined(FB_ISA)

#include "cpu/group_norm.h"

#include <algorithm>
#include <numeric>

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/group_norm.cpp"
namespace fastblackout::cpu {
namespace {

constexpr int kBlock = 64;
constexpr int64_t kPixels = 16;  // of a rough mean, evenly spread

typedef std::vector<float> Tile;  // a number for every place

// What a thread needs for one image after another.
struct Scratch {
  Tile first, second;                // sums over the image
  Tile mean, scale, weight, bias;    // normal = (x - mean) scale; z = normal weight + bias
  Tile slope, constant, correction;  // dL/dx = slope dL/dz - (constant + normal correction)

  explicit Scratch(const GroupNorm& op) {
    const size_t size = static_cast<size_t>(std::lcm<int64_t>(op.channels, kBlock));
    for (Tile* tile : {&first, &second, &mean, &scale, &weight, &bias, &slope, &constant, &correction}) tile->resize(size);
    std::copy_n(op.weight, op.channels, weight.begin());
    std::copy_n(op.bias, op.channels, bias.begin());
    repeat(op, {&weight, &bias});
  }

  int64_t size() const { return static_cast<int64_t>(first.size()); }

  void clear() {
    for (Tile* sums : {&first, &second}) std::fill(sums->begin(), sums->end(), 0.0f);
  }

  // Sets all places by the first pixel's.
  static void repeat(const GroupNorm& op, std::initializer_list<Tile*> tiles) {
    for (Tile* tile : tiles)
      for (int64_t place = op.channels; place < static_cast<int64_t>(tile->size()); place += op.channels)
        std::copy_n(tile->begin(), op.channels, tile->begin() + place);
  }
};

double sum_of_channel(const GroupNorm& op, const Tile& sums, int64_t channel) {
  double sum = 0.0;
  for (size_t place = static_cast<size_t>(channel); place < sums.size(); place += static_cast<size_t>(op.channels))
    sum = sum + static_cast<double>(sums[place]);
  return sum;
}

double sum_of_group(const GroupNorm& op, const Tile& sums, int64_t group) {
  const int64_t width = op.channels / op.groups;
  double sum = 0.0;
  for (int64_t channel = group * width; channel < (group + 1) * width; ++channel) sum = sum + sum_of_channel(op, sums, channel);
  return sum;
}

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

// Sets mean and scale of every place by the image's groups.
void set_normal(const GroupNorm& op, int64_t image, Scratch& scratch) {
  const int64_t width = op.channels / op.groups;
  for (int64_t group = 0; group < op.groups; ++group) {
    std::fill_n(scratch.mean.begin() + group * width, width, op.means[image * op.groups + group]);
    std::fill_n(scratch.scale.begin() + group * width, width, op.scales[image * op.groups + group]);
  }
  Scratch::repeat(op, {&scratch.mean, &scratch.scale});
}

void set_rough_means(const GroupNorm& op, int64_t image, Scratch& scratch) {
  const int64_t pixels = op.elements / op.channels, used = std::min(pixels, kPixels);
  const double count = static_cast<double>(used * (op.channels / op.groups));
  scratch.clear();
  for (int64_t k = 0; k < used; ++k) {
    const float* const pixel = op.x + image * op.elements + (2 * k + 1) * pixels / (2 * used) * op.channels;
    for (int64_t channel = 0; channel < op.channels; ++channel) scratch.first[static_cast<size_t>(channel)] += pixel[channel];
  }
  for (int64_t group = 0; group < op.groups; ++group)
    op.means[image * op.groups + group] = static_cast<float>(sum_of_group(op, scratch.first, group) / count);
}

void some_images(void* context, int64_t begin, int64_t end) {
  const GroupNorm& op = *static_cast<const GroupNorm*>(context);
  Scratch scratch(op);
  const double count = static_cast<double>(op.elements / op.groups);
  for (int64_t image = begin; image < end; ++image) {
    const float* const x = op.x + image * op.elements;
    float *const means = op.means + image * op.groups, *const scales = op.scales + image * op.groups;
    set_rough_means(op, image, scratch);
    set_normal(op, image, scratch);
    scratch.clear();
    FB_CALL_ISA(op.isa, add_differences, op, x, scratch);
    for (int64_t group = 0; group < op.groups; ++group) {
      const double off = sum_of_group(op, scratch.first, group) / count;
      const double variance = sum_of_group(op, scratch.second, group) / count - off * off;
      means[group] = static_cast<float>(static_cast<double>(means[group]) + off);
      scales[group] = static_cast<float>(1.0 / std::sqrt(std::max(variance, 0.0) + op.eps));
    }
    set_normal(op, image, scratch);
    FB_CALL_ISA(op.isa, activate, op, x, scratch, op.y + image * op.elements);
  }
}

struct GradientJob {
  const GroupNormGradient& op;
  std::vector<double> by_weight, by_bias;  // (B, C): the part of each image
};

// With s = dL/dz, and a and b the means over a group's pixels of weight s and weight s normal:
// dL/dx = r (weight s - a - normal b).
void set_slopes(GradientJob& job, int64_t image, Scratch& scratch) {
  const GroupNormGradient& op = job.op;
  const int64_t width = op.channels / op.groups;
  const double count = static_cast<double>(op.elements / op.groups);
  double *const by_weight = job.by_weight.data() + image * op.channels, *const by_bias = job.by_bias.data() + image * op.channels;
  for (int64_t group = 0; group < op.groups; ++group) {
    const double scale = static_cast<double>(op.scales[image * op.groups + group]);
    double a = 0.0, b = 0.0;
    for (int64_t channel = group * width; channel < (group + 1) * width; ++channel) {
      const double weight = static_cast<double>(op.weight[channel]);
      by_bias[channel] = sum_of_channel(op, scratch.first, channel);
      by_weight[channel] = sum_of_channel(op, scratch.second, channel);
      scratch.slope[static_cast<size_t>(channel)] = static_cast<float>(scale * weight);
      a = a + weight * by_bias[channel];
      b = b + weight * by_weight[channel];
    }
    std::fill_n(scratch.constant.begin() + group * width, width, static_cast<float>(scale * (a / count)));
    std::fill_n(scratch.correction.begin() + group * width, width, static_cast<float>(scale * (b / count)));
  }
  Scratch::repeat(op, {&scratch.slope, &scratch.constant, &scratch.correction});
}

void some_gradients(void* context, int64_t begin, int64_t end) {
  GradientJob& job = *static_cast<GradientJob*>(context);
  const GroupNormGradient& op = job.op;
  Scratch scratch(op);
  for (int64_t image = begin; image < end; ++image) {
    const float* const x = op.x + image * op.elements;
    float* const by_x = op.by_x + image * op.elements;
    set_normal(op, image, scratch);
    scratch.clear();
    FB_CALL_ISA(op.isa, add_slopes, op, x, op.upstream + image * op.elements, scratch, by_x);
    set_slopes(job, image, scratch);
    FB_CALL_ISA(op.isa, combine, op, x, scratch, by_x);
  }
}

void check(const GroupNorm& op) {
  if (op.channels < 1 || op.groups < 1 || op.channels % op.groups != 0 || op.elements % op.channels != 0)
    throw std::invalid_argument("group_norm_silu: the groups must divide the channels, and the channels the elements");
}

int threads_of(const GroupNorm& op) { return op.samples * op.elements < kParallelFrom ? 1 : op.threads; }

// out[c] is the sum over the images of parts (B, C).
void add_images(const GroupNorm& op, const std::vector<double>& parts, float* out) {
  for (int64_t channel = 0; channel < op.channels; ++channel) {
    double sum = 0.0;
    for (size_t at = static_cast<size_t>(channel); at < parts.size(); at += static_cast<size_t>(op.channels)) sum = sum + parts[at];
    out[channel] = static_cast<float>(sum);
  }
}

}  // namespace

void group_norm_silu(const GroupNorm& op) {
  check(op);
  if (op.elements > 0) parallel_for(op.samples, threads_of(op), some_images, const_cast<GroupNorm*>(&op));
}

void group_norm_silu_gradient(const GroupNormGradient& op) {
  check(op);
  const size_t parts = static_cast<size_t>(op.samples * op.channels);
  GradientJob job{op, std::vector<double>(parts), std::vector<double>(parts)};
  if (op.elements > 0) parallel_for(op.samples, threads_of(op), some_gradients, &job);
  add_images(op, job.by_weight, op.by_weight);
  add_images(op, job.by_bias, op.by_bias);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/group_norm.inc"

}  // namespace fastblackout::cpu::FB_ISA

#endif
