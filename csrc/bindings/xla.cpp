// Handlers by which programs that JAX has compiled call the CPU's kernels: XLA's threads run them, without Python and its GIL.
// fastblackout/jax/calls.py registers them, and layout.py there lays out their arguments.
#include "bindings/functions.h"

#include <algorithm>
#include <type_traits>

#include "bindings/xla_handlers.h"
#include "bindings/xla_host.h"
#include "cpu/support/pool.h"

namespace fastblackout {
namespace cpu {
namespace {

void model_input(const ModelInput& op) {
  int64_t x[kChunk];
  float input[kChunk];
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    for (int64_t i0 = 0; i0 < op.elements; i0 += kChunk) {
      const int count = static_cast<int>(std::min<int64_t>(kChunk, op.elements - i0));
      scalar::load(op.x, sample, i0, count, x);
      for (int k = 0; k < count; ++k) input[k] = (static_cast<float>(x[k]) - op.input.center[sample]) * op.input.scale[sample];
      scalar::store(op.input.out, sample, i0, count, input);
    }
  }
}

}  // namespace
}  // namespace cpu

namespace {

cpu::Isa chosen;  // the instruction set to use where none is asked for

template <class Op, auto kernel>
void run_slice(const XlaCall& call, int64_t slice, int threads) {
  Op op;
  op.threads = threads;
  op.isa = call.isa < 0 ? chosen : static_cast<cpu::Isa>(call.isa);
  XlaHost host(call);
  XlaReader<XlaHost> read(call, slice, host, op);
  op.fields(read);
  if constexpr (std::is_same<Op, cpu::Poisson>::value) host.widen(op.out);
  kernel(op);
  host.narrow(std::is_same<Op, cpu::Poisson>::value ? "rate" : "overshoot");
}

// Slices run one after another, each on all threads, or side by side where there are enough of them.
template <class Op, auto kernel>
void run_call(const XlaCall& call) {
  const int threads = static_cast<int>(call.threads);
  if (threads == 1 || call.slices < threads) {
    for (int64_t slice = 0; slice < call.slices; ++slice) run_slice<Op, kernel>(call, slice, threads);
    return;
  }
  const auto part = [](void* context, int64_t begin, int64_t end) {
    for (int64_t slice = begin; slice < end; ++slice) run_slice<Op, kernel>(*static_cast<const XlaCall*>(context), slice, 1);
  };
  cpu::parallel_for(call.slices, threads, part, const_cast<XlaCall*>(&call));
}

constexpr Named handlers[] = FB_XLA_HANDLERS(cpu);

PyObject* xla_handlers(PyObject*, PyObject*) { return capsules(handlers); }

// with_default_floats(function) -> function(), for what Python computes itself (fastblackout/backends/float_mode.py)
PyObject* with_default_floats(PyObject*, PyObject* function) {
  const DefaultFloats floats;
  return PyObject_CallNoArgs(function);
}

PyMethodDef methods[] = {{"xla_handlers", xla_handlers, METH_NOARGS, nullptr},
                         {"with_default_floats", with_default_floats, METH_O, nullptr},
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

int add_xla(PyObject* module, cpu::Isa isa) {
  chosen = isa;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
