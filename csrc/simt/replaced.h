// Kernels compiled elsewhere, as from nvcc's PTX (tests/ptx), that run in place of those compiled from source: a launch
// (cuda.h) looks its kernel up here.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "simt/machine.h"

namespace simt {

struct Replaced {
  std::string name;
  Run run;
  size_t shared;              // bytes of its static shared memory
  std::vector<size_t> sizes;  // of its parameters
  unsigned launches = 0;
};

void replace(const void* kernel, Replaced by);
void restore();                          // every kernel
Replaced* replaced(const void* kernel);  // null: it runs as it is
std::vector<const Replaced*> all_replaced();

// Starts a kernel with `given` bytes of shared memory beside its static ones.
void launch_replaced(Replaced& kernel, size_t given, unsigned blocks, unsigned threads, const unsigned char* const* parameters,
                     const std::vector<size_t>& sizes);

}  // namespace simt
