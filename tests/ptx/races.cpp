// Finds races: two accesses of the same bytes by threads of one launch, at least one of them a write and not both strong
// (atomic, relaxed, volatile and so on), of which neither comes before the other by the memory model of the PTX ISA. What
// each thread knows to be done is kept in clocks, so that a race is found in whatever order the threads run here, but for
// what depends on a value that an atomic or an acquire has seen.
//
// These order accesses: a barrier of the block, or of lanes of a warp; a release whose value an acquire sees; a fence before
// a strong write whose value is seen by a strong read before a fence. If both are fence.sc, barriers may lie between fence
// and write, and between read and fence: such fences have an order of their own, which contradicts no other. Shuffles and
// votes order nothing; nor are the threads of a warp in step.
//
// Blocks must run one after another.
#include <algorithm>
#include <atomic>
#include <vector>

#include "clocks.h"
#include "races.h"

namespace ptx {
namespace {

struct Thread {
  // What it knows, beside what was done in the block before its last barrier: of its warp, and of all.
  Times lanes{};
  Clock known;
  Clock read, far_read;      // what it will know after a fence, after a fence.sc
  Clock fenced, far_fenced;  // what it knew at its last fence; what anybody knew at a fence.sc that came before
  bool waits = false;        // at a barrier, for these lanes; 0: for the block
  uint32_t waits_for = 0;
  std::vector<uint64_t> copies;  // where to, of those that it has not waited for
};

Memory global, shared;
std::vector<Thread> threads;  // of the block that runs
uint32_t block, now, at_barrier;  // times: now, and of the block's last barrier
uint32_t waiting;                 // threads that wait for the block
Race race;

Thread& enter(const simt::Machine& m) {
  static std::atomic<uint64_t> launch;
  static thread_local uint64_t own_launch;
  const bool another = own_launch != m.launch;
  if (another && launch.exchange(m.launch) == m.launch) m.fault("the race finder sees two OS threads in a launch");
  if (another || block != m.block) {
    if (another) global.forget();
    shared.forget();
    own_launch = m.launch;
    block = m.block;
    threads.assign(m.threads, Thread());
    now = 1;
    at_barrier = waiting = 0;
  }
  return threads[m.thread];
}

// Which lanes of a record have done what it says before what a thread does now.
uint32_t done_before(const simt::Machine& m, const Thread& t, const Record& r) {
  if (r.time == kLater) return 0;
  if (r.block == block && r.time <= at_barrier) return ~0u;
  const bool own = r.block == block && r.warp == m.thread / 32;
  uint32_t lanes = own ? 1u << m.thread % 32 : 0;
  const Times* more = nullptr;
  if (t.known != nullptr) {
    const auto found = t.known->find(warp_of(r.block, r.warp));
    if (found != t.known->end()) more = &found->second;
  }
  for (uint32_t left = r.lanes & ~lanes; left != 0; left &= left - 1) {
    const int lane = __builtin_ctz(left);
    if ((own && t.lanes[lane] >= r.time) || (more != nullptr && (*more)[lane] >= r.time)) lanes |= 1u << lane;
  }
  return lanes;
}

// All that a thread knows, and what it has done itself.
Clock snapshot(const simt::Machine& m, const Thread& t) {
  auto all = std::make_shared<std::map<uint64_t, Times>>();
  if (t.known != nullptr) *all = *t.known;
  Times before;
  before.fill(at_barrier);
  for (uint32_t warp = 0; warp * 32 < m.threads; ++warp) raise((*all)[warp_of(block, warp)], before);
  Times& own = (*all)[warp_of(block, m.thread / 32)];
  raise(own, t.lanes);
  own[m.thread % 32] = now++;
  return all;
}

bool acquires(Order order) { return order == acquire || order == acq_rel; }
bool releases(Order order) { return order == release || order == acq_rel; }

// A strong access: what its thread learns, and what others may learn.
void tell(const simt::Machine& m, Thread& t, const Access& a, Memory& memory) {
  if (a.reads) {
    const auto found = memory.told.find(a.at);
    if (found != memory.told.end()) {
      join(t.read, found->second.fenced);
      join(t.far_read, found->second.fenced);
      join(t.far_read, found->second.far_fenced);
      if (acquires(a.order)) join(t.known, found->second.fenced);
    }
  }
  if (a.writes) {
    Told& told = memory.told[a.at];
    if (!a.reads) told = Told();  // an atomic passes on what was told before
    join(told.fenced, releases(a.order) ? snapshot(m, t) : t.fenced);
    join(told.far_fenced, t.far_fenced);
  }
}

// Goes over the records of a list: true, where one, of which `race` then tells, is not ordered with the access. Those are
// dropped that say nothing more once the access is recorded: whatever will race with them will race with it.
bool races(const simt::Machine& m, const Thread& t, const Record& a, Memory& memory, Record** list) {
  while (*list != nullptr) {
    Record& r = **list;
    const bool meets = (r.bytes & a.bytes) != 0;
    const bool alike = r.strong && a.strong && r.size == a.size;
    const bool in_scope = r.block == a.block || (r.scope == gpu && a.scope == gpu);
    const bool conflict = meets && (r.writes || a.writes) && !(alike && in_scope);
    const bool inside = (r.bytes & ~a.bytes) == 0;
    const bool dropped = inside && (a.writes || !r.writes) && (!a.strong || (alike && r.scope == a.scope));
    if (conflict || dropped) {
      const uint32_t before = done_before(m, t, r);
      if (const uint32_t lanes = r.lanes & ~before; conflict && lanes != 0) {
        race = {r.block, r.warp * 32 + static_cast<uint32_t>(__builtin_ctz(lanes)), r.line, r.writes};
        return true;
      }
      if (dropped) r.lanes &= ~before;
      if (r.lanes == 0) {
        memory.drop(*list);
        continue;
      }
    }
    list = &r.next;
  }
  return false;
}

bool same(const Record& a, const Record& b) {
  return a.time == b.time && a.line == b.line && a.bytes == b.bytes && a.warp == b.warp && a.writes == b.writes &&
         a.time != kLater;
}

int length(const Record* list) { return list == nullptr ? 0 : 1 + length(list->next); }

// What earlier blocks did is kept apart: reads need not be gone over at each read.
void put_aside(Word& word, Memory& memory) {
  int reads = length(word.reads), writes = length(word.writes);
  while (word.now != nullptr) {
    Record* const r = word.now;
    if ((r->writes ? writes : reads)++ >= kPast && (r->strong || !r->writes)) {
      memory.drop(word.now);
      continue;
    }
    word.now = r->next;
    Record*& list = r->writes ? word.writes : word.reads;
    r->next = list;
    list = r;
  }
  word.block = block;
}

const Race* access(const simt::Machine& m, const Access& a) {
  Thread& t = enter(m);
  Memory& memory = a.at - reinterpret_cast<uint64_t>(m.shared) < m.shared_bytes ? shared : global;
  const bool strong = a.order != weak;
  const uint64_t end = a.at + a.size;
  for (uint64_t at = a.at; at < end; at = (at | 7) + 1) {
    const uint64_t bytes = std::min(end, (at | 7) + 1) - at;
    Record record{nullptr, block, m.thread / 32, a.later ? kLater : now, 1u << m.thread % 32, a.size, a.line,
                  static_cast<uint8_t>(((1u << bytes) - 1) << (at & 7)), a.writes, strong, a.scope};
    Word& word = memory.word(at);
    if (word.block != block) put_aside(word, memory);
    if (word.now != nullptr && same(*word.now, record) && (word.now->lanes & record.lanes) != 0) continue;  // done before
    if (races(m, t, record, memory, &word.now) || races(m, t, record, memory, &word.writes) ||
        (a.writes && races(m, t, record, memory, &word.reads)))
      return &race;
    Record* r = word.now;
    while (r != nullptr && !same(*r, record)) r = r->next;
    if (r != nullptr) r->lanes |= record.lanes;
    else {
      record.next = word.now;
      word.now = memory.record(record);
    }
  }
  if (strong) tell(m, t, a, memory);
  if (a.later) t.copies.push_back(a.at);
  return nullptr;
}

void fence(const simt::Machine& m, Order order) {
  Thread& t = enter(m);
  join(t.known, t.read);
  if (order == sc) join(t.known, t.far_read);
  t.fenced = snapshot(m, t);
  if (order == sc) join(t.far_fenced, t.fenced);
}

void copied(const simt::Machine& m) {
  Thread& t = enter(m);
  for (const uint64_t to : t.copies)
    for (uint64_t at = to; at < to + 16; at += 8)
      for (Record* r = shared.word(at).now; r != nullptr; r = r->next)
        if (r->time == kLater && r->warp == m.thread / 32 && r->lanes == 1u << m.thread % 32) r->time = now;
  t.copies.clear();
}

// All of some threads are there: each knows what the others do.
void let_go(const std::vector<Thread*>& all) {
  Thread joint;
  for (Thread* const t : all) {
    join(joint.known, t->known);
    join(joint.far_read, t->far_read);
    join(joint.far_fenced, t->far_fenced);
  }
  for (Thread* const t : all) {
    t->known = joint.known;
    t->far_read = joint.far_read;
    t->far_fenced = joint.far_fenced;
    t->waits = false;
  }
}

void meet(const simt::Machine& m, uint32_t lanes) {
  Thread& own = enter(m);
  own.waits = true;
  own.waits_for = lanes;
  std::vector<Thread*> all;
  if (lanes == 0) {
    if (++waiting < m.threads) return;
    for (Thread& t : threads) all.push_back(&t);
    let_go(all);
    waiting = 0;
    at_barrier = now++;
    return;
  }
  const uint32_t first = m.thread / 32 * 32;
  for (uint32_t left = lanes; left != 0; left &= left - 1) {
    Thread& t = threads[first + static_cast<uint32_t>(__builtin_ctz(left))];
    if (!t.waits || t.waits_for != lanes) return;
    all.push_back(&t);
  }
  let_go(all);
  Times seen{};
  for (Thread* const t : all) raise(seen, t->lanes);
  for (int lane = 0; lane < 32; ++lane)
    if (lanes >> lane & 1) seen[lane] = now;
  for (Thread* const t : all) t->lanes = seen;
  ++now;
}

}  // namespace
}  // namespace ptx

extern "C" const ptx::Finder* ptx_races() {
  static const ptx::Finder finder{ptx::access, ptx::fence, ptx::meet, ptx::copied};
  return &finder;
}
