// OpenMP for ThreadSanitizer: what GCC's compiler calls, on threads that are started for every parallel region and joined at
// its end. GCC's own library keeps its threads and lets them wait by means that the sanitizer does not see, so that it would
// report every array that one region writes and the next one reads.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

constexpr int kThreads = 4;  // more than there may be processors: only what they do to each other matters

// A loop whose threads take the next iterations one after another.
struct Loop {
  long next, end, step, chunk;
};

struct Team {
  int size = 1;
  std::mutex mutex;
  std::condition_variable arrived;
  int waiting = 0;
  long barriers = 0;
  std::vector<std::unique_ptr<Loop>> loops;  // in the order in which the threads come to them
};

int threads = kThreads;
thread_local Team* team = nullptr;
thread_local int number = 0;
thread_local size_t loopsSeen = 0;

void run(void (*body)(void*), void* data, unsigned wanted) {
  const int size = team != nullptr || wanted == 1 ? 1 : wanted == 0 ? threads : static_cast<int>(wanted);
  Team* const outer = team;
  const int outerNumber = number;
  const size_t outerLoops = loopsSeen;
  Team own;
  own.size = size;
  const auto member = [&](int place) {
    team = &own, number = place, loopsSeen = 0;
    body(data);
  };
  std::vector<std::thread> others;
  for (int place = 1; place < size; ++place) others.emplace_back(member, place);
  member(0);
  for (std::thread& other : others) other.join();
  team = outer, number = outerNumber, loopsSeen = outerLoops;
}

bool take(long* first, long* last) {
  const std::lock_guard lock(team->mutex);
  Loop& loop = *team->loops[loopsSeen - 1];
  if (loop.step > 0 ? loop.next >= loop.end : loop.next <= loop.end) return false;
  *first = loop.next;
  loop.next += loop.chunk * loop.step;
  const bool past = loop.step > 0 ? loop.next > loop.end : loop.next < loop.end;
  *last = past ? loop.end : loop.next;
  return true;
}

void barrier() {
  std::unique_lock lock(team->mutex);
  const long mine = team->barriers;
  if (++team->waiting == team->size) {
    team->waiting = 0;
    ++team->barriers;
    team->arrived.notify_all();
    return;
  }
  team->arrived.wait(lock, [&] { return team->barriers != mine; });
}

}  // namespace

extern "C" {

int omp_get_max_threads() { return threads; }
void omp_set_num_threads(int count) { threads = count; }
int omp_get_num_threads() { return team == nullptr ? 1 : team->size; }
int omp_get_thread_num() { return number; }
int omp_in_parallel() { return team != nullptr && team->size > 1; }
int omp_get_num_procs() { return static_cast<int>(std::thread::hardware_concurrency()); }

void GOMP_parallel(void (*body)(void*), void* data, unsigned wanted, unsigned) { run(body, data, wanted); }

bool GOMP_loop_nonmonotonic_dynamic_start(long start, long end, long step, long chunk, long* first, long* last) {
  {
    const std::lock_guard lock(team->mutex);
    if (team->loops.size() == loopsSeen) {
      team->loops.push_back(std::make_unique<Loop>(Loop{start, end, step, chunk}));
    }
  }
  ++loopsSeen;
  return take(first, last);
}

bool GOMP_loop_nonmonotonic_dynamic_next(long* first, long* last) { return take(first, last); }

void GOMP_loop_end() { barrier(); }
void GOMP_loop_end_nowait() {}
void GOMP_barrier() { barrier(); }

}  // extern "C"
