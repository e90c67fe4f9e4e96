// categorical: draws a new state from the row of the old one in a matrix of probabilities, or from a table of thresholds made
// beforehand. Where there are few rows, a block adds up each row that occurs in its piece once, for all its elements.
#include "cuda/categorical.cuh"

namespace fastblackout::cuda {
namespace {

constexpr int kSharedRows = 512, kSharedMarks = 2048;  // the most of a block: enough for 256 states and a mask state

struct ProbabilityRow {
  const char* matrix;
  int64_t at, stride;
  bool single;

  FB_DEVICE double operator()(int j, bool& wrong) const { return checked_weight(entry_of(matrix, single, at + j * stride), wrong); }
};

FB_DEVICE ProbabilityRow row_of(const Matrices& m, const char* matrix, int row) {
  return ProbabilityRow{matrix, row * m.row_stride, m.column_stride, m.single};
}

FB_DEVICE int row_flags(const Matrices& m, const RowSum& sum, bool wrong) {
  return wrong || !sums_to_one(sum.total, m.single ? kSingleRowTolerance : kRowTolerance) ? kWrongProbability : 0;
}

FB_DEVICE int fallback_of(const Matrices& m, int row) { return static_cast<int>(row < m.columns ? row : m.columns - 1); }

// The words of a block of Philox, one after the other.
struct Quad {
  Words words;

  FB_DEVICE uint32_t next() {
    const uint32_t word = words.w[0];
    words = Words{{words.w[1], words.w[2], words.w[3], 0}};
    return word;
  }
};

// The states of four elements from i on, a multiple of 4, one after the other. bytes: they are uint8, loaded all four at once.
struct States {
  const View& view;
  int64_t sample, rows;
  uint32_t i, word;

  FB_DEVICE States(const View& v, bool bytes, int64_t s, int64_t r, uint32_t first)
      : view(v), sample(s), rows(r), i(first), word(bytes ? *at<const uint32_t>(v, (s * v.sample_stride + first) / 4) : 0) {}

  FB_DEVICE int next(bool bytes, int& flags) {
    ++i;
    if (!bytes) return load_state(view, sample, i - 1, rows, flags);
    const int x = static_cast<int>(word & 255u);
    word >>= 8;
    if (x < rows) return x;
    flags |= kWrongCount;
    return static_cast<int>(rows) - 1;
  }
};

// Calls draw(state, i, v) for four elements from i on, with v their first 32 random bits, and stores what it returns.
template <class Draw>
FB_DEVICE void draw4(const Categorical& op, int64_t rows, bool bytes, const SampleKey& key, int64_t sample, uint32_t i, int& flags,
                     const Draw& draw) {
  States states(op.state, bytes, sample, rows, i);
  Quad quad{key.words(i >> 2, CATEGORICAL)};
  const int left = elements_left(op.elements, i, 4);
  uint32_t word = 0;
#pragma unroll 1
  for (int c = 0; c < left; ++c, ++i) {
    const int drawn = draw(states.next(bytes, flags), i, quad.next());
    word = word >> 8 | static_cast<uint32_t>(drawn) << 24;
    if (!bytes) store_one(op.out, sample, i, static_cast<double>(drawn));
  }
  if (bytes) *at<uint32_t>(op.out, (sample * op.out.sample_stride + i - 4) / 4) = word;
}

struct SharedRows {
  double marks[kSharedMarks], factor[kSharedRows];
  int last[kSharedRows];
  bool occurs[kSharedRows];
};

FB_DEVICE Marks shared_marks(SharedRows& shared, const Matrices& m, int row, int per_row) {
  return Marks{shared.marks + row * per_row, 1, per_row, static_cast<int>((m.columns + per_row - 1) / per_row)};
}

// How samples are cut into pieces, of which a thread block draws some.
struct RowPieces {
  int64_t per_sample, total;
  uint32_t size;
};

FB_KERNEL(kThreads, 4) categorical_rows(FB_PARAM(Categorical) op, FB_PARAM(RowPieces) pieces, const bool bytes) {
  __shared__ SharedRows shared;
  const Matrices& m = op.probs;
  const int rows = static_cast<int>(m.rows), columns = static_cast<int>(m.columns), per_row = kSharedMarks / rows;
  int flags = 0;
  for (int64_t piece = blockIdx.x; piece < pieces.total; piece += gridDim.x) {
    const int64_t sample = piece / pieces.per_sample;
    const uint32_t begin = static_cast<uint32_t>(piece - sample * pieces.per_sample) * pieces.size;
    const int64_t rest = op.elements - begin, end = begin + (rest < pieces.size ? rest : pieces.size);
    int64_t k;
    const char* matrix = matrix_of(m, op.index, sample, k, flags);
    for (int row = static_cast<int>(threadIdx.x); row < rows; row += kThreads) shared.occurs[row] = false;
    __syncthreads();
    for (uint32_t i = begin + 4 * threadIdx.x; i < end; i += 4 * kThreads) {
      States states(op.state, bytes, sample, rows, i);
      const int left = elements_left(end, i, 4);
#pragma unroll 1
      for (int c = 0; c < left; ++c) set_together(shared.occurs[states.next(bytes, flags)]);
    }
    __syncthreads();
    for (int row = static_cast<int>(threadIdx.x); row < rows; row += kThreads) {
      if (!shared.occurs[row]) continue;
      bool wrong = false;
      const RowSum sum = add_up(row_of(m, matrix, row), columns, fallback_of(m, row), shared_marks(shared, m, row, per_row), wrong);
      flags |= row_flags(m, sum, wrong);
      shared.factor[row] = sum.factor;
      shared.last[row] = sum.last;
    }
    __syncthreads();
    if (begin == 0 && threadIdx.x == 0) check_key(op, sample);
    const SampleKey key = key_of(op.key, sample);
    for (uint32_t i = begin + 4 * threadIdx.x; i < end; i += 4 * kThreads) {
      draw4(op, rows, bytes, key, sample, i, flags, [&](int row, uint32_t at, uint32_t v) {
        const RowSum sum{shared.factor[row], 0.0, shared.last[row]};
        return search(row_of(m, matrix, row), sum, shared_marks(shared, m, row, per_row), columns, v, key, at, CATEGORICAL_REFINE);
      });
    }
    __syncthreads();  // the next piece clears what is read here
  }
  raise(op.flag, flags, flags != 0);
}

FB_KERNEL(kThreads, 4) categorical_element(FB_PARAM(Categorical) op) {
  __shared__ double marks[kMarks * kThreads];
  const Place place = place_of(op);
  if (place.sample >= op.samples) return;
  if (place.i == 0) check_key(op, place.sample);
  const Matrices& m = op.probs;
  const int columns = static_cast<int>(m.columns);
  int flags = 0;
  bool wrong = false;
  int64_t k;
  const char* matrix = matrix_of(m, op.index, place.sample, k, flags);
  const int state = load_state(op.state, place.sample, place.i, m.rows, flags);
  const ProbabilityRow row = row_of(m, matrix, state);
  const SampleKey key = key_of(op.key, place.sample);
  const Marks own = own_marks(marks, columns);
  const RowSum sum = add_up(row, columns, fallback_of(m, state), own, wrong);
  flags |= row_flags(m, sum, wrong);
  const uint32_t v = word_of(key.words(place.i >> 2, CATEGORICAL), place.i);
  const int drawn = search(row, sum, own, columns, v, key, place.i, CATEGORICAL_REFINE);
  store_one(op.out, place.sample, place.i, static_cast<double>(drawn));
  raise(op.flag, flags, flags != 0);
}

FB_KERNEL(kThreads, 4) categorical_table_kernel(FB_PARAM(Categorical) op, const bool bytes) {
  const int64_t quads = (op.elements + 3) / 4, total = quads * op.samples, step = static_cast<int64_t>(gridDim.x) * kThreads;
  const Matrices& m = op.thresholds;
  const int columns = static_cast<int>(m.columns);
  int flags = 0;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < total; at += step) {
    const int64_t sample = at / quads;
    const uint32_t first = static_cast<uint32_t>(at - sample * quads) * 4;
    if (first == 0) check_key(op, sample);
    const SampleKey key = key_of(op.key, sample);
    int64_t k;
    matrix_of(m, op.index, sample, k, flags);
    draw4(op, m.rows, bytes, key, sample, first, flags, [&](int row, uint32_t i, uint32_t v) {
      const int64_t line = k * m.rows + row;
      const int64_t* thresholds = reinterpret_cast<const int64_t*>(m.data) + line * columns;
      const uint16_t* guide = reinterpret_cast<const uint16_t*>(op.guide.data) + line * kGuide;
      const uint32_t g = v >> 24;
      const uint64_t u = static_cast<uint64_t>(v) << 16;
      int low = guide[g], high = g + 1 < kGuide ? guide[g + 1] : columns - 1;  // C of the last state is above all V
      while (low < high) {
        const int middle = (low + high) / 2;
        const bool below = static_cast<uint64_t>(thresholds[middle]) <= u;
        low = below ? middle + 1 : low;
        high = below ? high : middle;
      }
      if (static_cast<uint64_t>(thresholds[low]) >> 16 == v) {
        const uint64_t all = category_bits(key, i, v, CATEGORICAL_REFINE);
        while (low < columns - 1 && static_cast<uint64_t>(thresholds[low]) <= all) ++low;
      }
      return low;
    });
  }
  raise(op.flag, flags, flags != 0);
}

// One warp a row: the first lane adds the row up, all lanes fetch, scale and store. Sums wait where their thresholds will be.
FB_KERNEL(kThreads, 4) build_table_kernel(FB_PARAM(CategoricalTable) op) {
  __shared__ double stage[kWarps][32];
  const Matrices& m = op.probs;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, columns = static_cast<int>(m.columns);
  const int64_t lines = m.matrices * m.rows;
  int flags = 0;
  for (int64_t line = static_cast<int64_t>(blockIdx.x) * kWarps + warp; line < lines; line += static_cast<int64_t>(gridDim.x) * kWarps) {
    const int64_t k = line / m.rows;
    const int row = static_cast<int>(line - k * m.rows);
    const ProbabilityRow weight = row_of(m, m.data + k * m.matrix_stride * (m.single ? 4 : 8), row);
    int64_t* thresholds = op.thresholds + line * columns;
    double total = 0.0;
    int last = 0;
    bool wrong = false;
    for (int from = 0; from < columns; from += 32) {
      const int j = from + lane, count = columns - from < 32 ? columns - from : 32;
      const double w = j < columns ? weight(j, wrong) : 0.0;
      last = w > 0.0 ? j : last;
      stage[warp][lane] = w;
      __syncwarp();
      if (lane == 0) {
        for (int c = 0; c < count; ++c) {
          total = total + stage[warp][c];
          stage[warp][c] = total;
        }
      }
      __syncwarp();
      if (j < columns) thresholds[j] = bit_cast<int64_t>(stage[warp][lane]);
      total = stage[warp][count - 1];
      __syncwarp();
    }
    for (int by = 16; by > 0; by /= 2) {
      const int other = __shfl_xor_sync(kAllLanes, last, by);
      last = other > last ? other : last;
    }
    const bool drawable = is_drawable(total);
    if (wrong || !sums_to_one(total, m.single ? kSingleRowTolerance : kRowTolerance)) flags |= kWrongProbability;
    const double factor = drawable ? threshold_factor(total) : 0.0;
    if (!drawable) last = fallback_of(m, row);
    for (int j = lane; j < columns; j += 32) {
      const uint64_t c = scaled_threshold(bit_cast<double>(thresholds[j]), factor);
      thresholds[j] = static_cast<int64_t>(j < last ? c : uint64_t{1} << 48);
    }
    __syncwarp();
    for (int g = lane; g < kGuide; g += 32) {
      int low = 0, high = columns - 1;  // the last threshold is 2^48
      while (low < high) {
        const int middle = (low + high) / 2;
        const bool below = thresholds[middle] <= static_cast<int64_t>(g) << 40;
        low = below ? middle + 1 : low;
        high = below ? high : middle;
      }
      op.guide[line * kGuide + g] = static_cast<uint16_t>(low);
    }
  }
  raise(op.flag, flags, flags != 0);
}

bool as_bytes(const Categorical& op) {
  return op.state.vector && op.out.vector && op.state.dtype == kU8 && op.out.dtype == kU8;
}

// Enough pieces to fill a GPU with blocks, and no smaller ones than that takes, since each adds up its rows anew.
RowPieces row_pieces(const Common& op) {
  uint32_t size = 16384;
  while (size > 1024 && op.samples * ((op.elements + size - 1) / size) < 2048) size /= 2;
  const int64_t per_sample = (op.elements + size - 1) / size;
  return RowPieces{per_sample, per_sample * op.samples, size};
}

}  // namespace

int categorical(const Categorical& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  if (op.probs.rows > kSharedRows) return launch_elements(categorical_element, op, stream);
  const RowPieces pieces = row_pieces(op);
  FB_LAUNCH(categorical_rows, grid_of(pieces.total), kThreads, stream, op, pieces, as_bytes(op));
  return cudaGetLastError();
}

int categorical_from_table(const Categorical& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  const int64_t blocks = ((op.elements + 3) / 4 * op.samples + kThreads - 1) / kThreads;
  FB_LAUNCH(categorical_table_kernel, grid_of(blocks), kThreads, stream, op, as_bytes(op));
  return cudaGetLastError();
}

int build_categorical_table(const CategoricalTable& op, void* stream) {
  const int64_t lines = op.probs.matrices * op.probs.rows;
  if (lines == 0) return 0;
  FB_LAUNCH(build_table_kernel, grid_of((lines + kWarps - 1) / kWarps), kThreads, stream, op);
  return cudaGetLastError();
}

}  // namespace fastblackout::cuda
