// The CUDA kernels as the bindings call them: pointers into device memory, sizes and a stream, and nothing of CUDA's headers.
// Every function launches its kernel and returns a cudaError_t (0: none). A kernel cannot throw: where values are wrong it
// gives a defined result and sets bits of `flag`, which fastblackout/backends/wrong_values.py reads.
#pragma once

#include <stdexcept>

#include "fastblackout/birth_loss.h"
#include "fastblackout/config.h"
#include "fastblackout/ops.h"
#include "fastblackout/xla_number.h"

namespace fastblackout::cuda {

enum Dtype : int { kU8, kI16, kI32, kI64, kF32, kF64, kBf16, kF16 };  // the order of fastblackout/arrays.py
enum Flag : int { kWrongCount = 1, kWrongLogit = 2, kWrongBirths = 4, kWrongProbability = 8, kWrongNumber = 16 };

constexpr int kMaxDims = 8;

// A strided array. Dimension 0 is the sample; the others are merged where they can be. Strides count elements.
struct View {
  char* data = nullptr;         // null: not asked for
  int dtype = kU8, dims = 1;
  bool aligned = false;         // C order within a sample, whose first element is 16-byte aligned
  bool vector = false;          // aligned, and a sample has a multiple of 16 elements: no access of 16 bytes is cut short
  int64_t sample_stride = 0;
  int64_t strides[kMaxDims] = {1};
  uint32_t sizes[kMaxDims] = {1};
};

// A number for each sample, `stride` apart in device memory, or one for all samples, which is then itself part of the kernel's
// parameters: nothing is copied to the device for it.
template <class T>
struct PerSample {
  const T* data = nullptr;  // null: `value` holds for all samples
  int64_t stride = 1;
  T value{};

  FB_HD T operator[](int64_t sample) const { return data != nullptr ? data[sample * stride] : value; }
};

// The key of a call: seed (two's complement), first sample and call, in device memory that the kernel reads, which others may
// change between the replays of a CUDA graph, or in the kernel's parameters.
struct Key {
  const int64_t* data = nullptr;      // null: `words` are the key
  int64_t words[3] = {};

  FB_HD operator const int64_t*() const { return data != nullptr ? data : words; }
};

struct Common {
  int64_t samples = 0, elements = 0;  // elements of one sample
  Key key;
  int* flag = nullptr;
};

struct Pair {
  PerSample<double> p, q;             // both 0: there is none

  FB_HD explicit operator bool() const { return p.data != nullptr || p.value + q.value != 0.0; }
};

// Matrices of weights, (matrices, rows, columns), float64 or float32: an element draws from row `state` of its sample's matrix.
// Strides count elements. Without an index there is one matrix for all samples, or one for each.
struct Matrices {
  const char* data = nullptr;
  bool single = false;                // float32
  int64_t matrices = 1, rows = 1, columns = 1, matrix_stride = 0, row_stride = 0, column_stride = 1;
};

struct Weights : View {               // a view of each element's first class; the others follow it `class_stride` apart
  int64_t class_stride = 1;
};

struct Draws : View {                 // the first of several draws; the others follow it `draw_stride` apart
  int64_t draws = 0, draw_stride = 0;
};

struct RowsOut {                         // row n of a sample, element k: strides in this order
  double* data = nullptr;
  int64_t strides[3] = {0, 0, 1};
};

struct Probabilities : View {};       // of each element, or of each sample, whose elements share it

struct LogProbPair {
  Probabilities p, q;
};

struct Backend {
  using Common = cuda::Common;
  using View = cuda::View;
  using Prob = cuda::Pair;
  using Matrices = cuda::Matrices;
  template <class T>
  using PerSample = cuda::PerSample<T>;
  using Counter = unsigned long long;  // the type that atomicAdd takes
  using Weights = cuda::Weights;
  using Draws = cuda::Draws;
  using Rows = cuda::RowsOut;
  using LogProbPair = cuda::LogProbPair;
};

#define FB_USE(Op) using Op = ops::Op<Backend>;
FB_SAME_OPS(FB_USE)
#undef FB_USE

using LogProbs = ops::LogProbs<Backend>;

// A loss with scratch: sums of chunks (kLossChunk elements), and a zero for each sample, which is zero again afterwards. Sums are
// needed of samples of more than `unscratched` chunks, and zeros of samples of several; else they are null.
template <class Loss, int unscratched>
struct Scratched : Loss {
  static constexpr int64_t kUnscratched = unscratched;
  float* chunk_sums = nullptr;        // for each chunk of a sample as many as the last output has numbers of a sample
  unsigned* chunks_done = nullptr;

  int64_t chunks() const { return (this->elements + kLossChunk - 1) / kLossChunk; }  // of a sample

  template <class Read>
  void fields(Read& read) {
    Loss::fields(read);
    read.scratch(*this);
  }
};

using BirthLoss = Scratched<ops::BirthLoss<Backend>, 8>;
using EnergyLoss = Scratched<ops::EnergyLoss<Backend>, 0>;
using PosteriorLoss = Scratched<ops::PosteriorLoss<Backend>, 1>;

struct PhiloxWords : Common {         // words made by each version of Philox, to be compared with its known answers
  const int64_t* counter = nullptr;   // its four words, then the key's two
  int64_t* words = nullptr;           // (kPhiloxThreads, 3, 4)

  template <class Read>
  void fields(Read& read) {
    read(words, counter);
  }
};

constexpr int kPhiloxThreads = 64;

// Numbers of samples as a program of JAX has them, one for all (`shared`) or one for each.
struct Numbers {
  const char* data = nullptr;
  xla::Type type = xla::Type::f64;
  bool shared = true;
};

enum class Made : int {
  zeros,       // uint32
  float32,     // from
  float64,     // from, times `by` where that is given
  complement,  // float64: 1 - from
  int32        // from int64 as uint64, at most 2^31 - 1
};

struct Conversion {
  Made made = Made::zeros;
  void* to = nullptr;
  int64_t count = 0;
  Numbers from, by;
};

constexpr int kMostConversions = 48;  // a launch: they are parameters of a kernel, which has room for 4 KiB of them

struct Conversions {
  int count = 0;
  Conversion each[kMostConversions];
};

int convert(const Conversions& all, void* stream);
int model_input(const ModelInput& op, void* stream);

#define FB_DECLARE(name, Op, fields, kernel) int kernel(const Op& op, void* stream);
FB_OPS(FB_DECLARE)
FB_DEVICE_OPS(FB_DECLARE)
#undef FB_DECLARE

struct Refused : std::runtime_error {  // thrown in place of a launch that a device has no room for
  using std::runtime_error::runtime_error;
};

int use_device(int device, int* before);  // before: gets the device that was in use until now
bool is_capturing(void* stream);          // whether a CUDA graph is made of what the stream is given
const char* error_text(int code);

}  // namespace fastblackout::cuda
