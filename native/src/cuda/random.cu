// Normal numbers of standard deviation `deviation` from a counter: SplitMix64 gives two uniform numbers per
// pair of elements, Box-Muller makes two normal ones of them, in double, as on the CPU (cpu/random.cc).
//   radius = deviation sqrt(-2 log(1 - u)),  angle = 2 pi w    u, w: uniform in [0, 1)
//   out[2i] = radius cos(angle),  out[2i+1] = radius sin(angle)
//
// Launch: a thread per pair, 256 a block, no shared memory.
//
// Bytes, N elements of size E: N E. FLOPs: about 60 N in double; run once, at the start of a training.
#include <cmath>

#include "groups.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

constexpr int kThreads = 256;

__host__ __device__ __forceinline__ uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// In [0, 1).
__device__ __forceinline__ double uniform(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

struct Direction {
  double cosine, sine;
};

// cos and sin of an angle in [0, 2 pi), to the last bit or two of double: the nearest multiple of pi/2 is
// taken off in two parts, then Taylor series, whose rest is below 1e-16 up to pi/4. CUDA's own would bring a
// stack frame for angles of any size.
__device__ __forceinline__ Direction directionOf(double angle) {
  constexpr double kHalfPi = 0x1.921fb54442d18p0, kHalfPiRest = 0x1.1a62633145c07p-54;
  const int quarters = static_cast<int>(angle * 0.6366197723675814 + 0.5);  // 2 / pi
  double x = fma(-static_cast<double>(quarters), kHalfPi, angle);
  x = fma(-static_cast<double>(quarters), kHalfPiRest, x);
  const double square = x * x;
  double sine = -1.0 / 1307674368000.0;
  sine = fma(sine, square, 1.0 / 6227020800.0);
  sine = fma(sine, square, -1.0 / 39916800.0);
  sine = fma(sine, square, 1.0 / 362880.0);
  sine = fma(sine, square, -1.0 / 5040.0);
  sine = fma(sine, square, 1.0 / 120.0);
  sine = fma(sine, square, -1.0 / 6.0);
  sine = fma(sine * square, x, x);
  double cosine = 1.0 / 20922789888000.0;
  cosine = fma(cosine, square, -1.0 / 87178291200.0);
  cosine = fma(cosine, square, 1.0 / 479001600.0);
  cosine = fma(cosine, square, -1.0 / 3628800.0);
  cosine = fma(cosine, square, 1.0 / 40320.0);
  cosine = fma(cosine, square, -1.0 / 720.0);
  cosine = fma(cosine, square, 1.0 / 24.0);
  cosine = fma(cosine, square, -0.5);
  cosine = fma(cosine, square, 1.0);
  const bool swapped = (quarters & 1) != 0;
  const double first = swapped ? sine : cosine, second = swapped ? cosine : sine;
  return {((quarters + 1) & 2) != 0 ? -first : first, (quarters & 2) != 0 ? -second : second};
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    fillNormalKernel(double deviation, uint64_t stream, int64_t count, T* __restrict__ out) {
  const int64_t first = 2 * (int64_t{blockIdx.x} * kThreads + threadIdx.x);
  if (first >= count) return;
  const auto counter = static_cast<uint64_t>(first);
  const double radius = deviation * sqrt(-2 * log1p(-uniform(mix(stream ^ counter))));
  const Direction direction = directionOf(6.283185307179586 * uniform(mix(stream ^ (counter + 1))));
  out[first] = fromFloat<T>(static_cast<float>(radius * direction.cosine));
  if (first + 1 < count) out[first + 1] = fromFloat<T>(static_cast<float>(radius * direction.sine));
}

}  // namespace

void fillNormal(Context& context, const TensorView& out, double deviation, uint64_t seed) {
  withType(out.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t count = out.numel();
    launch(context,
           {.operation = "fillNormal",
            .grid = gridOf(ceilDiv(ceilDiv(count, 2), kThreads)),
            .block = dim3(kThreads)},
           fillNormalKernel<T>, deviation, mix(seed), count, elementsOf<T>(out));
  });
}

}  // namespace sralign::cuda
