// What handlers of XLA's foreign function interface share (xla.cpp, xla_device.cpp): which ops have one, how a call begins and ends, and
// how Python gets them.
#pragma once

#include <Python.h>

#include <new>

#include "bindings/default_floats.h"
#include "bindings/xla_reader.h"

namespace fastblackout {
namespace {

// The gradient of birth_loss by the logits, with the gradient by the loss as an argument of its own.
template <class BirthLoss>
struct LossGradient : BirthLoss {
  template <class Read>
  void fields(Read& read) {
    this->inputs(read);
    read.multiply(this->weight);
    read.outputs(this->grad);
  }
};

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

// What is thrown for an error that XLA has made, and is given back to it.
struct OfXla {
  xla::Error* error;
};

template <void (*run)(const XlaCall&)>
xla::Error* handle(xla::CallFrame* frame) {
  if (tells_version(*frame)) return nullptr;
  try {
    const DefaultFloats floats;
    run(XlaCall(*frame));
    return nullptr;
  } catch (const OfXla& theirs) {
    return theirs.error;
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

// The handlers of a backend, cpu or cuda, by run_call<Op, kernel>(call), which runs a kernel for a call.
#define FB_XLA_HANDLERS(backend)                                                                               \
  {                                                                                                            \
    {"thin", handle<run_call<backend::Thin, backend::thin>>},                                                  \
    {"bridge_step", handle<run_call<backend::Bridge, backend::bridge>>},                                       \
    {"tau_leap_step", handle<run_call<backend::TauLeap, backend::tau_leap>>},                                  \
    {"binomial", handle<run_call<backend::Binomial, backend::binomial>>},                                      \
    {"poisson", handle<run_call<backend::Poisson, backend::poisson>>},                                         \
    {"birth_loss", handle<run_call<backend::BirthLoss, backend::birth_loss>>},                                 \
    {"birth_loss_backward", handle<run_call<LossGradient<backend::BirthLoss>, backend::birth_loss_gradient>>}, \
    {"model_input", handle<run_call<backend::ModelInput, backend::model_input>>},                              \
  }

// {op: capsule of its handler}
template <size_t count>
PyObject* capsules(const Named (&handlers)[count]) {
  PyObject* const dict = PyDict_New();
  for (const Named& each : handlers) {
    PyObject* const capsule = dict == nullptr ? nullptr : PyCapsule_New(reinterpret_cast<void*>(each.handler), nullptr, nullptr);
    const bool kept = capsule != nullptr && PyDict_SetItemString(dict, each.name, capsule) == 0;
    Py_XDECREF(capsule);
    if (kept) continue;
    Py_XDECREF(dict);
    return nullptr;
  }
  return dict;
}

}  // namespace
}  // namespace fastblackout
