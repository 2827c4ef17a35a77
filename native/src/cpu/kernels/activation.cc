// Activations, forward and backward, over flat arrays or rows; all arithmetic in f32.
//   gelu, erf:   x Phi(x)                                     Phi, phi: normal distribution and density
//   gelu, tanh:  x s(2u), u = sqrt(2/pi) (x + 0.044715 x^3)   s: logistic function; 0.5 (1 + tanh u) = s(2u)
//   swiglu:      g s(g) * u                                   row: gate g [F] | up u [F]
// Gradients overwrite.
#include "kernels_isa.h"
#include "simd.h"

namespace sralign::cpu::SRALIGN_ISA {

namespace {

// Elements a thread takes at a time, and the least worth waking the others for.
constexpr int64_t kBlock = 8192;

// s(x) and 1 - s(x) = e^-x s(x), which keeps its accuracy where s is close to 1. The limit matters only where
// s, and with it every product of the two, is 0 to rounding.
struct Logistic {
  Vf value, complement;
  explicit Logistic(Vf x) {
    const Vf e = exp(-x);
    value = 1.0f / (1.0f + e);
    complement = min(splat(1e30f), e) * value;
  }
};

struct GeluErf {
  static Vf value(Vf x) { return x * normal(x).distribution; }
  static Vf slope(Vf x) {
    const Normal at = normal(x);
    return at.distribution + x * at.density;
  }
};

struct GeluTanh {
  static constexpr float kTwoU = 1.5957691216f;  // 2 sqrt(2/pi)
  static Vf value(Vf x) { return x * sigmoid(kTwoU * (x + 0.044715f * (x * x * x))); }
  // The slope is 0 or 1 to rounding outside +-10; the limits keep x^3 finite.
  static Vf slope(Vf x) {
    x = min(splat(10.0f), max(splat(-10.0f), x));
    const Logistic s(kTwoU * (x + 0.044715f * (x * x * x)));
    return s.value + x * s.value * s.complement * (kTwoU * (1.0f + 0.134145f * (x * x)));
  }
};

template <typename Kind, typename T>
void geluForward(const T* x, int64_t count, T* out) {
#pragma omp parallel for schedule(static) if (count > kBlock)
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t end = first + kBlock < count ? first + kBlock : count;
    int64_t i = first;
    for (; i + kLanes <= end; i += kLanes) store(out + i, Kind::value(load(x + i)));
    if (i < end) storePartial(out + i, Kind::value(loadPartial(x + i, end - i, 0)), end - i);
  }
}

template <typename Kind, typename T>
void geluGradient(const T* x, const T* dOut, int64_t count, T* dX) {
#pragma omp parallel for schedule(static) if (count > kBlock)
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t end = first + kBlock < count ? first + kBlock : count;
    int64_t i = first;
    for (; i + kLanes <= end; i += kLanes) store(dX + i, load(dOut + i) * Kind::slope(load(x + i)));
    if (i < end) {
      const int64_t rest = end - i;
      storePartial(dX + i, loadPartial(dOut + i, rest, 0) * Kind::slope(loadPartial(x + i, rest, 0)), rest);
    }
  }
}

template <typename T>
void gelu(GeluKind kind, const T* x, int64_t count, T* out) {
  if (kind == GeluKind::erf) {
    geluForward<GeluErf>(x, count, out);
  } else {
    geluForward<GeluTanh>(x, count, out);
  }
}

template <typename T>
void geluBackward(GeluKind kind, const T* x, const T* dOut, int64_t count, T* dX) {
  if (kind == GeluKind::erf) {
    geluGradient<GeluErf>(x, dOut, count, dX);
  } else {
    geluGradient<GeluTanh>(x, dOut, count, dX);
  }
}

template <typename T>
void swiglu(const T* gateUp, int64_t rows, int64_t width, T* out) {
#pragma omp parallel for schedule(static) if (rows * width > kBlock)
  for (int64_t t = 0; t < rows; ++t) {
    const T* gate = gateUp + 2 * t * width;
    const T* up = gate + width;
    T* target = out + t * width;
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      const Vf g = load(gate + i);
      store(target + i, g * sigmoid(g) * load(up + i));
    }
    if (i < width) {
      const Vf g = loadPartial(gate + i, width - i, 0);
      storePartial(target + i, g * sigmoid(g) * loadPartial(up + i, width - i, 0), width - i);
    }
  }
}

// d silu(g) / dg = s (1 + g (1 - s))
struct SwigluGradient {
  Vf gate, up;
  SwigluGradient(Vf g, Vf u, Vf d) {
    const Logistic s(g);
    gate = d * u * (s.value + g * s.value * s.complement);
    up = d * g * s.value;
  }
};

template <typename T>
void swigluBackward(const T* gateUp, const T* dOut, int64_t rows, int64_t width, T* dGateUp) {
#pragma omp parallel for schedule(static) if (rows * width > kBlock)
  for (int64_t t = 0; t < rows; ++t) {
    const T* gate = gateUp + 2 * t * width;
    const T* up = gate + width;
    const T* source = dOut + t * width;
    T* dGate = dGateUp + 2 * t * width;
    T* dUp = dGate + width;
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      const SwigluGradient d(load(gate + i), load(up + i), load(source + i));
      store(dGate + i, d.gate);
      store(dUp + i, d.up);
    }
    if (i < width) {
      const int64_t rest = width - i;
      const SwigluGradient d(loadPartial(gate + i, rest, 0), loadPartial(up + i, rest, 0),
                             loadPartial(source + i, rest, 0));
      storePartial(dGate + i, d.gate, rest);
      storePartial(dUp + i, d.up, rest);
    }
  }
}

}  // namespace

void gelu(const GeluArgs& args) {
  const int64_t count = args.out.numel();
  if (args.x.dtype == DType::bf16) {
    gelu(args.kind, args.x.bf16(), count, args.out.bf16());
  } else {
    gelu(args.kind, args.x.f32(), count, args.out.f32());
  }
}

void geluBackward(const GeluBackwardArgs& args) {
  const int64_t count = args.dX.numel();
  if (args.x.dtype == DType::bf16) {
    geluBackward(args.kind, args.x.bf16(), args.dOut.bf16(), count, args.dX.bf16());
  } else {
    geluBackward(args.kind, args.x.f32(), args.dOut.f32(), count, args.dX.f32());
  }
}

void swiglu(const SwigluArgs& args) {
  const int64_t rows = args.out.shape[0], width = args.out.shape[1];
  if (args.out.dtype == DType::bf16) {
    swiglu(args.gateUp.bf16(), rows, width, args.out.bf16());
  } else {
    swiglu(args.gateUp.f32(), rows, width, args.out.f32());
  }
}

void swigluBackward(const SwigluBackwardArgs& args) {
  const int64_t rows = args.dOut.shape[0], width = args.dOut.shape[1];
  if (args.dOut.dtype == DType::bf16) {
    swigluBackward(args.gateUp.bf16(), args.dOut.bf16(), rows, width, args.dGateUp.bf16());
  } else {
    swigluBackward(args.gateUp.f32(), args.dOut.f32(), rows, width, args.dGateUp.f32());
  }
}

}  // namespace sralign::cpu::SRALIGN_ISA
