// What a kernel that was compiled elsewhere is given in each of its threads, when it runs on the shim's fibers (replaced.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

enum class Op { syncthreads, syncwarp, shuffle, ballot };

struct Place {  // where in the source a thread waits
  const char* name;
  const char* file;
  int line;
};

struct Machine {
  uint64_t launch;                          // its number since the program began
  uint32_t thread, threads, block, blocks;  // indices and sizes in x
  unsigned char* shared;                    // the block's memory, static and given at the launch
  size_t shared_bytes;
  const char* stacks;                       // of the block's threads: nothing but their local variables may lie there
  size_t stacks_bytes;
  uint64_t (*meet)(Op op, unsigned mask, uint64_t value, int lane, Place place);  // as in cuda.h
  void (*fence)();
  void (*fault)(const char* text);  // ends the launch; never returns
};

// Runs a thread of a kernel, given the address of each of its parameters.
using Run = void (*)(const Machine& machine, const unsigned char* const* parameters);

}  // namespace simt
