// power_series: the sum over k of weights[b, k] x T^k for each row x of a matrix and each time b, where T has few diagonals.
// A row's powers x T^k are made once for all times, and stay in the second-level cache if they fit. T moves an entry only as
// far as its longest jump, so that early powers are 0 far from the row's own entries: those parts are left out.
#if !defined(FB_ISA)

#include <algorithm>
#include <mutex>

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/power_series.cpp"
namespace fastblackout::cpu {
namespace {

constexpr int64_t kMost = 4096;  // states
constexpr int64_t kMostDiagonals = 8;  // as MOST_DIAGONALS of fastblackout/processes/matrices/uniformization.py
constexpr int64_t kBlock = 128;                      // a row's entries are summed in eight lanes by blocks, then blocks by halves

struct Jumps : PowerSeries {
  int64_t up = 0, down = 0;            // the longest jumps to larger and to smaller states
  int64_t margin = 0, stride = 0;      // the room for jumps on both sides of a row; the distance of rows in memory
  std::vector<double> padded;          // the entries of T, with diagonals `stride` apart
};

// Memory for the powers of a row, one room for each thread. All is allocated before threads start, as they must not throw.
class Rooms {
 public:
  Rooms(int64_t threads, int64_t size) : memory_(new double[static_cast<size_t>(threads * size)]) {
    for (int64_t thread = 0; thread < threads; ++thread) free_.push_back(memory_.get() + thread * size);
  }
  double* take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    double* room = free_.back();
    free_.pop_back();
    return room;
  }
  void give_back(double* room) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(room);
  }

 private:
  std::unique_ptr<double[]> memory_;
  std::vector<double*> free_;
  std::mutex mutex_;
};

struct Job {
  const Jumps& op;
  Rooms rooms;
};

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

void some_rows(void* context, int64_t begin, int64_t end) {
  Job& job = *static_cast<Job*>(context);
  double* const room = job.rooms.take();
  for (int64_t i = begin; i < end; ++i) FB_CALL_ISA(job.op.isa, power_series_row, job.op, i, room);
  job.rooms.give_back(room);
}

}  // namespace

void power_series(const PowerSeries& op) {
  if (op.diagonals < 1 || op.diagonals > kMostDiagonals || op.elements > kMost || op.terms < 1)
    throw std::invalid_argument("power_series: 1 to 8 diagonals, up to 4,096 states and at least one term");
  Jumps jumps;
  static_cast<PowerSeries&>(jumps) = op;
  for (int64_t d = 0; d < op.diagonals; ++d) {
    jumps.up = std::max(jumps.up, op.offsets[d]);
    jumps.down = std::max(jumps.down, -op.offsets[d]);
  }
  jumps.margin = (std::max(jumps.up, jumps.down) + 7) / 8 * 8;
  jumps.stride = (op.elements + kBlock - 1) / kBlock * kBlock + 2 * jumps.margin;
  jumps.padded.resize(static_cast<size_t>(op.diagonals * jumps.stride));
  for (int64_t d = 0; d < op.diagonals; ++d)
    std::copy_n(op.entries + d * op.elements, op.elements, jumps.padded.begin() + d * jumps.stride);
  const bool small = op.terms * op.elements * op.elements < 8 * kParallelFrom;  // entries of powers, a few operations each
  const int threads = small ? 1 : static_cast<int>(std::min<int64_t>(op.threads, op.elements));
  Job job{jumps, {threads, op.terms * jumps.stride}};
  parallel_for(op.elements, threads, some_rows, &job);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

// The sums of a tile, kVectors vectors of a row at kTimes times, fit into the registers.
constexpr int kLanes = FB_ISA_LEVEL == 2 ? 8 : FB_ISA_LEVEL == 1 ? 4 : 2;
constexpr int kVectors = FB_ISA_LEVEL == 1 ? 2 : 4, kTimes = FB_ISA_LEVEL == 0 ? 2 : 4;
constexpr int kTile = kLanes * kVectors, kParts = 8 / kLanes;

typedef double Vector __attribute__((vector_size(8 * kLanes)));

static inline __attribute__((always_inline)) Vector load_vector(const double* from) {
  Vector x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}

static inline __attribute__((always_inline)) void store_vector(Vector x, double* to) { std::memcpy(to, &x, sizeof(x)); }

// The sum of x by halves: x[i] + x[i + half] again and again, and of an odd number the last one added to the first.
static double halves(double* x, int64_t count) {
  for (; count > 1; count /= 2) {
    const int64_t half = count / 2;
    const double last = x[count - 1];
    for (int64_t i = 0; i < half; ++i) x[i] = x[i] + x[half + i];
    if (count % 2) x[0] = x[0] + last;
  }
  return x[0];
}

// out = x T in the whole tiles from begin to end.
template <int kDiagonals>
static void jump(const Jumps& op, const double* x, double* out, int64_t begin, int64_t end) {
  const double *from[kDiagonals], *entries[kDiagonals];
  for (int d = 0; d < kDiagonals; ++d) from[d] = x - op.offsets[d];
  for (int d = 0; d < kDiagonals; ++d) entries[d] = op.padded.data() + d * op.stride;
  for (int64_t j = begin; j < end; j += kLanes) {
    Vector sum = load_vector(from[0] + j) * load_vector(entries[0] + j);
#pragma GCC unroll 8
    for (int d = 1; d < kDiagonals; ++d) sum = sum + load_vector(from[d] + j) * load_vector(entries[d] + j);
    store_vector(sum, out + j);
  }
}

typedef void (*Jump)(const Jumps&, const double*, double*, int64_t, int64_t);

static Jump jump_along(int64_t diagonals) {
  static constexpr Jump each[kMostDiagonals] = {jump<1>, jump<2>, jump<3>, jump<4>, jump<5>, jump<6>, jump<7>, jump<8>};
  return each[diagonals - 1];
}

struct Row {
  const double* powers;  // `stride` apart
  int64_t stride, states;
  int64_t first[kMost / kTile];  // the first power that reaches each tile
};

// The sums of the series at kCount times, over powers k < count, and the total of each sum's entries.
template <int kCount>
static void add_up(const Row& row, int64_t count, const double* const* weights, double* const* out, double* const* total) {
  double blocks[kCount][kMost / kBlock] = {};
  int64_t block = 0;
  for (int64_t begin = 0; begin < row.states; begin += kBlock, ++block) {
    Vector lanes[kCount][kParts] = {};
    for (int64_t j = begin; j < std::min(row.states, begin + kBlock); j += kTile) {
      Vector sums[kCount][kVectors] = {};
      for (int64_t k = row.first[j / kTile]; k < count; ++k) {
        Vector x[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) x[v] = load_vector(row.powers + k * row.stride + j + kLanes * v);
#pragma GCC unroll 4
        for (int t = 0; t < kCount; ++t) {
          const double weight = weights[t][k];
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sums[t][v] = sums[t][v] + weight * x[v];
        }
      }
      for (int t = 0; t < kCount; ++t) {
        for (int v = 0; v < kVectors; ++v) lanes[t][v % kParts] = lanes[t][v % kParts] + sums[t][v];
        if (j + kTile <= row.states) {
          for (int v = 0; v < kVectors; ++v) store_vector(sums[t][v], out[t] + j + kLanes * v);
        } else {
          double last[kTile];
          for (int v = 0; v < kVectors; ++v) store_vector(sums[t][v], last + kLanes * v);
          std::copy_n(last, row.states - j, out[t] + j);
        }
      }
    }
    for (int t = 0; t < kCount; ++t) {
      double lane[8];
      for (int v = 0; v < kParts; ++v) store_vector(lanes[t][v], lane + kLanes * v);
      blocks[t][block] = halves(lane, 8);
    }
  }
  for (int t = 0; t < kCount; ++t) *total[t] = halves(blocks[t], block);
}

// Makes x T^k, k = 0..terms - 1, for row `at`, and sets all entries that a later power or the sums read.
static void fill_powers(const Jumps& op, int64_t at, double* powers, int64_t* first) {
  const int64_t states = op.elements, margin = op.margin;
  int64_t low = at, high = at + 1;  // entries outside are 0
  if (op.start != nullptr) {
    const double* const x = op.start + at * states;
    for (low = 0, high = states; low < states - 1 && x[low] == 0.0;) ++low;
    while (high > low + 1 && x[high - 1] == 0.0) --high;
  }
  std::fill(first, first + (states + kTile - 1) / kTile, op.terms);
  const Jump jump = jump_along(op.diagonals);
  for (int64_t k = 0; k < op.terms; ++k) {
    double* const x = powers + k * op.stride;
    const int64_t begin = low / kTile * kTile, end = (high + kTile - 1) / kTile * kTile;
    std::fill(x - margin, x + begin, 0.0);
    std::fill(x + end, x + op.stride - margin, 0.0);
    if (k > 0) {
      jump(op, x - op.stride, x, begin, end);
    } else {
      std::fill(x + begin, x + end, 0.0);
      if (op.start == nullptr) x[at] = 1.0;
      else std::copy(op.start + at * states + low, op.start + at * states + high, x + low);
    }
    for (int64_t j = begin; j < end; j += kTile) first[j / kTile] = std::min(first[j / kTile], k);
    low = std::max<int64_t>(low - op.down, 0);
    high = std::min(high + op.up, states);
  }
}

static void power_series_row(const Jumps& op, int64_t at, double* room) {
  const int64_t states = op.elements;
  Row row{room + op.margin, op.stride, states, {}};
  fill_powers(op, at, room + op.margin, row.first);
  for (int64_t b = 0; b < op.samples;) {
    const int count = op.samples - b < kTimes ? 1 : kTimes;
    const double* weights[kTimes];
    double *out[kTimes], *total[kTimes];
    int64_t terms = 0;
    for (int t = 0; t < count; ++t, ++b) {
      weights[t] = op.weights + b * op.terms;
      out[t] = op.out + (op.places[b] * states + at) * states;
      total[t] = op.sums + b * states + at;
      terms = std::max(terms, op.needed[b]);
    }
    if (count == 1) add_up<1>(row, terms, weights, out, total);
    else add_up<kTimes>(row, terms, weights, out, total);
  }
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
