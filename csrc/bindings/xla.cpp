// Handlers by which programs that JAX has compiled call the CPU's kernels: XLA's threads run them, without Python and its GIL.
// fastblackout/jax/ffi.py registers them, and layout.py there lays out their arguments.
#include "bindings/xla.h"

#include <algorithm>
#include <new>
#include <type_traits>

#include "bindings/default_floats.h"
#include "bindings/xla_reader.h"
#include "cpu/support/pool.h"

namespace fastblackout {
namespace {

cpu::Isa chosen;  // the instruction set to use where none is asked for

// The gradient of birth_loss by the logits, with the gradient by the loss as an argument of its own.
struct LossGradient : cpu::BirthLoss {
  cpu::PerSample<float> upstream;

  template <class Read>
  void fields(Read& read) {
    inputs(read);
    read.unchecked(upstream);
    read.outputs(grad);
    const int64_t count = std::max(weight.distinct(samples), upstream.distinct(samples));
    weight = read.room().keep(count, [this](int64_t b) { return weight[b] * static_cast<double>(upstream[b]); });
  }
};

void gradient(const LossGradient& op) { cpu::birth_loss_gradient(op); }

// The model input of counts that stay as they are, since a mask leaves them out: (x - center) * scale.
struct ModelInput : cpu::Common {
  cpu::View x;
  cpu::Input input;

  template <class Read>
  void fields(Read& read) {
    read(x, input.center, input.scale);
    read.outputs(input.out);
  }
};

void model_input(const ModelInput& op) {
  int64_t x[cpu::kChunk];
  float made[cpu::kChunk];
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    for (int64_t i0 = 0; i0 < op.elements; i0 += cpu::kChunk) {
      const int count = static_cast<int>(std::min<int64_t>(cpu::kChunk, op.elements - i0));
      cpu::scalar::load(op.x, sample, i0, count, x);
      for (int k = 0; k < count; ++k) made[k] = (static_cast<float>(x[k]) - op.input.center[sample]) * op.input.scale[sample];
      cpu::scalar::store(op.input.out, sample, i0, count, made);
    }
  }
}

template <class Op>
constexpr bool of_elements = std::is_same<Op, cpu::Binomial>::value || std::is_same<Op, cpu::Poisson>::value;

template <class Op, void (*kernel)(const Op&)>
void run_slice(const XlaCall& call, int64_t slice, int threads) {
  Op op;
  op.threads = threads;
  op.isa = call.isa < 0 ? chosen : static_cast<cpu::Isa>(call.isa);
  XlaReader read(call, slice, of_elements<Op>, op);
  op.fields(read);
  if constexpr (std::is_same<Op, cpu::Poisson>::value) read.widen(op.out);
  kernel(op);
  read.narrow(std::is_same<Op, cpu::Poisson>::value ? "poisson: rate" : "tau_leap_step: overshoot");
}

// Slices run one after another, each on all threads, or side by side where there are enough of them.
template <class Op, void (*kernel)(const Op&)>
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

// Whether XLA only asks for which version of the interface this is written, and the answer.
bool tells_version(const xla::CallFrame& frame) {
  for (xla::Extension* each = frame.extensions; each != nullptr; each = each->next) {
    if (each->kind != xla::kMetadata) continue;
    xla::Version& version = reinterpret_cast<xla::MetadataExtension*>(each)->metadata->version;
    version.major = xla::kMajor;
    version.minor = xla::kMinor;
    return true;
  }
  return false;
}

xla::Error* error(const xla::CallFrame& frame, const char* message, xla::Code code) {
  xla::ErrorArguments arguments{sizeof(arguments), nullptr, message, code};
  return frame.api->create_error(&arguments);
}

template <class Op, void (*kernel)(const Op&)>
xla::Error* handle(xla::CallFrame* frame) {
  if (tells_version(*frame)) return nullptr;
  try {
    const DefaultFloats floats;
    run_call<Op, kernel>(XlaCall(*frame));
    return nullptr;
  } catch (const std::invalid_argument& wrong) {
    return error(*frame, wrong.what(), xla::Code::invalid_argument);
  } catch (const std::bad_alloc&) {
    return error(*frame, "fastblackout: out of memory", xla::Code::resource_exhausted);
  } catch (const std::exception& wrong) {
    return error(*frame, wrong.what(), xla::Code::internal);
  }
}

struct Named {
  const char* name;
  xla::Handler* handler;
};

constexpr Named handlers[] = {
    {"thin", handle<cpu::Thin, cpu::thin>},
    {"bridge_step", handle<cpu::Bridge, cpu::bridge>},
    {"tau_leap_step", handle<cpu::TauLeap, cpu::tau_leap>},
    {"binomial", handle<cpu::Binomial, cpu::binomial>},
    {"poisson", handle<cpu::Poisson, cpu::poisson>},
    {"birth_loss", handle<cpu::BirthLoss, cpu::birth_loss>},
    {"birth_loss_backward", handle<LossGradient, gradient>},
    {"model_input", handle<ModelInput, model_input>},
};

// xla_handlers() -> {op: capsule of its handler}
PyObject* xla_handlers(PyObject*, PyObject*) {
  PyObject* const made = PyDict_New();
  for (const Named& each : handlers) {
    PyObject* const capsule = made == nullptr ? nullptr : PyCapsule_New(reinterpret_cast<void*>(each.handler), nullptr, nullptr);
    const bool kept = capsule != nullptr && PyDict_SetItemString(made, each.name, capsule) == 0;
    Py_XDECREF(capsule);
    if (kept) continue;
    Py_XDECREF(made);
    return nullptr;
  }
  return made;
}

// with_default_floats(function) -> function(), for Python that XLA calls back
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
