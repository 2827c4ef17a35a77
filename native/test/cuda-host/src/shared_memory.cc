// Test infrastructure (../README.md).
//
// Static arrays are placed as threads come to their declarations. Dynamic shared memory ends, as exactly as
// its alignment of 16 bytes allows, at a page without access.
#include "shared_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <vector>

#include "cuda_host/block.h"
#include "errors.h"
#include "memory.h"
#include "sanitizer.h"

namespace cuda_host {

uint64_t currentBlock = 0;

namespace {

constexpr size_t kStaticArea = 1024 * 1024;  // for kDefaultSharedBytes and the guard zones
constexpr size_t kDynamicArea = 256 * 1024;

struct Array {
  const char* name;
  char* data;
  size_t bytes;
  size_t guardAfter;
};

std::map<const void*, size_t> allowedDynamic;  // by kernel, as cudaFuncSetAttribute said
char *area = nullptr, *areaEnd = nullptr;      // static arrays, then dynamic memory
char* freeStatic = nullptr;
size_t staticBytes = 0;    // of the block
size_t dynamicBytes = 0;   // of the block
bool allowedMore = false;  // than kDefaultSharedBytes
std::vector<Array> arrays;
Array dynamic;

size_t roundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void mapArea() {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = kStaticArea + kDynamicArea;
  void* mapping =
      mmap(nullptr, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) abort();
  area = static_cast<char*>(mapping) + page;
  areaEnd = area + bytes;
  if (mprotect(area, bytes, PROT_READ | PROT_WRITE) != 0) abort();
  poisonMemory(area, bytes);
}

void place(Array& array) {
  unpoisonMemory(array.data - kGuardBytes, array.bytes + kGuardBytes + array.guardAfter);
  fillGuard(array.data - kGuardBytes, kGuardBytes);
  fillPoison(array.data, array.bytes);
  fillGuard(array.data + array.bytes, array.guardAfter);
  poisonMemory(array.data - kGuardBytes, kGuardBytes);
  poisonMemory(array.data + array.bytes, array.guardAfter);
}

std::string describe(const Array& array, const char* address) {
  const std::string name = format("shared array %s (%zu bytes)", array.name, array.bytes);
  if (address < array.data)
    return format("%td bytes before the start of %s", array.data - address, name.c_str());
  const char* end = array.data + array.bytes;
  if (address >= end) return format("%td bytes after the end of %s", address - end, name.c_str());
  return format("byte %td of %s", address - array.data, name.c_str());
}

std::string findOverrunOf(const Array& array) {
  const char* damage = findDamage(array.data - kGuardBytes, kGuardBytes);
  if (damage == nullptr) damage = findDamage(array.data + array.bytes, array.guardAfter);
  return damage == nullptr ? std::string() : describe(array, damage);
}

}  // namespace

cudaError_t allowDynamicShared(const void* kernel, size_t bytes) {
  if (bytes > kMaxSharedBytes) {
    return refuse(cudaErrorInvalidValue, format("%zu bytes of dynamic shared memory; a block has at most %zu",
                                                bytes, kMaxSharedBytes));
  }
  allowedDynamic[kernel] = bytes;
  return cudaSuccess;
}

bool isDynamicSharedAllowed(const void* kernel, size_t bytes) {
  const auto found = allowedDynamic.find(kernel);
  return bytes <=
         (found == allowedDynamic.end() ? kDefaultSharedBytes : std::max(found->second, kDefaultSharedBytes));
}

void beginShared(size_t bytes, const void* kernel) {
  if (area == nullptr) mapArea();
  ++currentBlock;
  arrays.clear();
  freeStatic = area + kGuardBytes;
  staticBytes = 0;
  dynamicBytes = bytes;
  allowedMore = allowedDynamic.contains(kernel);
  dynamic = {"(dynamic)", areaEnd - roundUp(bytes, 16), bytes, roundUp(bytes, 16) - bytes};
  poisonMemory(areaEnd - kDynamicArea, kDynamicArea);
  place(dynamic);
}

void placeShared(SharedDeclaration& declaration, const char* name, size_t bytes, size_t alignment) {
  staticBytes = roundUp(staticBytes, alignment) + bytes;
  if (staticBytes > kDefaultSharedBytes) {
    failThread(cudaErrorInvalidConfiguration,
               "%zu bytes of static shared memory with array %s; a block has at most %zu", staticBytes, name,
               kDefaultSharedBytes);
  }
  const size_t limit = allowedMore ? kMaxSharedBytes : kDefaultSharedBytes;
  if (staticBytes + dynamicBytes > limit) {
    failThread(cudaErrorInvalidConfiguration,
               "%zu bytes of static and %zu of dynamic shared memory; a block has at most %zu%s", staticBytes,
               dynamicBytes, limit, allowedMore ? "" : " without cudaFuncSetAttribute");
  }
  freeStatic = reinterpret_cast<char*>(roundUp(reinterpret_cast<uintptr_t>(freeStatic), alignment));
  Array array = {name, freeStatic, bytes, kGuardBytes};
  freeStatic += bytes + 2 * kGuardBytes;
  if (freeStatic > area + kStaticArea) {
    failThread(cudaErrorInvalidConfiguration, "too many shared arrays for the CPU; the last is %s", name);
  }
  place(array);
  arrays.push_back(array);
  declaration.block = currentBlock;
  declaration.data = array.data;
}

char* dynamicShared() { return dynamic.data; }

bool isShared(const void* address, size_t bytes) {
  const auto* at = static_cast<const char*>(address);
  const auto holds = [&](const Array& array) {
    return at >= array.data && at + bytes <= array.data + array.bytes;
  };
  return holds(dynamic) || std::any_of(arrays.begin(), arrays.end(), holds);
}

std::string findSharedOverrun() {
  if (kAddressSanitizer) return {};  // it stops at the access itself
  for (const Array& array : arrays) {
    if (std::string overrun = findOverrunOf(array); !overrun.empty()) return overrun;
  }
  return findOverrunOf(dynamic);
}

std::string describeShared(const void* address) {
  const auto* at = static_cast<const char*>(address);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (area == nullptr || at < area - page || at >= areaEnd + page) return {};
  const Array* nearest = &dynamic;
  for (const Array& array : arrays) {
    if (at >= array.data - kGuardBytes && at < array.data + array.bytes + kGuardBytes) nearest = &array;
  }
  return describe(*nearest, at);
}

}  // namespace cuda_host
