// The part of XLA's foreign function interface (FFI) that is used here: how XLA hands a compiled program's arrays to a function in C.
// https://openxla.org/xla/custom_call describes it. It is a C ABI with a version, of which only fields are declared that have been in
// place since 0.1, under names of our own: so the build needs no headers of jaxlib, and one build serves all versions of jaxlib.
// tests/backends/test_xla_abi.py compares places, sizes and numbers with the header of the jaxlib that is installed.
//
// Every struct begins with its size in bytes and a list of extensions, as XLA's version of it has them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fastblackout/xla_number.h"

namespace fastblackout {
namespace xla {

constexpr int kMajor = 0, kMinor = 1;  // the version of the interface that this is written for

// The dtypes are numbered in fastblackout/xla_number.h.
enum class AttributeType : int { scalar = 3, string = 4 };
enum class Stage : int { execute = 3 };
enum class Code : int { invalid_argument = 3, resource_exhausted = 8, internal = 13 };
constexpr int kBuffer = 1;     // of an argument or a result
constexpr int kMetadata = 1;   // of an extension

struct Extension {
  size_t size;
  int kind;
  Extension* next;
};

struct Version {
  size_t size;
  Extension* extensions;
  int major, minor;
};

// Asked of a handler when it is registered: which version of the interface it was written for.
struct Metadata {
  size_t size;
  Version version;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

struct Error;  // XLA's own

struct ErrorArguments {
  size_t size;
  Extension* extensions;
  const char* message;
  Code code;
};

// Asked of XLA: the stream on which a device runs the program's work in turn.
struct StreamArguments {
  size_t size;
  Extension* extensions;
  void* context;  // of the call frame
  void* stream;   // set by XLA
};

struct Api {
  size_t size;
  Extension* extensions;
  Version version;
  const void* internal;
  Error* (*create_error)(ErrorArguments*);
  const void *unused_message, *unused_destroy, *unused_register;
  Error* (*get_stream)(StreamArguments*);
};

// A dense array in C order.
struct Buffer {
  size_t size;
  Extension* extensions;
  Type type;
  void* data;
  int64_t rank;
  int64_t* sizes;
};

struct Text {
  const char* data;
  size_t size;
};

struct Scalar {
  Type type;
  void* data;
};

struct Buffers {  // arguments, or results
  size_t size;
  Extension* extensions;
  int64_t count;
  int* kinds;
  void** each;
};

struct Attributes {  // sorted by name
  size_t size;
  Extension* extensions;
  int64_t count;
  AttributeType* types;
  Text** names;
  void** each;
};

struct CallFrame {
  size_t size;
  Extension* extensions;
  const Api* api;
  void* context;
  Stage stage;
  Buffers arguments, results;
  Attributes attributes;
};

using Handler = Error*(CallFrame*);

}  // namespace xla
}  // namespace fastblackout
