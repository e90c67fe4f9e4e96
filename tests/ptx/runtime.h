// What the C++ of write.py stands on: the memory of a thread, every access to which is checked, and threads it waits for.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstring>

#include "arithmetic.h"
#include "machine.h"
#include "thread.h"

#define PTX_EXPORT extern "C" __attribute__((visibility("default")))

namespace ptx {

// Memory. A generic address is the host's, as in every state space but .shared: there an address is the distance from
// where the block's memory begins.

inline uint64_t shared_window(const Thread& t) { return reinterpret_cast<uint64_t>(t.machine.shared); }

inline bool within(uint64_t at, uint64_t size, uint64_t begin, uint64_t bytes) {
  return at >= begin && at - begin <= bytes && size <= bytes - (at - begin);
}

inline bool in_local(const Thread& t, uint64_t at, uint64_t size) {
  for (const Local* l = t.locals; l != nullptr; l = l->next)
    if (within(at, size, l->begin, l->size)) return true;
  return false;
}

inline bool in_parameters(const Thread& t, uint64_t at, uint64_t size) {
  for (int i = 0; t.sizes[i] != 0; ++i)
    if (within(at, size, reinterpret_cast<uint64_t>(t.parameters[i]), t.sizes[i])) return true;
  return in_local(t, at, size);  // the arguments of a call
}

// Whether memory may not be read or written, as AddressSanitizer knows where it is preloaded: it keeps a byte for each 8 bytes,
// which is 0 if all of them may be, and has a function for the other cases.
struct Sanitizer {
  size_t scale = 0, offset = 0;
  void* (*poisoned)(void*, size_t);

  Sanitizer() : poisoned(reinterpret_cast<void* (*)(void*, size_t)>(dlsym(RTLD_DEFAULT, "__asan_region_is_poisoned"))) {
    const auto mapping = reinterpret_cast<void (*)(size_t*, size_t*)>(dlsym(RTLD_DEFAULT, "__asan_get_shadow_mapping"));
    if (poisoned != nullptr && mapping != nullptr) mapping(&scale, &offset);
  }
};
inline const Sanitizer sanitizer;

inline bool forbidden(uint64_t at, uint64_t size) {
  if (sanitizer.poisoned == nullptr) return false;
  const unsigned char* const marks = reinterpret_cast<const unsigned char*>((at >> sanitizer.scale) + sanitizer.offset);
  if (sanitizer.offset != 0 && at < uint64_t{1} << 47 && marks[0] == 0 && (size <= 8 || marks[1] == 0)) return false;
  return sanitizer.poisoned(reinterpret_cast<void*>(at), size) != nullptr;
}

// The host's address of `size` bytes, which must be aligned and inside what they may be in.
template <Space S>
inline unsigned char* checked(const Thread& t, uint64_t at, uint64_t size, Line line) {
  if (S == known) return reinterpret_cast<unsigned char*>(at);  // checked by write.py
  if (at % size != 0) fault(t, line, "an address is not aligned");
  bool inside = true;
  if (S == shared) {
    inside = within(at, size, 0, t.machine.shared_bytes);
    at += shared_window(t);
  } else if (S == local) {
    inside = in_local(t, at, size);
  } else if (S == param) {
    inside = in_parameters(t, at, size);
  } else if (at - shared_window(t) < t.machine.shared_bytes) {
    inside = S == generic && within(at, size, shared_window(t), t.machine.shared_bytes);
  } else if (at - reinterpret_cast<uint64_t>(t.machine.stacks) < t.machine.stacks_bytes) {
    inside = S == generic && in_local(t, at, size);
  } else {
    inside = at >= 4096 && !forbidden(at, size);
  }
  if (!inside) fault(t, line, "an access is outside of memory that it may be in");
  return reinterpret_cast<unsigned char*>(at);
}

template <Space S, class V>
inline V load(const Thread& t, uint64_t at, Line line) {
  const unsigned char* const place = checked<S>(t, at, sizeof(V), line);
  note<S>(t, place, sizeof(V), reads, line);
  V x;
  std::memcpy(&x, place, sizeof(V));
  return x;
}
template <Space S, class V>
inline void store(const Thread& t, uint64_t at, V x, Line line) {
  unsigned char* const place = checked<S>(t, at, sizeof(V), line);
  note<S>(t, place, sizeof(V), writes, line);
  std::memcpy(place, &x, sizeof(V));
}
template <Space S, class B>
inline B load_atomic(const Thread& t, uint64_t at, Line line) {
  B* const place = reinterpret_cast<B*>(checked<S>(t, at, sizeof(B), line));
  note<S>(t, place, sizeof(B), reads, line);
  return __atomic_load_n(place, __ATOMIC_SEQ_CST);
}
template <Space S, class B>
inline void store_atomic(const Thread& t, uint64_t at, B x, Line line) {
  B* const place = reinterpret_cast<B*>(checked<S>(t, at, sizeof(B), line));
  note<S>(t, place, sizeof(B), writes, line);
  __atomic_store_n(place, x, __ATOMIC_SEQ_CST);
}

// A copy may be done at any time before it is waited for: here at once.
inline void copy_async(const Thread& t, uint64_t to, uint64_t from, uint32_t size, Line line) {
  unsigned char* const place = checked<shared>(t, to, size, line);
  const unsigned char* const source = checked<global>(t, from, size, line);
  note<global>(t, source, size, reads, line);
  note<shared>(t, place, size, writes | later, line);
  std::memcpy(place, source, size);
}
inline void wait_for_copies(const Thread& t) {
  if (settings.races != nullptr) settings.races->copied(t.machine);
}

template <Space S, class T, class Then>
inline T atomic(const Thread& t, uint64_t at, Line line, Then then, T b, T c) {
  using B = Bits<sizeof(T)>;
  B* const place = reinterpret_cast<B*>(checked<S>(t, at, sizeof(T), line));
  note<S>(t, place, sizeof(T), reads | writes, line);
  B seen = __atomic_load_n(place, __ATOMIC_SEQ_CST);
  for (bool done = false; !done;) {
    const B made = static_cast<B>(then(static_cast<T>(seen), b, c));
    done = __atomic_compare_exchange_n(place, &seen, made, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }
  return static_cast<T>(seen);
}
template <class T> inline T then_add(T a, T b, T) { return a + b; }
template <class T> inline T then_min(T a, T b, T) { return a < b ? a : b; }
template <class T> inline T then_max(T a, T b, T) { return a > b ? a : b; }
template <class T> inline T then_and(T a, T b, T) { return a & b; }
template <class T> inline T then_or(T a, T b, T) { return a | b; }
template <class T> inline T then_xor(T a, T b, T) { return a ^ b; }
template <class T> inline T then_exch(T, T b, T) { return b; }
template <class T> inline T then_inc(T a, T b, T) { return a >= b ? 0 : a + 1; }
template <class T> inline T then_dec(T a, T b, T) { return a == 0 || a > b ? b : a - 1; }
template <class T> inline T then_cas(T a, T b, T c) { return a == b ? c : a; }

// Threads

inline void fence(const Thread& t, Line line) {
  if (settings.races != nullptr) {
    if (line.scope == cta) fault(t, line, kWithinBlock);
    settings.races->fence(t.machine, line.order);
  }
  t.machine.fence();
}
inline int lane_of(const Thread& t) { return static_cast<int>(t.machine.thread % 32); }
// The lanes of the thread's warp that there are: a block's last warp may be a part of one.
inline uint32_t present(const Thread& t) {
  const uint32_t left = t.machine.threads - t.machine.thread / 32 * 32;
  return left < 32 ? (1u << left) - 1 : ~0u;
}
inline void wait_for_block(const Thread& t, simt::Place at, uint32_t barrier, Line line) {
  if (barrier != 0) fault(t, line, "a barrier other than 0");
  if (settings.races != nullptr) settings.races->meet(t.machine, 0);
  t.machine.meet(simt::Op::syncthreads, 0, 0, 0, at);
}
inline void wait_for_warp(const Thread& t, simt::Place at, uint32_t mask) {
  if (settings.races != nullptr) settings.races->meet(t.machine, mask & present(t));
  t.machine.meet(simt::Op::syncwarp, mask, 0, 0, at);
}
inline uint32_t votes(const Thread& t, simt::Place at, bool vote, uint32_t mask) {
  return static_cast<uint32_t>(t.machine.meet(simt::Op::ballot, mask, vote, 0, at));
}
inline bool vote_any(uint32_t votes, uint32_t) { return votes != 0; }
inline bool vote_all(uint32_t votes, uint32_t lanes) { return votes == lanes; }
inline bool vote_uni(uint32_t votes, uint32_t lanes) { return votes == 0 || votes == lanes; }

// Which lane a shuffle takes, and whether that is in range.
inline Two<int> lane_in(int j, int least, int most) { return {j, j >= least && j <= most}; }
inline int end_of(int lane, int clamp, int segment) { return (lane & segment) | (clamp & ~segment); }
inline Two<int> lane_up(int lane, int b, int clamp, int segment) { return lane_in(lane - b, end_of(lane, clamp, segment), 31); }
inline Two<int> lane_down(int lane, int b, int clamp, int segment) { return lane_in(lane + b, 0, end_of(lane, clamp, segment)); }
inline Two<int> lane_bfly(int lane, int b, int clamp, int segment) { return lane_in(lane ^ b, 0, end_of(lane, clamp, segment)); }
inline Two<int> lane_idx(int lane, int b, int clamp, int segment) {
  return lane_in((lane & segment) | (b & ~segment), 0, end_of(lane, clamp, segment));
}
inline Two<uint32_t> shuffled(const Thread& t, simt::Place at, Two<int> (*lane_from)(int, int, int, int), uint32_t a,
                              uint32_t b, uint32_t c, uint32_t mask, Line line) {
  const int lane = lane_of(t);
  Two<int> from = lane_from(lane, static_cast<int>(b & 31), static_cast<int>(c & 31), static_cast<int>(c >> 8 & 31));
  if (!from.second) from.first = lane;
  const uint64_t got = t.machine.meet(simt::Op::shuffle, mask, a, from.first, at);
  const bool there = (mask & present(t)) >> from.first & 1;  // of a lane that takes no part, anything
  if (!there && settings.races != nullptr) fault(t, line, "a shuffle takes the value of a lane that takes no part");
  return {static_cast<uint32_t>(there ? got : t.poison), from.second};
}

// The sum, or the like, of the values of a mask's lanes: of each and the lanes before it, then the last lane's for all.
template <class T>
inline T reduced(const Thread& t, simt::Place at, T (*then)(T, T, T), T a, uint32_t mask) {
  int lanes[32], count = 0, rank = 0;
  for (int lane = 0; lane < 32; ++lane)
    if ((mask & present(t)) >> lane & 1) {
      if (lane == lane_of(t)) rank = count;
      lanes[count++] = lane;
    }
  const auto of = [&](int which) { return static_cast<T>(t.machine.meet(simt::Op::shuffle, mask, a, lanes[which], at)); };
  for (int step = 1; step < count; step *= 2) {
    const T before = of(rank < step ? rank : rank - step);
    if (rank >= step) a = then(before, a, T());
  }
  return of(count - 1);
}

// Four matrices of 8 rows of 16 bytes: lane 8 i + k gives the address of row k of matrix i, and has a word of each, lane
// 4 k + i word i of row k.
typedef unsigned __int128 uint128_t;

struct Rows {
  uint64_t at[4];

  Rows(const Thread& t, simt::Place place, uint64_t own, Line line) {
    checked<shared>(t, own, 16, line);
    const int lane = lane_of(t);
    for (int i = 0; i < 4; ++i) at[i] = t.machine.meet(simt::Op::shuffle, ~0u, own, 8 * i + lane / 4, place) + lane % 4 * 4;
  }
};
inline uint128_t load_matrices(const Thread& t, simt::Place place, uint64_t own, Line line) {
  const Rows rows(t, place, own, line);
  uint128_t made = 0;
  for (int i = 0; i < 4; ++i) made |= uint128_t{load<shared, uint32_t>(t, rows.at[i], line)} << 32 * i;
  return made;
}
inline void store_matrices(const Thread& t, simt::Place place, uint64_t own, uint128_t x, Line line) {
  const Rows rows(t, place, own, line);
  for (int i = 0; i < 4; ++i) store<shared>(t, rows.at[i], static_cast<uint32_t>(x >> 32 * i), line);
}

}  // namespace ptx
