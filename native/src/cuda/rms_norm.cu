// Root-mean-square normalisation of rows x f32 [T, H], forward and backward: norm.cuh without mean and bias.
//   out = xh w,  xh = x rstd,  rstd = 1 / sqrt(mean(x^2) + eps)
//
// Launch: norm.cuh.
//
// Bytes, out and dOut of element size E, S strips: forward T H (4 + E); backward T H (8 + E), 4 T H more
// where dX accumulates, and 8 S H for the parts of dW. FLOPs: 4 T H and 11 T H.
#include "norm.cuh"
#include "ops.h"

namespace sralign::cuda {

void rmsNorm(Context& context, const RmsNormArgs& args) {
  normForward<false>(context, "rmsNorm", args.x, args.weight.f32(), nullptr, args.epsilon, args.out, nullptr,
                     args.rstd.f32());
}

void rmsNormBackward(Context& context, const RmsNormBackwardArgs& args) {
  normBackward<false>(context, {.operation = "rmsNormBackward",
                                .x = args.x,
                                .weight = args.weight.f32(),
                                .means = nullptr,
                                .rstds = args.rstd.f32(),
                                .dOut = args.dOut,
                                .dX = args.dX.f32(),
                                .accumulate = args.accumulate,
                                .dWeight = args.dWeight.f32(),
                                .dBias = nullptr});
}

}  // namespace sralign::cuda
