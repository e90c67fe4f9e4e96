// What runtime.h tells the race finder (races.cpp), and what it answers.
#pragma once

#include <cstdint>

#include "machine.h"

namespace ptx {

enum Order : uint8_t { weak, relaxed, acquire, release, acq_rel, sc };
enum Scope : uint8_t { gpu, cta };  // gpu: or wider

struct Access {
  uint64_t at;  // on the host, also in shared memory
  uint32_t size;
  bool reads, writes;
  bool later;  // at any time until the thread waits for its copies
  Order order;
  Scope scope;
  int line;
};

// The access that one is not ordered with.
struct Race {
  uint32_t block, thread;
  int line;
  bool writes;
};

struct Finder {
  const Race* (*access)(const simt::Machine& machine, const Access& access);  // null: no race
  void (*fence)(const simt::Machine& machine, Order order);
  void (*meet)(const simt::Machine& machine, uint32_t lanes);  // before a barrier of so many lanes of a warp; 0: of the block
  void (*copied)(const simt::Machine& machine);                // the thread's copies are done
};

}  // namespace ptx
