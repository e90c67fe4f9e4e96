// The scheduler of the SIMT shim (cuda.h): the threads of a block run in turn, each until it waits or returns; a wait ends when
// all threads have come that it waits for.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "simt/cuda.h"
#include "simt/fiber.h"

namespace simt {

thread_local Index thread_index, block_index, block_size, grid_size;
thread_local void* given_memory;
thread_local char* stacks;
thread_local size_t stacks_bytes;

namespace {

constexpr size_t kStack = 256 * 1024;  // of which only what is used takes memory
enum class State { ready, waiting, done };

// Where threads wait for one another, as addresses for publish and observe (fiber.h). Two addresses take turns, since a thread
// that has left may come to its next wait before another thread has left this one.
struct Meeting {
  unsigned turn = 0;
  uint64_t places[2] = {};

  void* place() { return &places[turn % 2]; }
};

struct Thread {
  Context context;
  State state;
  Op op;
  unsigned mask;
  uint64_t value;
  int lane;
  Place place;
  Meeting meeting;  // for the lanes of a mask of which this thread is the first
};

struct Settings {
  std::string schedule = "forward";
  uint64_t seed = 0;
  int os_threads = 1;
  unsigned first_block = 0, blocks = ~0u;
} settings;

// What an OS thread has to run blocks, one after the other.
struct Worker {
  std::vector<Thread> threads;
  std::unique_ptr<void, void (*)(void*)> shared{nullptr, std::free};  // on the heap, so that AddressSanitizer guards its ends
  size_t shared_bytes = 0;
  std::vector<unsigned> order;
  Context scheduler;
  unsigned current = 0;
  uint64_t random = 0;
  void (*body)(void*) = nullptr;
  void* context = nullptr;
  std::string error;
  uint64_t begun = 0, left = 0;  // addresses for publish and observe: the block has begun, a thread has stopped
  Meeting meeting;               // of the whole block

  uint64_t next_random() {  // splitmix64
    uint64_t z = random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  void run_block();
  void leave() { observe(&left); }  // what follows is ordered after all that the block did
  // The first lane of a mask in the warp of a thread.
  Thread& first_of(unsigned thread, unsigned mask) {
    return threads[thread / 32 * 32 + static_cast<unsigned>(__builtin_ctz(mask | 0x80000000u))];
  }
  bool release_warp(unsigned warp);
  bool release_block();
  std::string stuck() const;
};

thread_local Worker* worker;

void entry() {
  Worker& w = *worker;
  observe(&w.begun);
  w.body(w.context);
  publish(&w.left);
  w.threads[w.current].state = State::done;
  switch_to(w.threads[w.current].context, w.scheduler);
}

bool same(const Place& a, const Place& b) { return a.line == b.line && std::strcmp(a.file, b.file) == 0; }

std::string where(const Thread& t, unsigned index) {
  const std::string name = "thread " + std::to_string(index);
  if (t.state != State::waiting) return name + " has returned";
  const char* slash = std::strrchr(t.place.file, '/');
  return name + " waits at " + t.place.name + " (" + (slash ? slash + 1 : t.place.file) + ":" + std::to_string(t.place.line) + ")";
}

// Lets the lanes of a warp go on if all lanes of their mask wait with the same mask at the same place; returns whether any do.
bool Worker::release_warp(unsigned warp) {
  const unsigned first = warp * 32, end = std::min<unsigned>(first + 32, static_cast<unsigned>(threads.size()));
  const unsigned present = end - first == 32 ? 0xffffffffu : (1u << (end - first)) - 1;
  bool any = false;
  for (unsigned leader = first; leader < end; ++leader) {
    const Thread& l = threads[leader];
    if (l.state != State::waiting || l.op == Op::syncthreads) continue;
    const unsigned mask = l.mask & present;
    bool complete = true;
    uint64_t values[32] = {}, ballot = 0;
    for (unsigned lane = 0; first + lane < end; ++lane) {
      if ((mask >> lane & 1u) == 0) continue;
      const Thread& t = threads[first + lane];
      complete = t.state == State::waiting && t.op == l.op && t.mask == l.mask && same(t.place, l.place);
      if (!complete) break;
      values[lane] = t.value;
      ballot |= (t.value & 1u) << lane;
    }
    if (!complete) continue;
    if (l.op == Op::syncwarp) ++first_of(leader, l.mask).meeting.turn;
    for (unsigned lane = 0; first + lane < end; ++lane) {
      if ((mask >> lane & 1u) == 0) continue;
      Thread& t = threads[first + lane];
      const bool inside = t.lane >= 0 && t.lane < 32 && (mask >> t.lane & 1u) != 0;
      if (t.op == Op::ballot) t.value = ballot;
      if (t.op == Op::shuffle && inside) t.value = values[t.lane];
      t.state = State::ready;
    }
    any = true;
  }
  return any;
}

// Lets the threads of a block go on if all wait at the same __syncthreads; returns whether they do.
bool Worker::release_block() {
  for (const Thread& t : threads)
    if (t.state != State::waiting || t.op != Op::syncthreads || !same(t.place, threads[0].place)) return false;
  for (Thread& t : threads) t.state = State::ready;
  ++meeting.turn;
  return true;
}

// The message that says why nothing can go on.
std::string Worker::stuck() const {
  for (unsigned i = 0; i < threads.size(); ++i) {
    const Thread& t = threads[i];
    if (t.state != State::waiting || t.op == Op::syncthreads) continue;
    for (unsigned lane = 0; lane < 32; ++lane) {
      const unsigned other = i / 32 * 32 + lane;
      if ((t.mask >> lane & 1u) == 0 || other >= threads.size()) continue;
      const Thread& o = threads[other];
      if (o.state == State::waiting && o.op == t.op && o.mask == t.mask && same(o.place, t.place)) continue;
      char mask[16];
      std::snprintf(mask, sizeof(mask), "0x%08x", t.mask);
      const std::string kind = o.state == State::waiting ? "deadlock: lane " : "lane ";
      return kind + std::to_string(lane) + " of the mask " + mask + " is missing: " + where(t, i) + ", " + where(o, other);
    }
  }
  for (unsigned i = 0; i < threads.size(); ++i) {
    if (threads[i].state != State::waiting) continue;
    for (unsigned j = 0; j < threads.size(); ++j)
      if (threads[j].state == State::done || !same(threads[i].place, threads[j].place))
        return "divergent barrier: " + where(threads[i], i) + ", " + where(threads[j], j);
  }
  return "deadlock";
}

void Worker::run_block() {
  if (shared_bytes != 0) std::memset(shared.get(), static_cast<int>(0xa5u ^ block_index.x * 37u), shared_bytes);  // holds anything
  for (unsigned i = 0; i < threads.size(); ++i) {
    threads[i].state = State::ready;
    prepare(threads[i].context, stacks + i * kStack, kStack, entry);
  }
  publish(&begun);  // what came before the launch is ordered before the block
  for (size_t done = 0; done < threads.size();) {
    bool progress = false;
    if (settings.schedule == "random")
      for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[next_random() % (i + 1)]);
    for (const unsigned i : order) {
      if (threads[i].state != State::ready) continue;
      progress = true;
      current = i;
      thread_index.x = i;
      switch_to(scheduler, threads[i].context);
      if (!error.empty()) return leave();
      if (threads[i].state == State::done) ++done;
      else if (threads[i].op != Op::syncthreads) release_warp(i / 32);
    }
    progress = release_block() || progress;
    if (done == threads.size()) return leave();
    bool ready = false;
    for (const Thread& t : threads) ready = ready || t.state == State::ready;
    if (!ready) {
      error = stuck();
      return leave();
    }
  }
}

void run_blocks(Worker& w, std::atomic<unsigned>& next, unsigned blocks, unsigned threads) {
  const unsigned first = std::min(settings.first_block, blocks), end = first + std::min(settings.blocks, blocks - first);
  worker = &w;
  given_memory = w.shared.get();
  adopt(w.scheduler);
  w.threads.resize(threads);
  if (stacks_bytes < threads * kStack) {  // kept for the next launch
    static thread_local std::unique_ptr<char[]> memory;
    memory.reset(new char[threads * kStack]);
    stacks = memory.get();
    stacks_bytes = threads * kStack;
  }
  for (unsigned i = 0; i < threads; ++i) w.order.push_back(settings.schedule == "reverse" ? threads - 1 - i : i);
  grid_size.x = blocks;
  block_size.x = threads;
  for (unsigned at; w.error.empty() && (at = first + next++) < end;) {
    block_index.x = settings.schedule == "reverse" ? first + (end - 1 - at) : at;
    w.random = settings.seed ^ static_cast<uint64_t>(at) << 32;
    w.run_block();
  }
  for (Thread& thread : w.threads) forget(thread.context);
}

}  // namespace

uint64_t meet(Op op, unsigned mask, uint64_t value, int lane, Place place) {
  Worker& w = *worker;
  Thread& t = w.threads[w.current];
  const unsigned index = w.current;
  t.op = op;
  t.mask = mask;
  t.value = value;
  t.lane = lane;
  t.place = place;
  t.state = State::waiting;
  const bool outside = op != Op::syncthreads && (mask >> (index % 32) & 1u) == 0;
  if (outside)
    w.error = "a lane calls " + std::string(place.name) + " with a mask that leaves it out: " + where(t, index);
  // Barriers order memory; shuffles and votes do not (CUDA C++ Programming Guide, warp vote functions).
  void* barrier = nullptr;
  if (op == Op::syncthreads) barrier = w.meeting.place();
  if (op == Op::syncwarp && !outside) barrier = w.first_of(index, mask).meeting.place();
  if (barrier != nullptr) publish(barrier);
  publish(&w.left);  // for the scheduler, in case the block ends here
  switch_to(t.context, w.scheduler);
  if (barrier != nullptr) observe(barrier);
  return t.value;
}

void fence() {
  static uint64_t place;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  publish(&place);
  observe(&place);
}

void fault(const char* text) {
  Worker& w = *worker;
  w.error = std::string(text) + " in thread " + std::to_string(w.current);
  switch_to(w.threads[w.current].context, w.scheduler);
  std::abort();  // never resumed
}

void configure(const std::string& schedule, uint64_t seed, int os_threads, unsigned first_block, unsigned blocks) {
  if (schedule != "forward" && schedule != "reverse" && schedule != "random")
    throw std::invalid_argument("simt: schedule: must be forward, reverse or random, got " + schedule);
  if (os_threads < 1) throw std::invalid_argument("simt: threads: must be at least 1, got " + std::to_string(os_threads));
  settings = Settings{schedule, seed, os_threads, first_block, blocks};
}

void launch(size_t shared, unsigned blocks, unsigned threads, void (*body)(void*), void* context) {
  std::atomic<unsigned> next{0};
  std::vector<Worker> workers(std::min<size_t>(static_cast<size_t>(settings.os_threads), blocks));
  for (Worker& w : workers) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, shared) != 0) throw std::bad_alloc();
    w.shared.reset(memory);
    w.shared_bytes = shared;
  }
  std::vector<std::thread> others;
  for (Worker& w : workers) {
    w.body = body;
    w.context = context;
    if (&w != &workers[0]) others.emplace_back([&w, &next, blocks, threads] { run_blocks(w, next, blocks, threads); });
  }
  if (!workers.empty()) run_blocks(workers[0], next, blocks, threads);
  for (std::thread& other : others) other.join();
  for (const Worker& w : workers)
    if (!w.error.empty()) throw std::runtime_error("simt: " + w.error);
}

}  // namespace simt
