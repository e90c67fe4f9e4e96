// A thread of a kernel: what it is given, what is said where it does something wrong, and what the race finder is told.
#pragma once

#include <cstdint>
#include <string>

#include "arithmetic.h"
#include "machine.h"
#include "races.h"

namespace ptx {

// A variable in memory of a thread's own: one of a list of variables of its function and its callers.
struct Local {
  const Local* next;
  uint64_t begin, size;
};

struct Thread {
  const simt::Machine& machine;
  const unsigned char* const* parameters;
  const uint32_t* sizes;  // of the parameters, up to a 0
  uint64_t poison;
  const Local* locals = nullptr;
};

// Adds a variable to the list of its thread while its function runs.
struct Listed {
  Thread& t;
  const Local local;

  Listed(Thread& t, const unsigned char* begin, uint64_t size)
      : t(t), local{t.locals, reinterpret_cast<uint64_t>(begin), size} {
    t.locals = &local;
  }
  ~Listed() { t.locals = local.next; }
};

enum Space { known, generic, global, shared, local, param, constant };

// A line of the PTX, and the order in memory that its instruction makes.
struct Line {
  int number;
  Order order = weak;
  Scope scope = gpu;
};

// From which line on the PTX is of which place in the source, up to line 0; and the file of the PTX. (build.py)
struct Source {
  int line;
  const char* place;
};
extern const Source sources[];
extern const char file[];

// "line 7 of the PTX", with its place in the source where that is known.
inline std::string named(int line) {
  const char* place = nullptr;
  for (const Source* s = sources; s->line != 0 && s->line <= line; ++s) place = s->place;
  return "line " + std::to_string(line) + " of the PTX" + (place == nullptr ? "" : std::string(" (") + place + ")");
}

[[noreturn, gnu::noinline]] inline void fault(const Thread& t, Line line, const char* what) {
  static thread_local std::string text;
  text = named(line.number) + ": " + what;
  t.machine.fault(text.c_str());
  __builtin_unreachable();
}

constexpr char kWithinBlock[] = "an order within the block, which the race finder does not know";

// Tells the race finder of an access.
[[gnu::noinline]] inline void watch(const Thread& t, const Access& access, Line line) {
  if (access.at - reinterpret_cast<uint64_t>(t.machine.stacks) < t.machine.stacks_bytes) return;  // local memory
  if (line.scope == cta && line.order > relaxed) fault(t, line, kWithinBlock);
  const Race* const race = settings.races->access(t.machine, access);
  if (race == nullptr) return;
  static thread_local std::string text;
  const auto by = [](uint32_t thread, uint32_t block) {
    return " by thread " + std::to_string(thread) + " of block " + std::to_string(block);
  };
  const auto what = [](bool writes) { return std::string(writes ? "write" : "read"); };
  text = "a race: this " + what(access.writes) + " of " + std::to_string(access.size) + " bytes" +
         by(t.machine.thread, t.machine.block) + " is not ordered with the " + what(race->writes) + " of " + named(race->line) +
         by(race->thread, race->block) + "; the PTX is " + file;
  fault(t, line, text.c_str());
}
enum Does { reads = 1, writes = 2, later = 4 };
template <Space S>
inline void note(const Thread& t, const void* at, uint64_t size, int does, Line line) {
  if (settings.races == nullptr || !(S == generic || S == global || S == shared)) return;
  watch(t, {reinterpret_cast<uint64_t>(at), static_cast<uint32_t>(size), (does & reads) != 0, (does & writes) != 0,
            (does & later) != 0, line.order, line.scope, line.number}, line);
}

}  // namespace ptx
