// What the race finder (races.cpp) remembers: clocks, and for each word of memory who did what to it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "races.h"

namespace ptx {

// A block's time goes on whenever something orders its threads. A clock says up to when all is known that the lanes of a
// warp did.
using Times = std::array<uint32_t, 32>;
using Clock = std::shared_ptr<const std::map<uint64_t, Times>>;  // by warp; null: nothing is known

constexpr uint32_t kLater = ~0u;  // the time of a copy that nobody has waited for
// So many reads of a word, and strong writes, by blocks that are done are remembered.
constexpr int kPast = 32;

inline uint64_t warp_of(uint32_t block, uint32_t warp) { return static_cast<uint64_t>(block) << 16 | warp; }

inline void raise(Times& a, const Times& b) {
  for (int lane = 0; lane < 32; ++lane) a[lane] = std::max(a[lane], b[lane]);
}

inline void join(Clock& a, const Clock& b) {
  if (b == nullptr || a == b) return;
  if (a == nullptr) {
    a = b;
    return;
  }
  auto both = std::make_shared<std::map<uint64_t, Times>>(*a);
  for (const auto& [warp, times] : *b) raise((*both)[warp], times);
  a = std::move(both);
}

// The accesses of a word by one instruction in some lanes of a warp at one time.
struct Record {
  Record* next;
  uint32_t block, warp, time, lanes, size;
  int line;
  uint8_t bytes;  // of the word, as bits
  bool writes, strong;
  Scope scope;
};

// What was done to 8 bytes of memory: now, by the block that runs, and before, by others.
struct Word {
  uint32_t block = ~0u;
  Record *now = nullptr, *reads = nullptr, *writes = nullptr;
};

// What is learnt from a strong read of a place: what was known to those who wrote it.
struct Told {
  Clock fenced, far_fenced;
};

// Words and records are made as they are asked for.
class Memory {
 public:
  std::unordered_map<uint64_t, Told> told;  // by address

  Word& word(uint64_t at) {
    const uint64_t page = at >> 12;
    if (last_ == nullptr || page != last_page_) {
      auto& words = pages_[page];
      if (words == nullptr) words = std::make_unique<Words>();
      last_ = words.get();
      last_page_ = page;
    }
    return (*last_)[at >> 3 & 511];
  }
  Record* record(const Record& of) {
    Record* made = spare_;
    if (made != nullptr) spare_ = made->next;
    else {
      if (used_ == kChunk * chunks_.size()) chunks_.emplace_back(new Record[kChunk]);
      made = &chunks_[used_ / kChunk][used_ % kChunk];
      ++used_;
    }
    *made = of;
    return made;
  }
  void drop(Record*& at) {
    Record* const gone = at;
    at = gone->next;
    gone->next = spare_;
    spare_ = gone;
  }
  void forget() {
    pages_.clear();
    told.clear();
    last_ = nullptr;
    spare_ = nullptr;
    used_ = 0;
  }

 private:
  using Words = std::array<Word, 512>;
  static constexpr size_t kChunk = 4096;
  std::unordered_map<uint64_t, std::unique_ptr<Words>> pages_;
  Words* last_ = nullptr;
  uint64_t last_page_ = 0;
  std::vector<std::unique_ptr<Record[]>> chunks_;
  size_t used_ = 0;
  Record* spare_ = nullptr;
};

}  // namespace ptx
