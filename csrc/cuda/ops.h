// The CUDA kernels as the bindings call them: pointers into device memory, sizes and a stream, and nothing of CUDA's
// headers. Every function launches and returns a cudaError_t (0: none); values that are wrong set bits of `flag`.
#pragma once

#include "fastblackout/config.h"

namespace fastblackout {
namespace cuda {

enum Dtype : int { kU8, kI16, kI32, kI64, kF32, kF64, kBf16, kF16 };  // the order of fastblackout/arrays.py
enum Flag : int { kWrongCount = 1, kWrongLogit = 2, kWrongBirths = 4, kWrongProbability = 8, kWrongNumber = 16 };  // values.py

constexpr int kMaxDims = 8;

// A strided array; dimension 0 is the sample, the others are merged where they can be. Strides count elements.
struct View {
  char* data = nullptr;         // null: not asked for
  int dtype = kU8, dims = 1;
  bool aligned = false;         // C order within a sample, whose first element is 16-byte aligned
  bool vector = false;          // and that has a multiple of 16 elements: no 16 bytes are cut short
  int64_t sample_stride = 0;
  int64_t strides[kMaxDims] = {1};
  uint32_t sizes[kMaxDims] = {1};
};

struct Common {
  int64_t samples = 0, elements = 0;  // elements of one sample
  const int64_t* key = nullptr;       // seed (two's complement), first sample, call: read by the kernel
  int* flag = nullptr;
};

struct Pair {
  const double *p = nullptr, *q = nullptr;
};

struct Input {                        // model_input = (x - center) * scale
  View out;
  const float *center = nullptr, *scale = nullptr;
};

struct Thin : Common {
  View x_0, x_t, births;
  Input input;
  Pair alive;
  int64_t max_count = 255;
};

struct Reverse : Common {
  View x_t, given, x_s;
  bool births = false;                // given: births, else logits
  Input input;
  const float* gain = nullptr;
  int64_t max_count = 255;
};

struct Bridge : Reverse {
  Pair birth, attrition;              // attrition.p null: none
  bool stochastic = true;
};

struct TauLeap : Reverse {
  const double* factor = nullptr;
  unsigned long long* overshoot = nullptr;  // added to
};

struct BirthLoss : Common {
  View logits, births, grad;
  const float* gain = nullptr;
  const double* weight = nullptr;     // of the gradient: upstream * weight
  float *loss = nullptr, *chunk_sums = nullptr;  // chunk_sums: samples * ceil(elements / 1024) floats of scratch
  unsigned* chunks_done = nullptr;    // a zero for each sample, which is zero again afterwards
};

struct Element : Common {             // binomial: count, p, q (null: 1 - p); poisson: p is the rate
  View count, p, q, out;
};

// Rows of weights, (matrices, rows, columns), float64 or float32: row `state` of the matrix of a sample. Strides count
// elements. index null: one matrix for all samples, or as many matrices as samples.
struct Matrices {
  const char* data = nullptr;
  bool single = false;                // float32
  int64_t matrices = 1, rows = 1, columns = 1, matrix_stride = 0, row_stride = 0, column_stride = 1;
};

struct Categorical : Common {         // drawn from probs, or from thresholds and guide; or those two made of probs
  View state, out;
  Matrices probs;                     // data null where it is drawn from a table
  const int64_t* index = nullptr;
  int64_t* thresholds = nullptr;      // (matrices, rows, columns), dense
  uint16_t* guide = nullptr;          // (matrices, rows, kGuide), dense
};

struct CategoricalBridge : Common {
  View x_t, x_0, weights, x_s;        // x_0 or weights: the other is null; weights without their last dimension,
  int64_t class_stride = 1;           // the classes
  bool logits = false;
  Matrices before, after;
  const int64_t* index = nullptr;
};

struct TransitionRows : Common {      // row n of a sample, element k: strides in this order
  Pair prob;
  int64_t states = 0, strides[3] = {0, 0, 1};
  double* out = nullptr;
};

struct LogProbs : Common {            // the laws of LogProb in transition.h
  View x, a, b, p, q, out;
  int kind = 0;
};

struct PhiloxWords : Common {
  const int64_t* counter = nullptr;   // its four words, then the key's two
  int64_t* words = nullptr;           // (kPhiloxThreads, 3, 4)
};

constexpr int kPhiloxThreads = 64;

int philox(const PhiloxWords& op, void* stream);
int thin(const Thin& op, void* stream);
int bridge(const Bridge& op, void* stream);
int tau_leap(const TauLeap& op, void* stream);
int birth_loss(const BirthLoss& op, void* stream);
int birth_loss_grad(const BirthLoss& op, void* stream);
int binomial(const Element& op, void* stream);
int poisson(const Element& op, void* stream);
int categorical(const Categorical& op, void* stream);
int categorical_table(const Categorical& op, void* stream);
int build_categorical_table(const Categorical& op, void* stream);
int categorical_bridge(const CategoricalBridge& op, void* stream);
int transition_rows(const TransitionRows& op, void* stream);
int log_prob(const LogProbs& op, void* stream);

int use_device(int device, int* before);  // `before`: the one in use until now
const char* error_text(int code);

}  // namespace cuda
}  // namespace fastblackout
