#include "cpu/support/pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace fastblackout::cpu {
namespace {

// There are more parts than threads: a thread that starts late, or whose parts take longer, leaves more of them to the others.
constexpr int kPartsEach = 24;

struct Job {
  void (*body)(void*, int64_t, int64_t) = nullptr;
  void* context = nullptr;
  int64_t items = 0;
  int parts = 0, next = 0, running = 0;  // parts in all, begun, and begun but not ended
  int helpers = 0;                       // threads that may still join
};

class Pool {
 public:
  void run(int64_t items, int threads, void (*body)(void*, int64_t, int64_t), void* context) {
    std::lock_guard<std::mutex> one_caller(callers_);
    std::unique_lock<std::mutex> lock(mutex_);
    const int helpers = start_workers(threads - 1);
    const int parts = static_cast<int>(std::min<int64_t>(items, int64_t{kPartsEach} * threads));
    job_ = Job{body, context, items, parts, 0, 0, helpers};
    wake_.notify_all();
    take_parts(lock);
    finished_.wait(lock, [this] { return job_.running == 0; });
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

 private:
  // How many of the workers wanted there are: fewer where the system has no thread left, or no memory for one.
  int start_workers(int wanted) {
    try {
      for (; workers_ < wanted; ++workers_) std::thread(&Pool::work, this).detach();
    } catch (const std::exception&) {
    }
    return std::min(workers_, wanted);
  }

  // Runs parts until none is left to begin. job_ belongs to one call meanwhile: run() returns only when no part is running,
  // and holds callers_ until then.
  void take_parts(std::unique_lock<std::mutex>& lock) {
    while (job_.next < job_.parts) {
      const Job job = job_;
      ++job_.next;
      ++job_.running;
      lock.unlock();
      std::exception_ptr thrown;
      try {
        job.body(job.context, job.items * job.next / job.parts, job.items * (job.next + 1) / job.parts);
      } catch (...) {
        thrown = std::current_exception();
      }
      lock.lock();
      if (thrown) {
        if (!thrown_) thrown_ = std::move(thrown);
        job_.next = job_.parts;
      }
      if (--job_.running == 0 && job_.next == job_.parts) finished_.notify_one();
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
  int workers_ = 0;
  Job job_;
  std::exception_ptr thrown_;  // by a part of the job
};

// The pool is never destroyed: its threads sleep until the process ends. There is no lock around it, since a fork would copy
// a locked one.
std::atomic<Pool*> current{nullptr};

// A forked child has none of the parent's threads, and the locks of its pool as they happened to be: it makes a pool of its
// own and leaves the parent's alone.
[[maybe_unused]] const int told_of_forks = pthread_atfork(nullptr, nullptr, [] { current = nullptr; });

Pool& pool() {
  Pool* made = current;
  if (made != nullptr) return *made;
  Pool* const fresh = new Pool;
  if (current.compare_exchange_strong(made, fresh)) return *fresh;
  delete fresh;
  return *made;
}

}  // namespace

void parallel_for(int64_t items, int threads, void (*body)(void*, int64_t, int64_t), void* context) {
  if (items <= 0) return;
  const int most = static_cast<int>(threads < items ? threads : items);
  if (most <= 1) body(context, 0, items);
  else pool().run(items, most, body, context);
}

}  // namespace fastblackout::cpu
