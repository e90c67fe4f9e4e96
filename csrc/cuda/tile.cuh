// Copies the tiles of a warp (512 elements, draw.cuh) between memory and shared memory. Arrays in aligned C order are read and
// written 16 bytes an access, however many values that is, with neighbouring lanes at neighbouring addresses; all others
// element by element, with neighbouring lanes at neighbouring elements.
#pragma once

#include "cuda/draw.cuh"

namespace fastblackout::cuda {
namespace {

// Whether the elements of a tile of `most`, of which `left` remain, can go 16 bytes an access: the end of an odd size cannot.
FB_DEVICE bool by_words(const View& view, uint32_t left, uint32_t most) {
  return view.vector || (view.aligned && left >= most);
}

// How many of the four elements from e on exist, if there are `left` in all.
FB_DEVICE int quad_left(uint32_t left, uint32_t e) {
  const uint32_t rest = left > e ? left - e : 0;
  return static_cast<int>(rest < 4 ? rest : 4);
}

FB_DEVICE uint32_t lane_id() { return threadIdx.x % 32; }

// Whether values have at most 16 bits.
FB_HD bool is_narrow(int dtype) { return dtype == kU8 || dtype == kI16 || dtype >= kBf16; }

// Each thread that calls copies 16 bytes of a narrow array, which begin at element `from`, to shared memory; narrow4 reads them
// there, four values (a quad) at a time.
FB_DEVICE void stage_narrow(const View& view, int64_t from, uint32_t left, uint32_t thread, Word4* to) {
  const bool bytes = view.dtype == kU8;
  const char* start = view.data + (bytes ? from : 2 * from);
  if (16 * thread < (bytes ? left : 2 * left)) to[thread] = *reinterpret_cast<const Word4*>(start + 16 * thread);
}

// Values 4 quad .. 4 quad + 3 of narrow ones, as stage_narrow copied them.
FB_DEVICE Float4 narrow4(int dtype, const uint32_t* from, uint32_t quad) {
  if (dtype == kU8) {
    const uint32_t word = from[quad];
    return Float4{{static_cast<float>(word & 255u), static_cast<float>(word >> 8 & 255u), static_cast<float>(word >> 16 & 255u),
                   static_cast<float>(word >> 24)}};
  }
  const Word2 x = reinterpret_cast<const Word2*>(from)[quad];
  const uint16_t a = static_cast<uint16_t>(x.v[0]), b = static_cast<uint16_t>(x.v[0] >> 16),
                 c = static_cast<uint16_t>(x.v[1]), d = static_cast<uint16_t>(x.v[1] >> 16);
  if (dtype == kBf16) return Float4{{bfloat_value(a), bfloat_value(b), bfloat_value(c), bfloat_value(d)}};
  if (dtype == kF16) return Float4{{half_value(a), half_value(b), half_value(c), half_value(d)}};
  return Float4{{static_cast<float>(static_cast<int16_t>(a)), static_cast<float>(static_cast<int16_t>(b)),
                 static_cast<float>(static_cast<int16_t>(c)), static_cast<float>(static_cast<int16_t>(d))}};
}

FB_DEVICE void put_narrow4(int dtype, uint32_t* to, uint32_t quad, const Float4& x) {  // as bfloat16 or float16
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    const float low = x.v[2 * w], high = x.v[2 * w + 1];
    const uint32_t first = dtype == kBf16 ? bfloat_bits(low) : half_bits(low);
    const uint32_t second = dtype == kBf16 ? bfloat_bits(high) : half_bits(high);
    to[2 * quad + w] = second << 16 | first;
  }
}

template <int Dtype>
FB_DEVICE constexpr uint32_t bytes_of() {
  return Dtype == kU8 ? 1 : Dtype == kI16 || Dtype >= kBf16 ? 2 : Dtype == kI32 || Dtype == kF32 ? 4 : 8;
}

// How many values a lane takes at a time: 16 bytes, but of 64-bit values 32 bytes in two accesses, to fill a word of counts.
template <int Dtype>
FB_DEVICE constexpr uint32_t each_of() {
  return bytes_of<Dtype>() == 8 ? 4 : 16 / bytes_of<Dtype>();
}

template <int Dtype>
FB_DEVICE bool load_counts_as(const View& view, int64_t from, uint32_t left, int max_count, uint32_t* tile) {
  constexpr uint32_t bytes = bytes_of<Dtype>(), each = each_of<Dtype>();
  bool wrong = false;
#pragma unroll 1
  for (uint32_t e = lane_id() * each; e < kTile; e += 32 * each) {
    Word4 in[each * bytes / 16] = {};
#pragma unroll
    for (uint32_t k = 0; k < each * bytes / 16; ++k) {
      if (e < left) in[k] = word_at(view, from + e, bytes)[k];
    }
#pragma unroll
    for (uint32_t w = 0; w < each / 4; ++w) {
      uint32_t counts = 0;
#pragma unroll
      for (uint32_t c = 0; c < 4; ++c) {
        const uint32_t at = (4 * w + c) * bytes, *word = in[at / 16].v + at % 16 / 4;
        uint32_t count;
        if constexpr (Dtype == kI64) {
          const int64_t x = static_cast<int64_t>(static_cast<uint64_t>(word[1]) << 32 | word[0]);
          count = clamp_count(x, int64_t{max_count}, wrong);
        } else {
          const int32_t x = static_cast<int32_t>(*word >> 8 * (at % 4));
          count = clamp_count(Dtype == kU8 ? x & 255 : Dtype == kI16 ? static_cast<int16_t>(x) : x, max_count, wrong);
        }
        counts |= count << 8 * c;
      }
      tile[e / 4 + w] = counts;
    }
  }
  return wrong;
}

FB_COLD void load_other_counts(const View& view, int64_t sample, uint32_t i, uint32_t left, int max_count, int* flag,
                               uint32_t* tile) {
  const int64_t from = sample * view.sample_stride + i;
  bool wrong = false;
  if (!by_words(view, left, kTile)) {
#pragma unroll 1
    for (uint32_t e = lane_id(); e < kTile; e += 32) {
      const double x = e < left ? load_one(view, sample, i + e) : 0.0;
      reinterpret_cast<uint8_t*>(tile)[e] = static_cast<uint8_t>(clamp_count(x, static_cast<double>(max_count), wrong));
    }
  } else if (view.dtype == kU8) {
    wrong = load_counts_as<kU8>(view, from, left, max_count, tile);
  } else if (view.dtype == kI16) {
    wrong = load_counts_as<kI16>(view, from, left, max_count, tile);
  } else if (view.dtype == kI32) {
    wrong = load_counts_as<kI32>(view, from, left, max_count, tile);
  } else {  // the ops take no other dtype for counts
    wrong = load_counts_as<kI64>(view, from, left, max_count, tile);
  }
  raise(flag, kWrongCount, wrong);
}

// Loads the counts of a tile, clamped to 0..max_count, to bytes of shared memory; they are 0 where no element is left.
FB_DEVICE void load_counts(const View& view, int64_t sample, uint32_t i, uint32_t left, int max_count, int* flag,
                           Word4* tile) {
  if (view.dtype == kU8 && max_count == 255 && by_words(view, left, kTile)) {
    const uint32_t e = lane_id() * 16;
    tile[lane_id()] = e < left ? *word_at(view, sample * view.sample_stride + i + e, 1) : Word4{{0, 0, 0, 0}};
  } else {
    load_other_counts(view, sample, i, left, max_count, flag, tile->v);
  }
}

FB_DEVICE float model_input(uint32_t count, float center, float scale) { return (static_cast<float>(count) - center) * scale; }

template <int Dtype>
FB_DEVICE void store_as(const View& view, int64_t from, uint32_t left, const uint32_t* tile, float center, float scale) {
  constexpr uint32_t bytes = bytes_of<Dtype>(), each = each_of<Dtype>();
#pragma unroll 1
  for (uint32_t e = lane_id() * each; e < kTile && e < left; e += 32 * each) {
    Word4 out[each * bytes / 16] = {};
#pragma unroll
    for (uint32_t c = 0; c < each; ++c) {
      const uint32_t count = tile[e / 4 + c / 4] >> 8 * (c % 4) & 255u, at = c * bytes;
      uint32_t& word = out[at / 16].v[at % 16 / 4];
      if constexpr (Dtype <= kI64) {
        word |= count << 8 * (at % 4);
      } else {
        const float x = model_input(count, center, scale);
        if constexpr (Dtype == kF64) {
          const uint64_t bits = bit_cast<uint64_t>(static_cast<double>(x));
          word = static_cast<uint32_t>(bits);
          out[at / 16].v[at % 16 / 4 + 1] = static_cast<uint32_t>(bits >> 32);
        } else if constexpr (Dtype == kF32) {
          word = bit_cast<uint32_t>(x);
        } else {
          word |= static_cast<uint32_t>(Dtype == kBf16 ? bfloat_bits(x) : half_bits(x)) << 8 * (at % 4);
        }
      }
    }
#pragma unroll
    for (uint32_t k = 0; k < each * bytes / 16; ++k) word_at(view, from + e, bytes)[k] = out[k];
  }
}

FB_COLD void store_other(const View& view, int64_t sample, uint32_t i, uint32_t left, const uint32_t* tile, float center,
                         float scale) {
  const int64_t from = sample * view.sample_stride + i;
  if (!by_words(view, left, kTile)) {
#pragma unroll 1
    for (uint32_t e = lane_id(); e < kTile && e < left; e += 32) {
      const uint32_t count = reinterpret_cast<const uint8_t*>(tile)[e];
      store_one(view, sample, i + e, view.dtype <= kI64 ? count : static_cast<double>(model_input(count, center, scale)));
    }
    return;
  }
  switch (view.dtype) {  // uint8 counts and float32 inputs have gone another way, and counts are integers
    case kI16: return store_as<kI16>(view, from, left, tile, center, scale);
    case kI32: return store_as<kI32>(view, from, left, tile, center, scale);
    case kI64: return store_as<kI64>(view, from, left, tile, center, scale);
    case kF64: return store_as<kF64>(view, from, left, tile, center, scale);
    case kBf16: return store_as<kBf16>(view, from, left, tile, center, scale);
    default: return store_as<kF16>(view, from, left, tile, center, scale);
  }
}

FB_DEVICE void store_counts(const View& view, int64_t sample, uint32_t i, uint32_t left, const Word4* tile) {
  if (view.dtype == kU8 && by_words(view, left, kTile)) {
    store_as<kU8>(view, sample * view.sample_stride + i, left, tile->v, 0.0f, 1.0f);
  } else {
    store_other(view, sample, i, left, tile->v, 0.0f, 1.0f);
  }
}

// Stores the model input (x - center) * scale for the counts x of a tile.
FB_DEVICE void store_input(const View& view, int64_t sample, uint32_t i, uint32_t left, const Word4* tile, float center,
                           float scale) {
  if (view.dtype == kF32 && by_words(view, left, kTile)) {
    store_as<kF32>(view, sample * view.sample_stride + i, left, tile->v, center, scale);
  } else {
    store_other(view, sample, i, left, tile->v, center, scale);
  }
}

}  // namespace
}  // namespace fastblackout::cuda
