// bridge: x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma), N the integer births made of a network output, and the next
// model input.
#include "cuda/reverse.cuh"

namespace fastblackout {
namespace cuda {
namespace {

FB_COLD uint32_t exact_round(float y, int room, SampleKey key, uint32_t i, uint32_t word) {
  return static_cast<uint32_t>(stochastic_round(y, room, key, i, word, ROUNDING_REFINE));
}

// N of one element in float32: the parts and the product by a power of two are exact. Cases of equality are rare.
FB_DEVICE uint32_t round_births(float y, int room, bool stochastic, const SampleKey& key, uint32_t i, uint32_t word) {
  const float top = static_cast<float>(room), capped = y < top ? y : top;
  const int whole = static_cast<int>(capped);
  const float fraction = capped - static_cast<float>(whole);
  if (!stochastic) return static_cast<uint32_t>(whole + (fraction >= 0.5f ? 1 : 0));
  const uint32_t high = static_cast<uint32_t>(fraction * 4294967296.0f);
  if (word == high) return exact_round(y, room, key, i, word);
  return static_cast<uint32_t>(whole + (word < high ? 1 : 0));
}

// x_t and N of a tile into shared memory, four neighbouring elements a lane at a time.
FB_DEVICE void load_births(const Bridge& op, int64_t sample, uint32_t i, uint32_t* x, uint32_t* births) {
  const SampleKey key = key_of(op.key, sample);
  const int max_count = static_cast<int>(op.max_count);
  const float gain = op.gain[sample];
  int flags = 0;
#pragma unroll 1
  for (int part = 0; part < 4; ++part, i += 128) {
    const int left = elements_left(op.elements, i, 4);
    const uint32_t counts = load_counts4(op.x_t, sample, i, left, max_count, op.flag);
    const Float4 given = load4(op.births.data != nullptr ? op.births : op.logits, sample, i, left);
    const Words words = key.words(i >> 2, ROUNDING);
    uint32_t n = 0;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (c >= left) continue;
      const float y = op.births.data != nullptr ? births_as_given(given.v[c], flags) : births_from_logit(given.v[c], gain, flags);
      const int room = max_count - static_cast<int>(counts >> 8 * c & 255u);
      n |= round_births(y, room, op.stochastic, key, i + static_cast<uint32_t>(c), words.w[c]) << 8 * c;
    }
    x[part * 32] = counts;
    births[part * 32] = n;
  }
  raise(op.flag, flags, flags != 0);
}

FB_DEVICE void store_tile(const Bridge& op, int64_t sample, uint32_t i, const uint32_t* x) {
  const float center = op.input.center[sample], scale = op.input.scale[sample];
#pragma unroll 1
  for (int part = 0; part < 4; ++part, i += 128) {
    const int left = elements_left(op.elements, i, 4);
    const uint32_t word = x[part * 32];
    if (op.input.out.data != nullptr) store4(op.input.out, sample, i, left, model_input4(word, center, scale));
    if (op.x_s.data != nullptr) store_counts4(op.x_s, sample, i, left, word);
  }
}

FB_DEVICE int drawn_again(const DrawTable& t, const SampleKey& key, uint32_t stream, uint32_t refine, uint32_t i, int n) {
  if (t.trivial) return t.mirrored ? n : 0;
  const int k = exact_draw(t, key, stream, refine, i, n);
  return t.mirrored ? n - k : k;
}

template <bool Attrition>
FB_COLD void finish(const Bridge& op, const DrawTable* tables, const Queue& queue, int64_t sample, uint32_t begin) {
  const SampleKey key = key_of(op.key, sample);
  const unsigned length = queue.length;
  for (unsigned at = threadIdx.x; at < length; at += kThreads) {
    const uint32_t entry = queue.entries[at], i = begin + (entry & 0xffffu);
    if (static_cast<int64_t>(i) >= op.elements) continue;  // what pads the last tile may tie as well
    const int births = static_cast<int>(entry >> 24), x = static_cast<int>(entry >> 16 & 255u);
    int x_s = x + drawn_again(tables[0], key, BRIDGE_DRAW, BRIDGE_REFINE, i, births);
    if (Attrition) x_s -= drawn_again(tables[1], key, ATTRITION_DRAW, ATTRITION_REFINE, i, x);
    store_element(op, sample, i, x_s);
  }
}

template <bool Attrition>
FB_KERNEL(kThreads, 3) bridge_shared(FB_PARAM(Bridge) op, FB_PARAM(Pieces) pieces) {
  __shared__ DrawTable tables[Attrition ? 2 : 1];
  __shared__ Queue queue;
  __shared__ Stage stage_x, stage_n, stage_k;
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Word4 *x = stage_x.of[warp], *n = stage_n.of[warp], &k = stage_k.of[warp][lane];
  const int max_count = static_cast<int>(op.max_count);
  for (int64_t piece = blockIdx.x; piece < pieces.total; piece += gridDim.x) {
    const int64_t sample = piece / pieces.per_sample;
    const uint32_t begin = static_cast<uint32_t>(piece - sample * pieces.per_sample) * pieces.size;
    const uint32_t size = static_cast<uint32_t>(elements_left(op.elements, begin, static_cast<int>(pieces.size)));
    bool wrong = false;
    const SampleKey key = key_of(op.key, sample);
    build_table(tables[0], queue, checked_prob(op.birth, sample, wrong), key, max_count);
    if constexpr (Attrition) build_table(tables[1], queue, checked_prob(op.attrition, sample, wrong), key, max_count);
    raise(op.flag, kWrongProbability, wrong && threadIdx.x == 0);
    for (uint32_t tile = warp * kTile; tile < size; tile += kWarps * kTile) {
      const uint32_t i4 = begin + tile + lane * 4, at = tile + lane * kPerThread;
      load_births(op, sample, i4, x[0].v + lane, n[0].v + lane);
      __syncwarp();
      uint32_t pending = draw16(tables[0], BRIDGE_DRAW, begin + at, n[lane], k);
      Word4 x_s = x[lane];
#pragma unroll
      for (int w = 0; w < 4; ++w) x_s.v[w] += tables[0].mirrored ? n[lane].v[w] - k.v[w] : k.v[w];
      if constexpr (Attrition) {
        pending |= draw16(tables[1], ATTRITION_DRAW, begin + at, x[lane], k);
#pragma unroll
        for (int w = 0; w < 4; ++w) x_s.v[w] -= tables[1].mirrored ? x[lane].v[w] - k.v[w] : k.v[w];
      }
      if (pending != 0) push_all(queue, pending, at, n[lane], x[lane]);
      x[lane] = x_s;
      __syncwarp();
      store_tile(op, sample, i4, x[0].v + lane);
      __syncwarp();
    }
    __syncthreads();
    finish<Attrition>(op, tables, queue, sample, begin);
  }
}

FB_KERNEL(kThreads, 2) bridge_element(FB_PARAM(Bridge) op) {
  const Place place = place_of(op);
  if (place.sample >= op.samples) return;
  int flags = 0;
  bool wrong = false;
  const SampleKey key = key_of(op.key, place.sample);
  const int64_t x = load_count(op, place, flags), room = op.max_count - x;
  const float y = expected_births(op, place.sample, place.i, flags);
  int64_t births;
  if (op.stochastic) {
    const Words words = key.words(place.i >> 2, ROUNDING);
    births = stochastic_round(y, room, key, place.i, word_of(words, place.i), ROUNDING_REFINE);
  } else {
    births = nearest_round(y, room);
  }
  const PQ birth = checked_prob(op.birth, place.sample, wrong);
  int64_t x_s = x + binomial_draw(births, birth.p, birth.q, key, place.i, BRIDGE_ELEMENT);
  if (op.attrition.p != nullptr) {
    const PQ death = checked_prob(op.attrition, place.sample, wrong);
    x_s -= binomial_draw(x, death.p, death.q, key, place.i, ATTRITION_ELEMENT);
  }
  store_element(op, place.sample, place.i, x_s);
  if (wrong) flags |= kWrongProbability;
  raise(op.flag, flags, flags != 0);
}

}  // namespace

int bridge(const Bridge& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  if (op.max_count > kMaxSharedCount) {
    FB_LAUNCH(bridge_element, element_grid(op), kThreads, stream, op);
  } else {
    const Pieces pieces = pieces_of(op);
    const auto kernel = op.attrition.p != nullptr ? bridge_shared<true> : bridge_shared<false>;
    FB_LAUNCH(kernel, grid_of(pieces.total), kThreads, stream, op, pieces);
  }
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace fastblackout
