// One binding per operation of the backend: positional arguments in the order of the fields of its Args
// struct.
#include "../core/checks.h"
#include "arguments.h"

namespace sralign::addon {

namespace {

// Braces evaluate left to right, so each struct below reads its fields from the call in order.
template <typename Args, void (Backend::*operation)(const Args&), Args (*readArgs)(Arguments&)>
Napi::Value run(Engine& engine, Arguments& arguments) {
  const Args args = readArgs(arguments);
  checkIndices(args);
  ((*engine.backend).*operation)(args);
  return arguments.env().Undefined();
}

EmbeddingArgs embedding(Arguments& a) { return {a.tensor(), a.tensor(), a.tensor()}; }
EmbeddingBackwardArgs embeddingBackward(Arguments& a) { return {a.tensor(), a.tensor(), a.tensor()}; }

LinearArgs linear(Arguments& a) { return {a.tensor(), a.tensor(), a.optionalTensor(), a.tensor()}; }
LinearBackwardInputArgs linearBackwardInput(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), a.boolean()};
}
LinearBackwardWeightArgs linearBackwardWeight(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), a.optionalTensor()};
}

LayerNormArgs layerNorm(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), static_cast<float>(a.number()),
          a.tensor(), a.tensor(), a.tensor()};
}
LayerNormBackwardArgs layerNormBackward(Arguments& a) {
  return {a.tensor(), a.tensor(),  a.tensor(), a.tensor(), a.tensor(),
          a.tensor(), a.boolean(), a.tensor(), a.tensor()};
}
RmsNormArgs rmsNorm(Arguments& a) {
  return {a.tensor(), a.tensor(), static_cast<float>(a.number()), a.tensor(), a.tensor()};
}
RmsNormBackwardArgs rmsNormBackward(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), a.tensor(), a.tensor(), a.boolean(), a.tensor()};
}

RotaryArgs rotary(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), a.tensor(), a.heads(), a.boolean()};
}
AttentionArgs attention(Arguments& a) {
  return {a.tensor(), a.tensor(), a.heads(), a.integer(), a.tensor(), a.tensor()};
}
AttentionBackwardArgs attentionBackward(Arguments& a) {
  return {a.tensor(), a.tensor(), a.heads(), a.integer(), a.tensor(), a.tensor(), a.tensor(), a.tensor()};
}
AttentionCachedArgs attentionCached(Arguments& a) {
  return {a.tensor(), a.heads(), a.integer(), a.tensor(), a.tensor(), a.integer(), a.tensor()};
}

GeluArgs gelu(Arguments& a) { return {a.tensor(), a.tensor(), a.choice<GeluKind>()}; }
GeluBackwardArgs geluBackward(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), a.choice<GeluKind>()};
}
SwigluArgs swiglu(Arguments& a) { return {a.tensor(), a.tensor()}; }
SwigluBackwardArgs swigluBackward(Arguments& a) { return {a.tensor(), a.tensor(), a.tensor()}; }

AddArgs add(Arguments& a) { return {a.tensor(), a.tensor(), a.tensor()}; }
CastArgs cast(Arguments& a) { return {a.tensor(), a.tensor()}; }
ScaleArgs scale(Arguments& a) { return {a.tensor(), static_cast<float>(a.number())}; }

LinearLogprobArgs linearLogprob(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(),         a.tensor(),        a.tensor(),
          a.tensor(), a.tensor(), a.optionalTensor(), a.optionalTensor()};
}
LinearLogprobBackwardArgs linearLogprobBackward(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), a.tensor(), a.tensor(),
          a.tensor(), a.tensor(), a.tensor(), a.tensor(), a.optionalTensor()};
}
LogprobGatherArgs logprobGather(Arguments& a) { return {a.tensor(), a.tensor(), a.tensor(), a.tensor()}; }
LogprobGatherBackwardArgs logprobGatherBackward(Arguments& a) {
  return {a.tensor(), a.tensor(), a.tensor(), a.tensor(), a.tensor()};
}
SequenceSumArgs sequenceSum(Arguments& a) { return {a.tensor(), a.tensor(), a.tensor()}; }
SequenceSumBackwardArgs sequenceSumBackward(Arguments& a) { return {a.tensor(), a.tensor(), a.tensor()}; }

PreferenceLossArgs preferenceLoss(Arguments& a) {
  return {a.choice<PreferenceMethod>(),
          a.choice<LogpReduction>(),
          a.number(),
          a.number(),
          a.number(),
          a.number(),
          a.tensor(),
          a.optionalTensor(),
          a.optionalTensor(),
          a.optionalTensor(),
          a.tensor(),
          a.tensor(),
          a.optionalTensor(),
          a.optionalTensor(),
          a.tensor()};
}

RmspropArgs rmsprop(Arguments& a) {
  return {{a.tensors(), a.tensors(), a.tensors(), a.tensor()},
          a.tensors(),
          a.number(),
          a.number(),
          a.number(),
          a.number()};
}
AdamwArgs adamw(Arguments& a) {
  return {{a.tensors(), a.tensors(), a.tensors(), a.tensor()},
          a.tensors(),
          a.tensors(),
          a.number(),
          a.number(),
          a.number(),
          a.number(),
          a.number(),
          a.integer()};
}
L2NormArgs l2Norm(Arguments& a) { return {a.tensors(), a.tensor()}; }
ClipFactorArgs clipFactor(Arguments& a) { return {a.tensor(), a.number(), a.tensor()}; }

Napi::Value fillNormal(Engine& engine, Arguments& arguments) {
  const TensorView& out = arguments.tensor();
  const double deviation = arguments.number();
  engine.backend->fillNormal(out, deviation, static_cast<uint64_t>(arguments.integer()));
  return arguments.env().Undefined();
}

}  // namespace

#define SRALIGN_OP(name, Args) \
  { #name, run < Args, &Backend::name, name> }

const std::vector<Binding>& opBindings() {
  static const std::vector<Binding> bindings = {
      SRALIGN_OP(embedding, EmbeddingArgs),
      SRALIGN_OP(embeddingBackward, EmbeddingBackwardArgs),
      SRALIGN_OP(linear, LinearArgs),
      SRALIGN_OP(linearBackwardInput, LinearBackwardInputArgs),
      SRALIGN_OP(linearBackwardWeight, LinearBackwardWeightArgs),
      SRALIGN_OP(layerNorm, LayerNormArgs),
      SRALIGN_OP(layerNormBackward, LayerNormBackwardArgs),
      SRALIGN_OP(rmsNorm, RmsNormArgs),
      SRALIGN_OP(rmsNormBackward, RmsNormBackwardArgs),
      SRALIGN_OP(rotary, RotaryArgs),
      SRALIGN_OP(attention, AttentionArgs),
      SRALIGN_OP(attentionBackward, AttentionBackwardArgs),
      SRALIGN_OP(attentionCached, AttentionCachedArgs),
      SRALIGN_OP(gelu, GeluArgs),
      SRALIGN_OP(geluBackward, GeluBackwardArgs),
      SRALIGN_OP(swiglu, SwigluArgs),
      SRALIGN_OP(swigluBackward, SwigluBackwardArgs),
      SRALIGN_OP(add, AddArgs),
      SRALIGN_OP(cast, CastArgs),
      SRALIGN_OP(scale, ScaleArgs),
      SRALIGN_OP(linearLogprob, LinearLogprobArgs),
      SRALIGN_OP(linearLogprobBackward, LinearLogprobBackwardArgs),
      SRALIGN_OP(logprobGather, LogprobGatherArgs),
      SRALIGN_OP(logprobGatherBackward, LogprobGatherBackwardArgs),
      SRALIGN_OP(sequenceSum, SequenceSumArgs),
      SRALIGN_OP(sequenceSumBackward, SequenceSumBackwardArgs),
      SRALIGN_OP(preferenceLoss, PreferenceLossArgs),
      SRALIGN_OP(rmsprop, RmspropArgs),
      SRALIGN_OP(adamw, AdamwArgs),
      SRALIGN_OP(l2Norm, L2NormArgs),
      SRALIGN_OP(clipFactor, ClipFactorArgs),
      {"fillNormal", fillNormal},
  };
  return bindings;
}

}  // namespace sralign::addon
