#include "cpu/pool.h"

#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace fastblackout {
namespace cpu {
namespace {

// More parts than threads: one that starts late, or whose parts take longer, leaves more of them to the others.
constexpr int kPartsEach = 24;

struct Job {
  void (*body)(void*, int64_t, int64_t) = nullptr;
  void* context = nullptr;
  int64_t items = 0;
  int parts = 0, next = 0, done = 0;
  int helpers = 0;  // threads that may still join
  uint64_t number = 0;
};

class Pool {
 public:
  void run(int64_t items, int threads, void (*body)(void*, int64_t, int64_t), void* context) {
    std::lock_guard<std::mutex> one_caller(callers_);
    std::unique_lock<std::mutex> lock(mutex_);
    while (static_cast<int>(workers_.size()) < threads - 1) workers_.emplace_back(&Pool::work, this);
    const int parts = static_cast<int>(items < kPartsEach * threads ? items : kPartsEach * threads);
    job_ = Job{body, context, items, parts, 0, 0, threads - 1, job_.number + 1};
    wake_.notify_all();
    take_parts(lock);
    finished_.wait(lock, [this] { return job_.done == job_.parts; });
  }

 private:
  void take_parts(std::unique_lock<std::mutex>& lock) {
    const Job job = job_;
    while (job_.number == job.number && job_.next < job.parts) {
      const int64_t part = job_.next++;
      lock.unlock();
      job.body(job.context, job.items * part / job.parts, job.items * (part + 1) / job.parts);
      lock.lock();
      if (++job_.done == job.parts) finished_.notify_one();
    }
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return job_.helpers > 0 && job_.next < job_.parts; });
      --job_.helpers;
      take_parts(lock);
    }
  }

  std::mutex callers_, mutex_;
  std::condition_variable wake_, finished_;
  std::vector<std::thread> workers_;
  Job job_;
};

// The pool is never destroyed: its threads sleep until the process ends. A forked child has none of the parent's threads,
// so it makes a pool of its own and leaves the parent's alone.
Pool& pool() {
  static std::mutex guard;
  static Pool* current = nullptr;
  static pid_t owner = 0;
  std::lock_guard<std::mutex> lock(guard);
  if (current == nullptr || owner != getpid()) {
    current = new Pool;
    owner = getpid();
  }
  return *current;
}

}  // namespace

void parallel_for(int64_t items, int threads, void (*body)(void*, int64_t, int64_t), void* context) {
  if (items <= 0) return;
  const int most = static_cast<int>(threads < items ? threads : items);
  if (most <= 1) body(context, 0, items);
  else pool().run(items, most, body, context);
}

}  // namespace cpu
}  // namespace fastblackout
