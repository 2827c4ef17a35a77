// The time of one turn of a loop that watches others. A turn looks at the clock once: silence is measured up
// to that moment, from moments measured the same way. A process that is stopped (with its job, or with its
// whole machine) anywhere in a turn finds the pause at the start of the next turn and forgives it there,
// before it judges anybody; between the two there is no second look at the clock that could see it.
#pragma once

#include <algorithm>

#include "socket.h"

namespace sralign::comm {

class Turn {
 public:
  // `most`: how long a turn lasts where the process is not stopped or starved.
  explicit Turn(Clock::duration most) : most_(most) {}

  // To be called once in a turn, when the waiting is over and before anything is read. Returns how long this
  // process did not look, so that the others' words lay unread: that time does not count as their silence.
  Clock::duration begin() {
    const auto now = Clock::now();
    const auto pause = now - now_ - most_;
    now_ = now;
    return std::max(pause, Clock::duration::zero());
  }

  // Of the turn.
  Clock::time_point now() const { return now_; }

 private:
  const Clock::duration most_;
  Clock::time_point now_ = Clock::now();
};

}  // namespace sralign::comm
