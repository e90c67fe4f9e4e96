// thin: x_t ~ Binomial(x_0, p), births = x_0 - x_t and model_input = (x_t - center) * scale, whichever are asked for.
#include "cuda/element.cuh"
#include "cuda/tile.cuh"

namespace fastblackout::cuda {
namespace {

struct Shared {
  DrawTable table;
  Queue queue;
  Stage rest, drawn;           // rest: n, and later n - k; drawn: k
  char *from, *to_rest, *to_drawn;  // where the piece's counts lie and go; of thin_shared<true>, null where not asked for
};

// This is not passed to the functions that are called, since pointers to it would take registers of the hot loop.
FB_DEVICE Shared& shared() {
  __shared__ Shared memory;
  return memory;
}

// Stores the model input of a tile from what its draw left in shared memory.
FB_COLD void store_tile_input(const Thin& op, int64_t sample, uint32_t i, uint32_t left) {
  const uint32_t warp = threadIdx.x / 32;
  const Word4* x_t = shared().table.mirrored ? shared().rest.of[warp] : shared().drawn.of[warp];
  store_input(op.input.out, sample, i, left, x_t, op.input.center[sample], op.input.scale[sample]);
}

FB_DEVICE void store_tile_counts(const Thin& op, int64_t sample, uint32_t i, uint32_t left) {
  const uint32_t warp = threadIdx.x / 32;
  const bool mirrored = shared().table.mirrored;
  const Word4 *k = shared().drawn.of[warp], *rest = shared().rest.of[warp];
  if (op.births.data != nullptr) store_counts(op.births, sample, i, left, mirrored ? k : rest);
  if (op.x_t.data != nullptr) store_counts(op.x_t, sample, i, left, mirrored ? rest : k);
}

FB_COLD void store_element(const Thin& op, int64_t sample, uint32_t i, int64_t n, int64_t x_t) {
  if (op.input.out.data != nullptr) {
    const float x = (static_cast<float>(x_t) - op.input.center[sample]) * op.input.scale[sample];
    store_one(op.input.out, sample, i, static_cast<double>(x));
  }
  if (op.births.data != nullptr) store_one(op.births, sample, i, static_cast<double>(n - x_t));
  if (op.x_t.data != nullptr) store_one(op.x_t, sample, i, static_cast<double>(x_t));
}

// Draws the elements of the queue again.
FB_COLD void finish(const Thin& op, int64_t sample, uint32_t begin) {
  const DrawTable& t = shared().table;
  const Queue& queue = shared().queue;
  const unsigned length = queue.length;
  for (unsigned at = threadIdx.x; at < length; at += kThreads) {
    const uint32_t entry = queue.entries[at], i = begin + (entry & 0xffffu);
    if (static_cast<int64_t>(i) >= op.elements) continue;  // elements that pad the last tile may be in the queue too
    const int n = static_cast<int>(entry >> 24), k = exact_draw(t, THIN_DRAW, THIN_REFINE, i, n);
    store_element(op, sample, i, n, t.mirrored ? n - k : k);
  }
}

FB_DEVICE char* plain_start(const View& view, const Piece& piece) {
  return view.data == nullptr ? nullptr : view.data + (static_cast<int64_t>(piece.sample) * view.sample_stride + piece.begin);
}

// Plain: all counts are uint8 up to 255 in aligned C order, read and written 16 at a time. Otherwise arrays are any Views.
template <bool Plain>
FB_KERNEL(kThreads, 4) thin_shared(FB_PARAM(Thin) op, FB_PARAM(Pieces) pieces) {
  const Piece piece = piece_of(op, pieces);
  DrawTable& table = shared().table;
  bool wrong_prob = false;
  const PQ prob = checked_prob(op.alive, piece.sample, wrong_prob);
  raise(op.flag, kWrongProbability, wrong_prob && threadIdx.x == 0);
  if (piece.begin == 0 && threadIdx.x == 0) check_sample(op, piece.sample, nullptr);
  if (Plain && threadIdx.x == 0) {
    char *x_t = plain_start(op.x_t, piece), *births = plain_start(op.births, piece);
    const bool mirrored = shared_prob(prob.p, prob.q).mirrored;
    shared().from = plain_start(op.x_0, piece);
    shared().to_drawn = mirrored ? births : x_t;
    shared().to_rest = mirrored ? x_t : births;
  }
  build_table(table, shared().queue, prob, op.key, piece.sample, static_cast<int>(op.max_count));
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (uint32_t tile = warp * kTile; tile < piece.size; tile += kWarps * kTile) {
    const uint32_t at = tile + lane * kPerThread;
    Word4 &rest = shared().rest.of[warp][lane], &drawn = shared().drawn.of[warp][lane];
    if constexpr (Plain) {
      rest = at < piece.size ? *reinterpret_cast<const Word4*>(shared().from + at) : Word4{{0, 0, 0, 0}};
    } else {
      load_counts(op.x_0, piece.sample, piece.begin + tile, piece.size - tile, static_cast<int>(op.max_count), op.flag,
                  shared().rest.of[warp]);
      __syncwarp();
    }
    const uint32_t pending = draw16(table, THIN_DRAW, piece.begin + at, rest, drawn);
    if (pending != 0) push_all(shared().queue, pending, at, rest, rest);
    const Word4 k = drawn, left = minus(rest, k);
    if constexpr (Plain) {
      char *to_rest = shared().to_rest, *to_drawn = shared().to_drawn;
      if (at < piece.size && to_drawn != nullptr) *reinterpret_cast<Word4*>(to_drawn + at) = k;
      if (at < piece.size && to_rest != nullptr) *reinterpret_cast<Word4*>(to_rest + at) = left;
      if (op.input.out.data == nullptr) continue;
    }
    rest = left;
    __syncwarp();
    if (op.input.out.data != nullptr) store_tile_input(op, piece.sample, piece.begin + tile, piece.size - tile);
    if constexpr (!Plain) store_tile_counts(op, piece.sample, piece.begin + tile, piece.size - tile);
    __syncwarp();
  }
  __syncthreads();
  finish(op, piece.sample, piece.begin);
}

struct Wide {
  DrawTable table;
  Queue queue;  // build_table empties it; nothing goes into it here
};

FB_DEVICE Wide& wide() { FB_SHARED_GIVEN(Wide); }

// Counts may be above kMaxSharedCount: a thread draws an element at a time.
FB_KERNEL(kThreads, 2) thin_wide(FB_PARAM(Thin) op, FB_PARAM(Pieces) pieces) {
  const Piece piece = piece_of(op, pieces);
  bool wrong_prob = false, wrong_count = false;
  const PQ prob = checked_prob(op.alive, piece.sample, wrong_prob);
  if (piece.begin == 0 && threadIdx.x == 0) check_sample(op, piece.sample, nullptr);
  build_table(wide().table, wide().queue, prob, op.key, piece.sample, kMaxSharedCount);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < piece.size; e += kThreads) {
    const Place place{piece.sample, piece.begin + e, true};
    const double x = load_one(op.x_0, place.sample, place.i);
    const int64_t n = static_cast<int64_t>(clamp_count(x, static_cast<double>(op.max_count), wrong_count));
    const int64_t k = row_draw(wide().table, n, prob, op.key, place, {THIN_DRAW, THIN_REFINE, THIN_ELEMENT});
    store_element(op, place.sample, place.i, n, k);
  }
  raise(op.flag, (wrong_prob ? kWrongProbability : 0) | (wrong_count ? kWrongCount : 0), wrong_prob || wrong_count);
}

bool plain(const View& view) { return view.data == nullptr || (view.vector && view.dtype == kU8); }

}  // namespace

int thin(const Thin& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  if (op.max_count > kMaxSharedCount) {
    launch_pieces(thin_wide, sizeof(Wide), op, stream);
  } else {
    const bool is_plain = op.max_count == 255 && plain(op.x_0) && plain(op.x_t) && plain(op.births);
    launch_pieces(is_plain ? thin_shared<true> : thin_shared<false>, 0, op, stream);
  }
  return cudaGetLastError();
}

int use_device(int device, int* before) {
  const int error = cudaGetDevice(before);
  return error != 0 || *before == device ? error : static_cast<int>(cudaSetDevice(device));
}

bool is_capturing(void* stream) {
  cudaStreamCaptureStatus status;
  if (cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status) == cudaSuccess) return status != cudaStreamCaptureStatusNone;
  cudaGetLastError();  // it fails for the default stream while another one is captured; the next launch must not report that
  return true;
}

const char* error_text(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

}  // namespace fastblackout::cuda
