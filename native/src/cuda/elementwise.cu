// add: out = a + b (out may be a); cast: out = x in another type; scale: x = factor x. N elements.
//
// Launch: elementwise.cuh.
//
// Bytes: add 8 N and N elements of b; cast N elements of x and of out; scale 8 N. FLOPs: N.
#include "elementwise.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

struct Plus {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct Same {
  __device__ __forceinline__ float operator()(float x) const { return x; }
};
struct Times {
  float factor;
  __device__ __forceinline__ float operator()(float x) const { return x * factor; }
};

}  // namespace

void add(Context& context, const AddArgs& args) {
  withType(args.b.dtype, [&](auto type) {
    map(context, "add", Plus{}, args.out.numel(), args.a.f32(), elementsOf<decltype(type)>(args.b),
        args.out.f32());
  });
}

void cast(Context& context, const CastArgs& args) {
  const int64_t count = args.out.numel();
  if (args.x.dtype == args.out.dtype) {
    // A copy, so that every bit of a NaN stays.
    check(cudaMemcpyAsync(args.out.data, args.x.data, static_cast<size_t>(args.out.bytes()),
                          cudaMemcpyDeviceToDevice, context.stream()),
          "cast");
  } else if (args.x.dtype == DType::bf16) {
    map(context, "cast", Same{}, count, elementsOf<bf16>(args.x), args.out.f32());
  } else {
    map(context, "cast", Same{}, count, args.x.f32(), elementsOf<bf16>(args.out));
  }
}

void scale(Context& context, const ScaleArgs& args) {
  map(context, "scale", Times{args.factor}, args.x.numel(), args.x.f32(), args.x.f32());
}

}  // namespace sralign::cuda
