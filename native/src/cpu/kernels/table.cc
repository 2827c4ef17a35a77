// The Kernels table of one instruction set.
#include "kernels_isa.h"

namespace sralign::cpu {

#define SRALIGN_TEXT_OF(name) #name
#define SRALIGN_TEXT(name) SRALIGN_TEXT_OF(name)

const Kernels SRALIGN_TABLE = {
    .name = SRALIGN_TEXT(SRALIGN_ISA),
    .embedding = SRALIGN_ISA::embedding,
    .embeddingBackward = SRALIGN_ISA::embeddingBackward,
    .layerNorm = SRALIGN_ISA::layerNorm,
    .layerNormBackward = SRALIGN_ISA::layerNormBackward,
    .rmsNorm = SRALIGN_ISA::rmsNorm,
    .rmsNormBackward = SRALIGN_ISA::rmsNormBackward,
    .rotary = SRALIGN_ISA::rotary,
    .attention = SRALIGN_ISA::attention,
    .attentionBackward = SRALIGN_ISA::attentionBackward,
    .attentionCached = SRALIGN_ISA::attentionCached,
    .gelu = SRALIGN_ISA::gelu,
    .geluBackward = SRALIGN_ISA::geluBackward,
    .swiglu = SRALIGN_ISA::swiglu,
    .swigluBackward = SRALIGN_ISA::swigluBackward,
    .add = SRALIGN_ISA::add,
    .cast = SRALIGN_ISA::cast,
    .scale = SRALIGN_ISA::scale,
    .biasFill = SRALIGN_ISA::biasFill,
    .biasBackward = SRALIGN_ISA::biasBackward,
    .logprobPanel = SRALIGN_ISA::logprobPanel,
    .logprobPanelBackward = SRALIGN_ISA::logprobPanelBackward,
    .logprobGather = SRALIGN_ISA::logprobGather,
    .logprobGatherBackward = SRALIGN_ISA::logprobGatherBackward,
    .rmsprop = SRALIGN_ISA::rmsprop,
    .adamw = SRALIGN_ISA::adamw,
    .sumOfSquares = SRALIGN_ISA::sumOfSquares,
};

}  // namespace sralign::cpu
