// thin: x_t ~ Binomial(x_0, p), births = x_0 - x_t and model_input = (x_t - center) * scale, whichever are asked for.
#include "cuda/element.cuh"

namespace fastblackout {
namespace cuda {
namespace {

// What a tile leaves in shared memory, four neighbouring elements a lane at a time.
template <bool Plain>
FB_COLD void store_tile(const Thin& op, int64_t sample, uint32_t i, const uint32_t* x_t, const uint32_t* births) {
  const float center = op.input.center[sample], scale = op.input.scale[sample];
#pragma unroll 1
  for (int part = 0; part < 4; ++part, i += 128) {
    const int left = elements_left(op.elements, i, 4);
    const uint32_t alive = x_t[part * 32], dead = births[part * 32];
    if (op.input.out.data != nullptr) store4(op.input.out, sample, i, left, model_input4(alive, center, scale));
    if (!Plain && op.births.data != nullptr) store_counts4(op.births, sample, i, left, dead);
    if (!Plain && op.x_t.data != nullptr) store_counts4(op.x_t, sample, i, left, alive);
  }
}

FB_COLD void store_element(const Thin& op, int64_t sample, uint32_t i, int64_t n, int64_t x_t) {
  if (op.input.out.data != nullptr) {
    const float x = (static_cast<float>(x_t) - op.input.center[sample]) * op.input.scale[sample];
    store_one(op.input.out, sample, i, static_cast<double>(x));
  }
  if (op.births.data != nullptr) store_one(op.births, sample, i, static_cast<double>(n - x_t));
  if (op.x_t.data != nullptr) store_one(op.x_t, sample, i, static_cast<double>(x_t));
}

FB_COLD void finish(const Thin& op, const DrawTable& t, const Queue& queue, int64_t sample, uint32_t begin) {
  const SampleKey key = key_of(op.key, sample);
  const unsigned length = queue.length;
  for (unsigned at = threadIdx.x; at < length; at += kThreads) {
    const uint32_t entry = queue.entries[at], i = begin + (entry & 0xffffu);
    if (static_cast<int64_t>(i) >= op.elements) continue;  // what pads the last tile may tie as well
    const int n = static_cast<int>(entry >> 24), k = exact_draw(t, key, THIN_DRAW, THIN_REFINE, i, n);
    store_element(op, sample, i, n, t.mirrored ? n - k : k);
  }
}

FB_DEVICE Word4* plain_start(const View& view, int64_t sample, uint32_t i) {
  return view.data == nullptr ? nullptr : at<Word4>(view, (sample * view.sample_stride + i) / 16);
}

// Plain: all counts are uint8 up to 255 in aligned C order, read and written 16 at a time; otherwise any View.
template <bool Plain>
FB_KERNEL(kThreads, 4) thin_shared(FB_PARAM(Thin) op, FB_PARAM(Pieces) pieces) {
  __shared__ DrawTable table;
  __shared__ Queue queue;
  __shared__ Stage stage_rest, stage_drawn;  // n, then n - k; and k
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Word4 *rest = stage_rest.of[warp], *drawn = stage_drawn.of[warp];
  const int32_t max_count = static_cast<int32_t>(op.max_count);
  for (int64_t piece = blockIdx.x; piece < pieces.total; piece += gridDim.x) {
    const int64_t sample = piece / pieces.per_sample;
    const uint32_t begin = static_cast<uint32_t>(piece - sample * pieces.per_sample) * pieces.size;
    const uint32_t size = static_cast<uint32_t>(elements_left(op.elements, begin, static_cast<int>(pieces.size)));
    bool wrong_prob = false;
    const SampleKey key = key_of(op.key, sample);
    build_table(table, queue, checked_prob(op.alive, sample, wrong_prob), key, max_count);
    raise(op.flag, kWrongProbability, wrong_prob && threadIdx.x == 0);
    const bool mirrored = table.mirrored;
    const uint32_t first = warp * kTile + lane * kPerThread;
    const Word4* from = Plain ? plain_start(op.x_0, sample, begin + first) : nullptr;
    Word4 *to_alive = Plain ? plain_start(op.x_t, sample, begin + first) : nullptr,
          *to_dead = Plain ? plain_start(op.births, sample, begin + first) : nullptr;
    if (mirrored) {
      Word4* swapped = to_alive;
      to_alive = to_dead;
      to_dead = swapped;
    }
    for (uint32_t tile = warp * kTile; tile < size; tile += kWarps * kTile) {
      const uint32_t i4 = begin + tile + lane * 4;
      const bool inside = tile + lane * kPerThread < size;
      Word4 n = {{0, 0, 0, 0}};
      if constexpr (Plain) {
        if (inside) n = *from;
        rest[lane] = n;
      } else {
        load_tile(op, op.x_0, sample, i4, max_count, rest[0].v + lane);
        __syncwarp();
      }
      const uint32_t at = tile + lane * kPerThread;
      const uint32_t pending = draw16(table, THIN_DRAW, begin + at, rest[lane], drawn[lane]);
      if (pending != 0) push_all(queue, pending, at, rest[lane], rest[lane]);
      if (!Plain) n = rest[lane];
      n = minus(n, drawn[lane]);
      if constexpr (Plain) {
        if (inside && to_alive != nullptr) *to_alive = drawn[lane];
        if (inside && to_dead != nullptr) *to_dead = n;
        from += kWarps * 32;
        to_alive += to_alive == nullptr ? 0 : kWarps * 32;
        to_dead += to_dead == nullptr ? 0 : kWarps * 32;
        if (op.input.out.data == nullptr) continue;
      }
      rest[lane] = n;
      __syncwarp();
      const uint32_t *k = drawn[0].v + lane, *r = rest[0].v + lane;
      store_tile<Plain>(op, sample, i4, mirrored ? r : k, mirrored ? k : r);
      __syncwarp();
    }
    __syncthreads();
    finish(op, table, queue, sample, begin);
  }
}

FB_KERNEL(kThreads, 2) thin_element(FB_PARAM(Thin) op) {
  const Place place = place_of(op);
  if (place.sample >= op.samples) return;
  bool wrong_prob = false, wrong_count = false;
  const PQ prob = checked_prob(op.alive, place.sample, wrong_prob);
  const double x = load_one(op.x_0, place.sample, place.i);
  const int64_t n = static_cast<int64_t>(clamp_count(x, static_cast<double>(op.max_count), wrong_count));
  const int64_t k = binomial_draw(n, prob.p, prob.q, key_of(op.key, place.sample), place.i, THIN_ELEMENT);
  store_element(op, place.sample, place.i, n, k);
  raise(op.flag, (wrong_prob ? kWrongProbability : 0) | (wrong_count ? kWrongCount : 0), wrong_prob || wrong_count);
}

bool plain(const View& view) { return view.data == nullptr || (view.vector && view.dtype == kU8); }

}  // namespace

int thin(const Thin& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  if (op.max_count > kMaxSharedCount) {
    FB_LAUNCH(thin_element, element_grid(op), kThreads, stream, op);
  } else {
    const Pieces pieces = pieces_of(op);
    const auto kernel = op.max_count == 255 && plain(op.x_0) && plain(op.x_t) && plain(op.births) ? thin_shared<true> : thin_shared<false>;
    FB_LAUNCH(kernel, grid_of(pieces.total), kThreads, stream, op, pieces);
  }
  return cudaGetLastError();
}

int use_device(int device, int* before) {
  const int error = cudaGetDevice(before);
  return error != 0 || *before == device ? error : static_cast<int>(cudaSetDevice(device));
}

const char* error_text(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

}  // namespace cuda
}  // namespace fastblackout
