#include "communication_thread.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <exception>
#include <utility>

#include "../core/error.h"

namespace sralign::mpi {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// MPI has no way to sleep until something happens, and the cores belong to the computation: after a short
// while without news the thread sleeps between two looks, each time for a share of how long there was none. A
// wait so becomes a quarter longer, at most by the longest sleep.
constexpr microseconds kSpin{20}, kShortestSleep{20}, kLongestSleep{1000};
constexpr int kSleepShare = 4;
// MPI moves large messages in pieces while it is asked whether they are complete, and only their end is told.
// A look that took longer than this moved some, and there is more to come: without it, transfers between
// processes that may not read each other's memory (as in most containers) ran at a twentieth of their speed.
constexpr microseconds kIdleLook{6};

class Backoff {
 public:
  void reset() { since_ = Clock::now(); }
  // How long to sleep now; 0: look again at once.
  microseconds next() const {
    const auto waited = std::chrono::duration_cast<microseconds>(Clock::now() - since_);
    return waited < kSpin ? microseconds{0} : std::clamp(waited / kSleepShare, kShortestSleep, kLongestSleep);
  }

 private:
  Clock::time_point since_ = Clock::now();
};

double nowUs() {
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::micro>(time).count();
}

// Whether all requests are complete; throws the error of the first that failed.
bool complete(std::vector<MPI_Request>& requests, const char* what) {
  int flag = 0;
  std::vector<MPI_Status> statuses(requests.size());
  const int status = MPI_Testall(static_cast<int>(requests.size()), requests.data(), &flag, statuses.data());
  if (status == MPI_ERR_IN_STATUS) {
    for (const MPI_Status& one : statuses) {
      if (one.MPI_ERROR != MPI_ERR_PENDING) check(one.MPI_ERROR, what);
    }
  }
  check(status, what);
  return flag != 0;
}

}  // namespace

// Why nothing can be started.
EngineError CommunicationThread::closedError() const {
  const char* closed = "MPI was ended in this process, and MPI cannot start a second time in a process";
  return {"ERR_COMMUNICATION", failure_.empty() ? closed : failure_};
}

CommunicationThread& CommunicationThread::instance() {
  static auto* const thread = new CommunicationThread;
  return *thread;
}

World CommunicationThread::open() {
  const std::lock_guard lifecycle(lifecycle_);
  if (state_ == State::closed) {
    const std::lock_guard lock(mutex_);
    throw closedError();
  }
  if (state_ == State::unopened) {
    thread_ = std::thread([this] { run(); });
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return initialized_ || !failure_.empty(); });
    state_ = initialized_ ? State::open : State::closed;
    if (!initialized_) {
      lock.unlock();
      thread_.join();
      throw EngineError("ERR_COMMUNICATION", failure_);
    }
  }
  return context_.world;
}

void CommunicationThread::close() {
  const std::lock_guard lifecycle(lifecycle_);
  if (state_ != State::open) return;
  state_ = State::closed;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = arrived_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

size_t CommunicationThread::scratchBytes() const {
  const std::lock_guard lock(mutex_);
  return scratchBytes_;
}

void CommunicationThread::start(std::shared_ptr<Operation> operation) {
  {
    const std::lock_guard lock(mutex_);
    if (!initialized_ || stopping_) throw closedError();
    queue_.push_back(std::move(operation));
    arrived_ = true;
  }
  wake_.notify_one();
}

void CommunicationThread::wait(Operation& operation) {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [&] { return operation.done; });
  if (!operation.error.empty()) throw EngineError("ERR_COMMUNICATION", operation.error);
}

bool CommunicationThread::isDone(const Operation& operation) const {
  const std::lock_guard lock(mutex_);
  return operation.done;
}

// ---- on the thread -------------------------------------------------------------------------------------

void CommunicationThread::run() {
  try {
    initialize();
  } catch (const std::exception& error) {  // EngineError, or no memory
    const std::lock_guard lock(mutex_);
    failure_ = error.what();
    finished_.notify_all();
    return;
  }
  Running running;
  Backoff backoff;
  for (;;) {
    const bool started = startQueued(running);
    const Clock::time_point looked = Clock::now();
    if (progress(running) || started || Clock::now() - looked > kIdleLook) {
      backoff.reset();
      continue;
    }
    std::unique_lock lock(mutex_);
    if (running.empty() && queue_.empty()) {
      if (stopping_) break;
      wake_.wait(lock, [&] { return arrived_; });
      backoff.reset();
    } else if (const microseconds sleep = backoff.next(); sleep.count() > 0) {
      wake_.wait_for(lock, sleep, [&] { return arrived_; });
    }
    arrived_ = false;
  }
  finalize();
}

void CommunicationThread::initialize() {
#ifdef __linux__
  // Sleeps of microseconds: the kernel may otherwise add 50 us to each.
  prctl(PR_SET_TIMERSLACK, 1000UL);
#endif
  int level = MPI_THREAD_SINGLE;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "start");
  if (level < MPI_THREAD_FUNNELED) {
    throw EngineError("ERR_COMMUNICATION",
                      "this MPI was built without support for threads (MPI_THREAD_FUNNELED)");
  }
  check(MPI_Comm_dup(MPI_COMM_WORLD, &context_.communicator), "make a communicator");
  // Open MPI reports what goes wrong while a collective operation runs to the handler of the world.
  for (const MPI_Comm communicator : {MPI_COMM_WORLD, context_.communicator}) {
    check(MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN), "set an error handler");
  }
  check(MPI_Comm_rank(context_.communicator, &context_.world.rank), "ask for the rank");
  check(MPI_Comm_size(context_.communicator, &context_.world.size), "ask for the number of ranks");
  const std::lock_guard lock(mutex_);
  initialized_ = true;
  finished_.notify_all();
}

// After a failure MPI_Finalize could wait for ever; the launcher sees that this process ended without it.
void CommunicationThread::finalize() {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) return;
  }
  // The ranks wait for each other here, asleep: MPI_Finalize would keep a core busy.
  MPI_Request barrier = MPI_REQUEST_NULL;
  if (MPI_Ibarrier(context_.communicator, &barrier) != MPI_SUCCESS) return;
  for (int done = 0; !done;) {
    if (MPI_Test(&barrier, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return;
    if (!done) std::this_thread::sleep_for(kLongestSleep);
  }
  MPI_Comm_free(&context_.communicator);
  MPI_Finalize();
}

// Starts what can start, in order. There is one scratch memory, so a reduction waits for the one before, and
// what was handed over after it waits, too: every rank must start the same operations in the same order.
bool CommunicationThread::startQueued(Running& running) {
  bool any = false;
  for (;;) {
    std::shared_ptr<Operation> next;
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty()) return any;
      const bool busy = std::ranges::any_of(running, [](const auto& other) { return other->usesScratch(); });
      if (queue_.front()->usesScratch() && busy) return any;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    any = true;
    next->span.startUs = nowUs();
    try {
      running.push_back(next);
    } catch (const std::exception& error) {  // no memory
      finish(*next, error.what());
      continue;
    }
    if (!step(*next)) running.pop_back();
  }
}

// Whether anything moved on.
bool CommunicationThread::progress(Running& running) {
  bool any = false;
  std::erase_if(running, [&](const std::shared_ptr<Operation>& operation) {
    try {
      if (!complete(operation->requests, operation->span.name)) return false;
    } catch (const std::exception& error) {
      finish(*operation, error.what());
      return any = true;
    }
    any = true;
    return !step(*operation);
  });
  abandonAfterFailure(running);
  return any;
}

// The ranks are out of step after a failure: what is still under way may never be complete. MPI may go on
// writing to its memory, which is why the memory of an operation that failed is never freed.
void CommunicationThread::abandonAfterFailure(Running& running) {
  std::string failure;
  {
    const std::lock_guard lock(mutex_);
    failure = failure_;
  }
  if (failure.empty()) return;
  for (const auto& operation : running) finish(*operation, failure);
  running.clear();
}

// Starts the next stage; false where the operation is over.
bool CommunicationThread::step(Operation& operation) {
  std::string error;
  {
    const std::lock_guard lock(mutex_);
    error = failure_;
  }
  try {
    if (error.empty() && operation.advance(context_)) return true;
  } catch (const std::exception& failure) {  // EngineError, or no memory
    error = failure.what();
  }
  finish(operation, error);
  return false;
}

void CommunicationThread::finish(Operation& operation, const std::string& error) {
  operation.span.endUs = nowUs();
  {
    const std::lock_guard lock(mutex_);
    scratchBytes_ = context_.scratchCount * sizeof(float);
    if (failure_.empty()) failure_ = error;
    operation.error = error;
    operation.done = true;
  }
  finished_.notify_all();
}

}  // namespace sralign::mpi
