// Test infrastructure (../README.md).
//
// An allocation lies in its pages like this:
//
//   | no access | ...guard | data | guard up to 256 bytes | no access |
//
// so that its start is aligned to 256 bytes as cudaMalloc's is, and the page without access is as close as
// that allows.
#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>

#include "errors.h"
#include "sanitizer.h"

namespace cuda_host {
namespace {

constexpr uint16_t kGuard = 0x7ffd;  // NaN as well, for reads past the end
constexpr size_t kMaxFreed = 512;    // allocations kept without access

const size_t kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));

std::map<const char*, Allocation> allocations;  // by their first mapped byte; freed ones too
std::deque<const char*> freedOnes;              // the oldest first
std::map<const void*, const char*> byData;      // live ones: data -> mapping
uint64_t allocationCount = 0;
size_t deviceBytes = 0;

size_t roundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void fill(void* data, uint16_t pattern, size_t bytes) {
  static_assert(sizeof(wchar_t) == 4);
  const uint32_t word = pattern * 0x10001u;
  wmemset(static_cast<wchar_t*>(data), static_cast<wchar_t>(word), bytes / 4);
  memcpy(static_cast<char*>(data) + bytes / 4 * 4, &word, bytes % 4);
}

const char* spaceName(Space space) { return space == Space::device ? "device" : "pinned"; }

std::string nameOf(const Allocation& allocation) {
  return format("%s allocation %lu (%zu bytes)", spaceName(allocation.space), allocation.number,
                allocation.bytes);
}

char* usableEnd(const Allocation& allocation) { return allocation.mapping + allocation.mappedBytes - kPage; }

void unmapOldest() {
  const auto found = allocations.find(freedOnes.front());
  unpoisonMemory(found->second.mapping, found->second.mappedBytes);
  munmap(found->second.mapping, found->second.mappedBytes);
  allocations.erase(found);
  freedOnes.pop_front();
}

const Allocation* mappingAround(const void* address) {
  auto after = allocations.upper_bound(static_cast<const char*>(address));
  if (after == allocations.begin()) return nullptr;
  const Allocation& allocation = std::prev(after)->second;
  return address < allocation.mapping + allocation.mappedBytes ? &allocation : nullptr;
}

}  // namespace

void fillPoison(void* data, size_t bytes) { fill(data, kPoison, bytes); }
void fillGuard(void* data, size_t bytes) { fill(data, kGuard, bytes); }

const char* findDamage(const void* data, size_t bytes) {
  // As `fill` leaves 256 bytes, whatever its own alignment: the pattern starts at the first byte.
  static const auto kIntact = [] {
    std::array<char, kGuardBytes> intact;
    fillGuard(intact.data(), intact.size());
    return intact;
  }();
  const auto* begin = static_cast<const char*>(data);
  if (memcmp(begin, kIntact.data(), bytes) == 0) return nullptr;
  return std::mismatch(begin, begin + bytes, kIntact.data()).first;
}

size_t totalDeviceBytes() {
  static const size_t total = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * kPage / 2;
  return total;
}
size_t usedDeviceBytes() { return deviceBytes; }

cudaError_t allocate(Space space, size_t bytes, void** data) {
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (bytes > totalDeviceBytes() || (space == Space::device && bytes > totalDeviceBytes() - deviceBytes)) {
    return refuse(cudaErrorMemoryAllocation, format("%zu bytes of %s memory", bytes, spaceName(space)));
  }
  Allocation allocation;
  const size_t dataBytes = roundUp(bytes, 256);
  const size_t usable = roundUp(dataBytes + kGuardBytes, kPage);
  allocation.mappedBytes = usable + 2 * kPage;
  void* mapping = mmap(nullptr, allocation.mappedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    return refuse(cudaErrorMemoryAllocation, format("%zu bytes: the system has no more", bytes));
  }
  allocation.mapping = static_cast<char*>(mapping);
  if (mprotect(allocation.mapping + kPage, usable, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, allocation.mappedBytes);
    return refuse(cudaErrorMemoryAllocation, format("%zu bytes: the system has no more", bytes));
  }
  allocation.number = ++allocationCount;
  allocation.space = space;
  allocation.bytes = bytes;
  allocation.data = usableEnd(allocation) - dataBytes;
  fillGuard(allocation.data - kGuardBytes, kGuardBytes);
  fillPoison(allocation.data, bytes);
  fillGuard(allocation.data + bytes, dataBytes - bytes);
  poisonMemory(allocation.mapping, allocation.mappedBytes);
  unpoisonMemory(allocation.data, bytes);
  if (space == Space::device) deviceBytes += bytes;
  byData[allocation.data] = allocation.mapping;
  *data = allocation.data;
  allocations.emplace(allocation.mapping, allocation);
  return cudaSuccess;
}

cudaError_t release(Space space, void* data) {
  if (data == nullptr) return cudaSuccess;
  const auto found = byData.find(data);
  if (found == byData.end() || allocations.at(found->second).space != space) {
    std::string what = describeAddress(data);
    if (what.empty()) what = format("%p, which CUDA did not allocate", data);
    return refuse(cudaErrorInvalidValue, format("freeing as %s memory: %s", spaceName(space), what.c_str()));
  }
  Allocation& allocation = allocations.at(found->second);
  if (space == Space::device) deviceBytes -= allocation.bytes;
  allocation.freed = true;
  // Gives the memory back to the system, but keeps the addresses.
  poisonMemory(allocation.data, allocation.bytes);
  mmap(allocation.mapping, allocation.mappedBytes, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  freedOnes.push_back(allocation.mapping);
  byData.erase(found);
  if (freedOnes.size() > kMaxFreed) unmapOldest();
  return cudaSuccess;
}

const Allocation* findAllocation(const void* data, size_t bytes) {
  const Allocation* allocation = mappingAround(data);
  if (allocation == nullptr || allocation->freed || data < allocation->data) return nullptr;
  const size_t offset = static_cast<size_t>(static_cast<const char*>(data) - allocation->data);
  return offset <= allocation->bytes && bytes <= allocation->bytes - offset ? allocation : nullptr;
}

bool isLive(uint64_t number, const void* data, size_t bytes) {
  const Allocation* allocation = findAllocation(data, bytes);
  return allocation != nullptr && allocation->number == number;
}

std::string describeAddress(const void* address) {
  const Allocation* allocation = mappingAround(address);
  if (allocation == nullptr) return {};
  const char* at = static_cast<const char*>(address);
  const std::string name = nameOf(*allocation) + (allocation->freed ? ", which was freed" : "");
  if (at < allocation->data)
    return format("%td bytes before the start of %s", allocation->data - at, name.c_str());
  const char* end = allocation->data + allocation->bytes;
  if (at >= end) return format("%td bytes after the end of %s", at - end, name.c_str());
  return format("byte %td of %s", at - allocation->data, name.c_str());
}

std::string findOverrun() {
  if (kAddressSanitizer) return {};  // it stops at the access itself
  for (const auto& [mapping, allocation] : allocations) {
    if (allocation.freed) continue;
    char* after = allocation.data + allocation.bytes;
    const size_t afterBytes = static_cast<size_t>(usableEnd(allocation) - after);
    const char* damage = findDamage(allocation.data - kGuardBytes, kGuardBytes);
    if (damage == nullptr) damage = findDamage(after, afterBytes);
    if (damage == nullptr) continue;
    fillGuard(allocation.data - kGuardBytes, kGuardBytes);
    fillGuard(after, afterBytes);
    return describeAddress(damage);
  }
  return {};
}

}  // namespace cuda_host
