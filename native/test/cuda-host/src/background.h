// Test infrastructure (../README.md): a device works on while its program does something else. Nothing could tell the
// difference, were it not for other processes whose devices wait for this one.
#pragma once

namespace cuda_host {

// While one lives, what is queued runs in the background whenever the program leaves the device alone for some
// milliseconds. Under the lock.
class Unattended {
 public:
  Unattended();
  ~Unattended();
  Unattended(const Unattended&) = delete;
  Unattended& operator=(const Unattended&) = delete;
};

}  // namespace cuda_host
