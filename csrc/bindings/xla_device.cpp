// Handlers by which programs that JAX has compiled for a GPU launch the CUDA kernels, on XLA's stream and without waiting for it. In the
// SIMT shim the same run on the CPU, for the tests. fastblackout/jax/calls.py registers them.
#include "bindings/functions.h"

#include "bindings/xla_device.h"
#include "bindings/xla_handlers.h"

namespace fastblackout {
namespace {

bool asks_for_stream = true;

void* stream_of(const xla::CallFrame& frame) {
  xla::StreamArguments arguments{sizeof(arguments), nullptr, frame.context, nullptr};
  if (!asks_for_stream) return nullptr;
  if (const OfXla refused{frame.api->get_stream(&arguments)}; refused.error != nullptr) throw refused;
  return arguments.stream;
}

template <class Op, auto kernel>
void run_call(const XlaCall& call) {
  XlaDevice device(call, stream_of(call.frame));
  std::vector<Op> ops(static_cast<size_t>(call.slices));
  for (int64_t slice = 0; slice < call.slices; ++slice) {
    Op& op = ops[static_cast<size_t>(slice)];
    XlaReader<XlaDevice> read(call, slice, device, op);
    op.fields(read);
    device.lend(op);
  }
  device.launch(ops, kernel);
}

constexpr Named handlers[] = FB_XLA_HANDLERS(cuda);

PyObject* xla_handlers(PyObject*, PyObject*) { return capsules(handlers); }

PyMethodDef methods[] = {{"xla_handlers", xla_handlers, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

}  // namespace

void ask_for_stream(bool asks) { asks_for_stream = asks; }

int add_xla_device(PyObject* module, bool host_too) {
  ask_for_stream(!host_too);
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
