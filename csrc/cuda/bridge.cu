// bridge: x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma) and the next model input. N is the number of births that a network
// output predicts, rounded to an integer; the last term, attrition, is left out where it is not asked for.
#include "cuda/reverse.cuh"
#include "cuda/tile.cuh"

namespace fastblackout::cuda {
namespace {

template <bool Attrition>
struct Shared {
  DrawTable tables[Attrition ? 2 : 1];
  Queue queue;
  Stage x, n, k;  // x: x_t, and later x_s; n: births; k: a draw
  Piece piece;    // kept here because registers are few
};

template <bool Attrition>
FB_DEVICE Shared<Attrition>& shared() {
  FB_SHARED_GIVEN(Shared<Attrition>);
}

static_assert(sizeof(Shared<false>) <= 48 * 1024 && sizeof(Shared<true>) <= 80 * 1024, "two blocks of 164 KiB: sm_80");

FB_COLD uint32_t exact_round(float y, int room, const DrawTable& t, uint32_t i, uint32_t word) {
  return static_cast<uint32_t>(stochastic_round(y, room, key_of(t), i, word, ROUNDING_REFINE));
}

// N of one element, in float32: both parts of y and the product with a power of two are exact. Equality is rare.
FB_DEVICE uint32_t round_births(const Bridge& op, const DrawTable& t, uint32_t i, float y, int room, uint32_t word) {
  const float top = static_cast<float>(room), capped = y < top ? y : top;
  const int whole = static_cast<int>(capped);
  const float fraction = capped - static_cast<float>(whole);
  if (!op.stochastic) return static_cast<uint32_t>(whole + (fraction >= 0.5f ? 1 : 0));
  const uint32_t high = static_cast<uint32_t>(fraction * 4294967296.0f);
  if (word == high) return exact_round(y, room, t, i, word);
  return static_cast<uint32_t>(whole + (word < high ? 1 : 0));
}

// Makes N of a tile in shared memory, four neighbouring elements a lane at a time. `rows` is where network outputs are staged
// whose 16 bytes hold more than four values: half a tile of 16-bit values at a time.
FB_DEVICE void load_births(const Bridge& op, const DrawTable& t, uint32_t sample, uint32_t i, uint32_t left,
                           const uint32_t* x, uint32_t* births, Word4* rows) {
  const int max_count = static_cast<int>(op.max_count);
  const float gain = op.gain[sample];
  const View& view = op.given;
  const bool narrow = is_narrow(view.dtype) && by_words(view, left, kTile);
  int flags = 0;
#pragma unroll 1
  for (uint32_t part = 0; part < 4; ++part) {
    const uint32_t e = 128 * part + 4 * lane_id(), at = 32 * part + lane_id();
    const int count = quad_left(left, e);
    if (narrow && 128 * part < left && (part == 0 || (part == 2 && view.dtype != kU8))) {
      __syncwarp();
      stage_narrow(view, sample * view.sample_stride + i + 128 * part, left - 128 * part, lane_id(), rows);
      __syncwarp();
    }
    const Float4 given =
        narrow ? narrow4(view.dtype, rows->v, view.dtype == kU8 ? at : at % 64) : load4(view, sample, i + e, count);
    Words words[1];
    philox_blocks(t, (i + e) >> 2, ROUNDING << 24, words);
    const uint32_t counts = x[at];
    uint32_t n = 0;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (c >= count) continue;
      const float y = op.births ? births_as_given(given.v[c], flags) : births_from_logit(given.v[c], gain, flags);
      const int room = max_count - static_cast<int>(counts >> 8 * c & 255u);
      n |= round_births(op, t, i + e + static_cast<uint32_t>(c), y, room, words[0].w[c]) << 8 * c;
    }
    births[at] = n;
  }
  raise(op.flag, flags, flags != 0);
}

FB_COLD void store_tile(const Bridge& op, int64_t sample, uint32_t i, uint32_t left, const Word4* x) {
  const Input& input = op.input;
  if (input.out.data != nullptr) store_input(input.out, sample, i, left, x, input.center[sample], input.scale[sample]);
  if (op.x_s.data != nullptr) store_counts(op.x_s, sample, i, left, x);
}

// The exact draw of Binomial(n, p) for an element of the queue.
FB_DEVICE int drawn_again(const DrawTable& t, uint32_t stream, uint32_t refine, uint32_t i, int n) {
  if (t.trivial) return t.mirrored ? n : 0;
  const int k = exact_draw(t, stream, refine, i, n);
  return t.mirrored ? n - k : k;
}

// Draws the elements of the queue again.
template <bool Attrition>
FB_COLD void finish(const Bridge& op, int64_t sample, uint32_t begin) {
  const DrawTable* tables = shared<Attrition>().tables;
  const Queue& queue = shared<Attrition>().queue;
  const unsigned length = queue.length;
  for (unsigned at = threadIdx.x; at < length; at += kThreads) {
    const uint32_t entry = queue.entries[at], i = begin + (entry & 0xffffu);
    if (static_cast<int64_t>(i) >= op.elements) continue;  // elements that pad the last tile may be in the queue too
    const int births = static_cast<int>(entry >> 24), x = static_cast<int>(entry >> 16 & 255u);
    int x_s = x + drawn_again(tables[0], BRIDGE_DRAW, BRIDGE_REFINE, i, births);
    if (Attrition) x_s -= drawn_again(tables[1], ATTRITION_DRAW, ATTRITION_REFINE, i, x);
    store_element(op, sample, i, x_s);
  }
}

// With attrition a multiprocessor's shared memory is enough for two blocks at most, which may have twice the registers.
template <bool Attrition>
FB_KERNEL(kThreads, Attrition ? 2 : 4) bridge_shared(FB_PARAM(Bridge) op, FB_PARAM(Pieces) pieces) {
  Shared<Attrition>& memory = shared<Attrition>();
  DrawTable* tables = memory.tables;
  const uint32_t sample = piece_of(op, pieces).sample;
  const int max_count = static_cast<int>(op.max_count);
  bool wrong = false;
  if (threadIdx.x == 0) {
    memory.piece = piece_of(op, pieces);
    if (memory.piece.begin == 0) check_sample(op, sample, &op.gain);
  }
  build_table(tables[0], memory.queue, checked_prob(op.birth, sample, wrong), op.key, sample, max_count);
  if constexpr (Attrition)
    build_table(tables[1], memory.queue, checked_prob(op.attrition, sample, wrong), op.key, sample, max_count);
  raise(op.flag, kWrongProbability, wrong && threadIdx.x == 0);
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const Piece& piece = memory.piece;
  Word4 &x = memory.x.of[warp][lane], &n = memory.n.of[warp][lane], &k = memory.k.of[warp][lane];
  for (uint32_t tile = warp * kTile; tile < piece.size; tile += kWarps * kTile) {
    const uint32_t i = piece.begin + tile, left = piece.size - tile, at = tile + lane * kPerThread;
    load_counts(op.x_t, piece.sample, i, left, max_count, op.flag, memory.x.of[warp]);
    __syncwarp();
    load_births(op, tables[0], piece.sample, i, left, memory.x.of[warp]->v, memory.n.of[warp]->v, memory.k.of[warp]);
    __syncwarp();
    uint32_t pending = draw16(tables[0], BRIDGE_DRAW, piece.begin + at, n, k);
    Word4 x_s = x;
#pragma unroll
    for (int w = 0; w < 4; ++w) x_s.v[w] += tables[0].mirrored ? n.v[w] - k.v[w] : k.v[w];
    if constexpr (Attrition) {
      pending |= draw16(tables[1], ATTRITION_DRAW, piece.begin + at, x, k);
#pragma unroll
      for (int w = 0; w < 4; ++w) x_s.v[w] -= tables[1].mirrored ? x.v[w] - k.v[w] : k.v[w];
    }
    if (pending != 0) push_all(memory.queue, pending, at, n, x);
    x = x_s;
    __syncwarp();
    store_tile(op, piece.sample, i, left, memory.x.of[warp]);
    __syncwarp();
  }
  __syncthreads();
  finish<Attrition>(op, piece.sample, piece.begin);
}

struct Wide {
  Queue queue;           // build_table empties it; nothing goes into it here
  int64_t x_s[kThreads];  // out of registers while a sampler runs; x_t is read again for its second run
  DrawTable tables[2];   // the second one where there is attrition
};

FB_DEVICE Wide& wide() { FB_SHARED_GIVEN(Wide); }

FB_DEVICE int64_t wide_births(const Bridge& op, const Place& place, int64_t room, float y) {
  if (!op.stochastic) return nearest_round(y, room);
  const SampleKey key = key_of(op.key, place.sample);
  return stochastic_round(y, room, key, place.i, word_of(key.words(place.i >> 2, ROUNDING), place.i), ROUNDING_REFINE);
}

// Counts may be above kMaxSharedCount: a thread draws an element at a time.
FB_KERNEL(kThreads, 2) bridge_wide(FB_PARAM(Bridge) op, FB_PARAM(Pieces) pieces) {
  const Piece piece = piece_of(op, pieces);
  const int draws = op.attrition ? 2 : 1;
  bool wrong = false;
  if (piece.begin == 0 && threadIdx.x == 0) check_sample(op, piece.sample, &op.gain);
  for (int draw = 0; draw < draws; ++draw) {
    const PQ prob = checked_prob(draw == 0 ? op.birth : op.attrition, piece.sample, wrong);
    build_table(wide().tables[draw], wide().queue, prob, op.key, piece.sample, kMaxSharedCount);
  }
  int flags = wrong ? kWrongProbability : 0;
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < piece.size; e += kThreads) {
    const Place place{piece.sample, piece.begin + e, true};
    const int64_t x = load_count(op, place, flags);
    int64_t count = wide_births(op, place, op.max_count - x, expected_births(op, place.sample, place.i, flags));
    int64_t& x_s = wide().x_s[threadIdx.x];
    x_s = x;
#pragma unroll 1
    for (int draw = 0; draw < draws; ++draw) {  // a loop, to have the sampler's code only once
      const PQ prob = checked_prob(draw == 0 ? op.birth : op.attrition, place.sample, wrong);
      const RowStreams streams = draw == 0 ? RowStreams{BRIDGE_DRAW, BRIDGE_REFINE, BRIDGE_ELEMENT}
                                           : RowStreams{ATTRITION_DRAW, ATTRITION_REFINE, ATTRITION_ELEMENT};
      const int64_t k = row_draw(wide().tables[draw], count, prob, op.key, place, streams);
      x_s += draw == 0 ? k : -k;
      count = load_count(op, place, flags);
    }
    store_element(op, place.sample, place.i, x_s);
  }
  raise(op.flag, flags, flags != 0);
}

}  // namespace

int bridge(const Bridge& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  if (op.max_count > kMaxSharedCount) {
    launch_pieces(bridge_wide, op.attrition ? sizeof(Wide) : sizeof(Wide) - sizeof(DrawTable), op, stream);
  } else if (op.attrition) {
    launch_pieces(bridge_shared<true>, sizeof(Shared<true>), op, stream);
  } else {
    launch_pieces(bridge_shared<false>, sizeof(Shared<false>), op, stream);
  }
  return cudaGetLastError();
}

}  // namespace fastblackout::cuda
