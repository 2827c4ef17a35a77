// Gaussian error linear unit, forward and backward (dX = dOut gelu'(x), in place or not), arithmetic in f32.
//   erf:   gelu(x) = x Phi(x)                                     Phi, phi: normal distribution and density
//          gelu'(x) = Phi(x) + x phi(x)
//   tanh:  gelu(x) = x s(2u), u = sqrt(2/pi) (x + 0.044715 x^3)   s: logistic function,
//                                                                 0.5 (1 + tanh u) = s(2u)
//          gelu'(x) = s(2u) + x s(2u) (1 - s(2u)) 2u'
//
// Launch: elementwise.cuh.
//
// Bytes, N elements of size E: forward 2 N E, backward 3 N E. FLOPs: about 30 N and 35 N.
#include <cmath>

#include "elementwise.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

// Phi(-a) = e^(-a^2/2) M(a) for a = |x|, with Mills' ratio M as t p(t), t = 1 / (1 + 0.35 a) (a minimax
// polynomial of relative error 3e-8), so that the lower tail keeps its relative accuracy, and the density
// comes with it.
struct Normal {
  float distribution, density;

  explicit __device__ __forceinline__ Normal(float x) {
    const float t = 1.0f / (1.0f + 0.35f * fabsf(x));
    float p = t * -0.0291459188f + 0.1439716369f;
    p = p * t - 0.2557141483f;
    p = p * t + 0.1591740251f;
    p = p * t - 0.0231097452f;
    p = p * t + 0.1055079699f;
    p = p * t + 0.1198328733f;
    p = p * t + 0.1398618668f;
    p = p * t + 0.1396214068f;
    const float bell = expf(-0.5f * (x * x));
    const float tail = bell * (t * p);
    distribution = x < 0.0f ? tail : 1.0f - tail;
    density = bell * 0.398942280f;
  }
};

struct ErfValue {
  __device__ __forceinline__ float operator()(float x) const { return x * Normal(x).distribution; }
};
struct ErfGradient {
  __device__ __forceinline__ float operator()(float x, float dOut) const {
    const Normal at(x);
    return dOut * (at.distribution + x * at.density);
  }
};

constexpr float kTwoU = 1.5957691216f;  // 2 sqrt(2/pi)

__device__ __forceinline__ float twoU(float x) { return kTwoU * (x + 0.044715f * (x * x * x)); }

struct TanhValue {
  __device__ __forceinline__ float operator()(float x) const { return x * (1.0f / (1.0f + expf(-twoU(x)))); }
};
struct TanhGradient {
  __device__ __forceinline__ float operator()(float x, float dOut) const {
    // The slope is 0 or 1 to rounding outside +-10; the limits keep x^3 finite and let NaN through.
    x = x < -10.0f ? -10.0f : x > 10.0f ? 10.0f : x;
    const float e = expf(-twoU(x)), s = 1.0f / (1.0f + e);
    // 1 - s = e s, which keeps its accuracy where s is close to 1. The limit matters only where s rounds to
    // 0.
    const float complement = fminf(1e30f, e) * s;
    return dOut * (s + x * s * complement * (kTwoU * (1.0f + 0.134145f * (x * x))));
  }
};

}  // namespace

void gelu(Context& context, const GeluArgs& args) {
  withType(args.x.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t count = args.out.numel();
    if (args.kind == GeluKind::erf) {
      map(context, "gelu", ErfValue{}, count, elementsOf<T>(args.x), elementsOf<T>(args.out));
    } else {
      map(context, "gelu", TanhValue{}, count, elementsOf<T>(args.x), elementsOf<T>(args.out));
    }
  });
}

void geluBackward(Context& context, const GeluBackwardArgs& args) {
  withType(args.x.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t count = args.dX.numel();
    const T *x = elementsOf<T>(args.x), *dOut = elementsOf<T>(args.dOut);
    if (args.kind == GeluKind::erf) {
      map(context, "geluBackward", ErfGradient{}, count, x, dOut, elementsOf<T>(args.dX));
    } else {
      map(context, "geluBackward", TanhGradient{}, count, x, dOut, elementsOf<T>(args.dX));
    }
  });
}

}  // namespace sralign::cuda
