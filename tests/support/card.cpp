// The functions of CUDA's runtime that the module _cuda calls, without a card: a launch runs nothing, is recorded, and is
// refused where a card would refuse it. Linked with what nvcc made of the module, in place of the runtime (card.py).
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

struct dim3 {
  unsigned x, y, z;
};

namespace {

enum Error { kSuccess = 0, kInvalidValue = 1, kInvalidConfiguration = 9, kOutOfResources = 701, kInvalidDevice = 101 };
constexpr int kUsual = 48 * 1024, kMaxDynamic = 8, kMostOptin = 97;  // cudaFuncAttribute..., cudaDevAttr...: their numbers
constexpr int kRegisters = 65536, kThreads = 1024;  // of a block, on every card from sm_80 on

struct Kernel {
  const char* name;
  int shared, registers;            // static bytes; registers of a thread
  std::map<int, int> most_dynamic;  // by device, where it is not the usual
};

struct Launch {
  const char* kernel;
  int64_t stream;
  int32_t device, blocks, threads, fixed, given, opted_in;  // fixed, given: bytes of shared memory, static and of the launch
};

struct Configuration {
  dim3 grid, block;
  size_t shared;
  void* stream;
};

std::vector<Launch> launches;
std::vector<Configuration> configurations;
int most_of_a_block = kUsual, device = 0, asked = 0;
Error last = kSuccess;

std::map<const void*, Kernel>& kernels() {  // there before what nvcc made registers its kernels
  static std::map<const void*, Kernel> all;
  return all;
}

int told(Error error) {
  if (error != kSuccess) last = error;
  return error;
}

int most_dynamic(const Kernel& kernel) {
  const auto found = kernel.most_dynamic.find(device);
  return found == kernel.most_dynamic.end() ? kUsual - kernel.shared : found->second;
}

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* kernel, char*, const char* name, int, void*, void*, void*, void*, int*) {
  kernels()[kernel] = Kernel{name, 0, 0, {}};
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
int __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void** stream) {
  const Configuration& given = configurations.back();
  *grid = given.grid;
  *block = given.block;
  *shared = given.shared;
  *stream = given.stream;
  configurations.pop_back();
  return kSuccess;
}
int __cudaGetKernel(const void** to, const void* kernel) {
  *to = kernel;
  return kSuccess;
}
int __cudaLaunchKernel(const void* at, dim3 grid, dim3 block, void**, size_t shared, void* stream) {
  const Kernel& kernel = kernels().at(at);
  const int registers = (kernel.registers + 7) / 8 * 8 * static_cast<int>(block.x);
  if (grid.x == 0 || grid.x > 0x7fffffffu || grid.y * grid.z * block.y * block.z != 1 || block.x == 0 || block.x > kThreads)
    return told(kInvalidConfiguration);
  if (registers > kRegisters) return told(kOutOfResources);
  if (kernel.shared > kUsual || static_cast<int64_t>(shared) > most_dynamic(kernel)) return told(kInvalidValue);
  launches.push_back({kernel.name, reinterpret_cast<int64_t>(stream), device, static_cast<int32_t>(grid.x), static_cast<int32_t>(block.x),
                      kernel.shared, static_cast<int32_t>(shared), kernel.most_dynamic.count(device) != 0});
  return kSuccess;
}

int cudaFuncGetAttributes(size_t* attributes, const void* at) {  // of which the static bytes are the first
  attributes[0] = static_cast<size_t>(kernels().at(at).shared);
  return kSuccess;
}
int cudaFuncSetAttribute(const void* at, int attribute, int value) {
  Kernel& kernel = kernels().at(at);
  ++asked;
  if (attribute != kMaxDynamic || value < 0 || kernel.shared + value > most_of_a_block) return told(kInvalidValue);
  kernel.most_dynamic[device] = value;
  return kSuccess;
}
int cudaDeviceGetAttribute(int* value, int attribute, int of) {
  if (attribute != kMostOptin || of != device) return told(kInvalidValue);
  *value = most_of_a_block;
  return kSuccess;
}
int cudaGetDevice(int* to) {
  *to = device;
  return kSuccess;
}
int cudaSetDevice(int to) {
  if (to < 0) return told(kInvalidDevice);
  device = to;
  return kSuccess;
}
int cudaGetLastError() {
  const Error error = last;
  last = kSuccess;
  return error;
}
const char* cudaGetErrorString(int error) { return error == kInvalidValue ? "invalid argument" : "another error"; }
int cudaStreamIsCapturing(void*, int* status) {
  *status = 0;
  return kSuccess;
}

// For card.py: cards whose blocks have so much shared memory; what a kernel takes; what was launched since the first call, and how
// often more shared memory was asked for.
void card_begin(int shared_of_a_block) {
  most_of_a_block = shared_of_a_block;
  launches.clear();
  asked = 0;
}
int card_kernel(const char* name, int shared, int registers) {
  int found = 0;
  for (auto& [at, kernel] : kernels()) {
    if (std::strcmp(kernel.name, name) != 0) continue;
    kernel.shared = shared;
    kernel.registers = registers;
    ++found;
  }
  return found;
}
int card_asked() { return asked; }
int card_launches(const Launch** first) {
  *first = launches.data();
  return static_cast<int>(launches.size());
}

}  // extern "C"
