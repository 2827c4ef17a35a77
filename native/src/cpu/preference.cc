#include "preference.h"

#include <cmath>

namespace sralign::cpu {

namespace {

double logSigmoid(double z) { return std::fmin(z, 0.0) - std::log1p(std::exp(-std::fabs(z))); }

double sigmoid(double z) {
  const double e = std::exp(-std::fabs(z));
  return (z >= 0 ? 1.0 : e) / (1.0 + e);
}

struct LossAndSlope {
  double loss;
  double slope;  // d loss / d margin
};

// -(1-e) log s(z) - e log s(-z) at z = beta m - lambda delta.
LossAndSlope dpo(const PreferenceLossArgs& args, double margin, double delta) {
  const double z = args.beta * margin - args.lambda * delta;
  const double e = args.labelSmoothing;
  return {-(1 - e) * logSigmoid(z) - e * logSigmoid(-z),
          args.beta * (e * sigmoid(z) - (1 - e) * sigmoid(-z))};
}

// (m - lambda delta - 1/(2 beta))^2.
LossAndSlope ipo(const PreferenceLossArgs& args, double margin, double delta) {
  const double distance = margin - args.lambda * delta - 1 / (2 * args.beta);
  return {distance * distance, 2 * distance};
}

}  // namespace

void sequenceSum(const SequenceSumArgs& args) {
  const float* values = args.values.f32();
  const int32_t* offsets = args.offsets.i32();
  for (int64_t q = 0; q < args.sums.shape[0]; ++q) {
    double sum = 0;
    for (int32_t i = offsets[q]; i < offsets[q + 1]; ++i) sum += values[i];
    args.sums.f32()[q] = static_cast<float>(sum);
  }
}

void sequenceSumBackward(const SequenceSumBackwardArgs& args) {
  const int32_t* offsets = args.offsets.i32();
  for (int64_t q = 0; q < args.dSums.shape[0]; ++q) {
    for (int32_t i = offsets[q]; i < offsets[q + 1]; ++i) args.dValues.f32()[i] = args.dSums.f32()[q];
  }
}

void preferenceLoss(const PreferenceLossArgs& args) {
  const bool sft = args.method == PreferenceMethod::sft;
  const int64_t pairs = args.policy.shape[0], columns = args.policy.shape[1];
  for (int64_t pair = 0; pair < pairs; ++pair) {
    // What one log-prob is multiplied by before it enters the loss.
    const auto weight = [&](int64_t column) {
      return args.reduction == LogpReduction::sum ? 1.0
                                                  : 1.0 / args.responseTokens.i32()[pair * columns + column];
    };
    const auto logp = [&](const TensorView& logps, int64_t column) {
      return logps.f32()[pair * columns + column] * weight(column);
    };
    float* dLogps = args.dLogps.f32() + pair * columns;
    if (sft) {
      args.losses.f32()[pair] = static_cast<float>(-logp(args.policy, 0));
      dLogps[0] = static_cast<float>(-args.lossScale * weight(0));
      continue;
    }
    // log-ratio of the chosen answer minus log-ratio of the rejected one
    const auto marginOf = [&](const TensorView& policy, const TensorView& reference) {
      return (logp(policy, 0) - logp(reference, 0)) - (logp(policy, 1) - logp(reference, 1));
    };
    const double margin = marginOf(args.policy, args.reference);
    const double delta =
        args.augmentedPolicy ? args.beta * marginOf(args.augmentedPolicy, args.augmentedReference) : 0.0;
    const auto [loss, slope] =
        args.method == PreferenceMethod::dpo ? dpo(args, margin, delta) : ipo(args, margin, delta);
    args.losses.f32()[pair] = static_cast<float>(loss);
    args.margins.f32()[pair] = static_cast<float>(margin);
    args.deltas.f32()[pair] = static_cast<float>(delta);
    dLogps[0] = static_cast<float>(args.lossScale * slope * weight(0));
    dLogps[1] = static_cast<float>(-args.lossScale * slope * weight(1));
  }
}

}  // namespace sralign::cpu
