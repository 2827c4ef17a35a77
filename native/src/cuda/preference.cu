// The preference losses and their gradient in one launch, in double, with w = 1 or 1 / response tokens:
//   m = w+ (policy+ - reference+) - w- (policy- - reference-);  delta = beta (the same, augmented), or 0
//   sft: -w policy;  dpo: -(1-e) log s(z) - e log s(-z) at z = beta m - lambda delta;
//   ipo: (m - lambda delta - 1/(2 beta))^2;  dlogp+ = scale w+ dloss/dm,  dlogp- = -scale w- dloss/dm
// No gradient flows through delta.
//
// One thread per pair, blocks of 128. Bytes per pair: 16 for SFT, at most 60 otherwise.
#include "common.cuh"
#include "ops.h"

namespace sralign::cuda {

namespace {

constexpr int kThreads = 128;

struct Settings {
  PreferenceMethod method;
  LogpReduction reduction;
  double beta, lambda, labelSmoothing, lossScale;
};

struct Pairs {
  const float *policy, *reference;                    // [B, c]
  const float *augmentedPolicy, *augmentedReference;  // [B, c], both or neither
  const int32_t* responseTokens;                      // [B, c]
  float *losses, *margins, *deltas, *dLogps;
};

__device__ __forceinline__ double logSigmoid(double z) { return fmin(z, 0.0) - log1p(exp(-fabs(z))); }

__device__ __forceinline__ double sigmoid(double z) {
  const double e = exp(-fabs(z));
  return (z >= 0 ? 1.0 : e) / (1.0 + e);
}

// What one log-prob is multiplied by before it enters the loss.
__device__ __forceinline__ double weightOf(const Settings& settings, const Pairs& pairs, int64_t index) {
  return settings.reduction == LogpReduction::sum ? 1.0 : 1.0 / pairs.responseTokens[index];
}

__global__ void __launch_bounds__(kThreads) sftLossKernel(Settings settings, Pairs pairs, int64_t count) {
  const int64_t answer = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (answer >= count) return;
  const double weight = weightOf(settings, pairs, answer);
  pairs.losses[answer] = static_cast<float>(-pairs.policy[answer] * weight);
  pairs.dLogps[answer] = static_cast<float>(-settings.lossScale * weight);
}

__global__ void __launch_bounds__(kThreads) pairLossKernel(Settings settings, Pairs pairs, int64_t count) {
  const int64_t pair = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (pair >= count) return;
  const int64_t chosen = 2 * pair, rejected = chosen + 1;
  const double chosenWeight = weightOf(settings, pairs, chosen);
  const double rejectedWeight = weightOf(settings, pairs, rejected);
  // Policy and reference are subtracted before they are weighed: a fused multiply-add of rounded products
  // would leave something of the difference of equal numbers.
  const auto marginOf = [&](const float* policy, const float* reference) {
    const double chosenRatio = static_cast<double>(policy[chosen]) - reference[chosen];
    const double rejectedRatio = static_cast<double>(policy[rejected]) - reference[rejected];
    return chosenRatio * chosenWeight - rejectedRatio * rejectedWeight;
  };
  const double beta = settings.beta, e = settings.labelSmoothing;
  const double margin = marginOf(pairs.policy, pairs.reference);
  const double delta =
      pairs.augmentedPolicy ? beta * marginOf(pairs.augmentedPolicy, pairs.augmentedReference) : 0.0;
  double loss, slope;  // slope = d loss / d margin
  if (settings.method == PreferenceMethod::dpo) {
    const double z = beta * margin - settings.lambda * delta;
    loss = -(1 - e) * logSigmoid(z) - e * logSigmoid(-z);
    slope = beta * (e * sigmoid(z) - (1 - e) * sigmoid(-z));
  } else {
    const double distance = margin - settings.lambda * delta - 1 / (2 * beta);
    loss = distance * distance;
    slope = 2 * distance;
  }
  pairs.losses[pair] = static_cast<float>(loss);
  pairs.margins[pair] = static_cast<float>(margin);
  pairs.deltas[pair] = static_cast<float>(delta);
  pairs.dLogps[chosen] = static_cast<float>(settings.lossScale * slope * chosenWeight);
  pairs.dLogps[rejected] = static_cast<float>(-settings.lossScale * slope * rejectedWeight);
}

}  // namespace

void preferenceLoss(Context& context, const PreferenceLossArgs& args) {
  const int64_t count = args.policy.shape[0];
  const Settings settings{args.method, args.reduction,      args.beta,
                          args.lambda, args.labelSmoothing, args.lossScale};
  const Pairs pairs{args.policy.f32(),          args.reference.f32(),
                    args.augmentedPolicy.f32(), args.augmentedReference.f32(),
                    args.responseTokens.i32(),  args.losses.f32(),
                    args.margins.f32(),         args.deltas.f32(),
                    args.dLogps.f32()};
  launch(context,
         {.operation = "preferenceLoss",
          .grid = dim3(static_cast<unsigned>(ceilDiv(count, kThreads))),
          .block = dim3(kThreads)},
         args.method == PreferenceMethod::sft ? sftLossKernel : pairLossKernel, settings, pairs, count);
}

}  // namespace sralign::cuda
