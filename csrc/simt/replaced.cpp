// The table of replaced.h, and how a thread of such a kernel is run.
#include <atomic>
#include <map>
#include <stdexcept>

#include "simt/cuda.h"

namespace simt {
namespace {

std::map<const void*, Replaced>& table() {
  static std::map<const void*, Replaced> kernels;
  return kernels;
}

}  // namespace

void replace(const void* kernel, Replaced by) { table()[kernel] = std::move(by); }

void restore() { table().clear(); }

Replaced* replaced(const void* kernel) {
  const auto found = table().find(kernel);
  return found == table().end() ? nullptr : &found->second;
}

std::vector<const Replaced*> all_replaced() {
  std::vector<const Replaced*> all;
  for (const auto& entry : table()) all.push_back(&entry.second);
  return all;
}

void launch_replaced(Replaced& kernel, size_t given, unsigned blocks, unsigned threads, const unsigned char* const* parameters,
                     const std::vector<size_t>& sizes) {
  if (sizes != kernel.sizes) throw std::runtime_error("simt: " + kernel.name + ": its parameters have other sizes");
  __atomic_fetch_add(&kernel.launches, 1u, __ATOMIC_RELAXED);
  static std::atomic<uint64_t> number{0};
  const uint64_t launch_number = ++number;
  const size_t bytes = kernel.shared + given;
  auto run = [&] {
    unsigned char* const memory = static_cast<unsigned char*>(given_memory);
    const Machine machine{launch_number, thread_index.x, block_size.x, block_index.x, grid_size.x, memory, bytes, stacks, stacks_bytes, meet, fence, fault};
    kernel.run(machine, parameters);
  };
  launch(bytes, blocks, threads, [](void* context) { (*static_cast<decltype(run)*>(context))(); }, &run);
}

}  // namespace simt
