// Tables of thresholds (table.cuh) that are kept in a device's memory, since the same probability comes again: in every batch for
// a schedule's steps, and in every block for one probability of all samples. A block that finds its probability here copies the
// table from L2 instead of making it. What is kept is as large as it will ever be from the start, nothing waits for another
// block, and a table that is kept stays, so that streams and replays of CUDA graphs may use it at any time.
#pragma once

#include "cuda/buckets.cuh"
#include "cuda/checks.cuh"

namespace fastblackout::cuda {
namespace {

#if !defined(FB_KEPT_TABLES)  // a test has fewer
#define FB_KEPT_TABLES 1024
#endif
constexpr uint32_t kKeptTables = FB_KEPT_TABLES, kKeptPlaces = 8 * kKeptTables;
constexpr uint32_t kTableWords = (kUpperEntries + kLowerEntries + kThresholds) / 4;  // of 16 bytes

// A place of the index, which a probability has by its hash. Its state is 0, one of these, or the mark of the probability that was
// missed here last: it is kept when it is missed again at once, so that probabilities that never come again take nothing.
constexpr uint32_t kWritten = 1, kBeingWritten = 2, kLeastMark = 4;
struct KeptPlace {
  uint64_t p, q;
  uint32_t max_count, table, state;
};

struct Kept {  // all zeros when the module is loaded
  KeptPlace places[kKeptPlaces];
  uint32_t tables_taken;
  Word4 tables[kKeptTables][kTableWords];
};

FB_DEVICE Kept& kept() {
  static __device__ Kept memory;  // of each kernel file its own
  return memory;
}

// What a block does with its table: nothing, copy the one that is kept, or store the one that it makes.
enum KeptAction : uint8_t { kLeave, kCopy, kStore };
struct KeptTable {
  uint16_t place, table;
  KeptAction action;
};
static_assert(kKeptPlaces <= 1 << 16, "");

// By one thread.
FB_DEVICE KeptTable look_up(const PQ& pair, int max_count) {
  const uint64_t p = bit_cast<uint64_t>(pair.p), q = bit_cast<uint64_t>(pair.q);
  const uint32_t limit = static_cast<uint32_t>(max_count);
  const uint64_t mixed = (p ^ limit) * 0x9e3779b97f4a7c15u, hash = (mixed ^ mixed >> 32 ^ q) * 0xbf58476d1ce4e5b9u;
  const uint32_t number = static_cast<uint32_t>(hash >> 32) % kKeptPlaces, mark = static_cast<uint32_t>(hash >> 16) | kLeastMark;
  KeptPlace& place = kept().places[number];
  const uint32_t state = load_acquire(&place.state);
  const auto found = [&](KeptAction action) {
    return KeptTable{static_cast<uint16_t>(number), static_cast<uint16_t>(place.table), action};
  };
  if (state == kWritten) return found(place.p == p && place.q == q && place.max_count == limit ? kCopy : kLeave);
  const KeptTable none{0, 0, kLeave};
  if (state == kBeingWritten) return none;
  if (state != mark) {
    atomicCAS(&place.state, state, mark);
    return none;
  }
  // The count goes beyond the tables by no more than the blocks that come here at once.
  if (load_acquire(&kept().tables_taken) >= kKeptTables) return none;
  if (atomicCAS(&place.state, mark, kBeingWritten) != mark) return none;
  const uint32_t table = atomicAdd(&kept().tables_taken, 1u);
  if (table >= kKeptTables) return none;  // the place stays as it is: no table is left for any
  place.p = p;
  place.q = q;
  place.max_count = limit;
  place.table = table;
  return found(kStore);
}

// By all threads, none of which may read the copy before a barrier.
FB_DEVICE void copy_kept(const KeptTable& from, Word4* table) {
  const Word4* const words = kept().tables[from.table];
#pragma unroll 1
  for (uint32_t at = threadIdx.x; at < kTableWords; at += kThreads) copy_async(table + at, words + at);
  wait_for_copies();
}

// Stores a table where others will find it; by all threads.
FB_DEVICE void keep_table(const KeptTable& to, const Word4* table) {
  Word4* const words = kept().tables[to.table];
#pragma unroll 1
  for (uint32_t at = threadIdx.x; at < kTableWords; at += kThreads) words[at] = table[at];
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) store_release(&kept().places[to.place].state, kWritten);
}

}  // namespace
}  // namespace fastblackout::cuda
