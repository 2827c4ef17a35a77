// Layer normalisation of rows x f32 [T, H], forward and backward: norm.cuh with a mean and a bias.
//   out = xh w + b,  xh = (x - mean) rstd,  rstd = 1 / sqrt(mean((x - mean)^2) + eps)
//
// Launch: norm.cuh.
//
// Bytes, out and dOut of element size E, S strips: forward T H (4 + E); backward T H (8 + E), 4 T H more
// where dX accumulates, and 16 S H for the parts of dW and dB. FLOPs: 8 T H and 17 T H.
#include "norm.cuh"
#include "ops.h"

namespace sralign::cuda {

void layerNorm(Context& context, const LayerNormArgs& args) {
  normForward<true>(context, "layerNorm", args.x, args.weight.f32(), args.bias.f32(), args.epsilon, args.out,
                    args.mean.f32(), args.rstd.f32());
}

void layerNormBackward(Context& context, const LayerNormBackwardArgs& args) {
  normBackward<true>(context, {.operation = "layerNormBackward",
                               .x = args.x,
                               .weight = args.weight.f32(),
                               .means = args.mean.f32(),
                               .rstds = args.rstd.f32(),
                               .dOut = args.dOut,
                               .dX = args.dX.f32(),
                               .accumulate = args.accumulate,
                               .dWeight = args.dWeight.f32(),
                               .dBias = args.dBias.f32()});
}

}  // namespace sralign::cuda
