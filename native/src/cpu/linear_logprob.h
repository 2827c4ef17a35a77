// The output matrix and the log-softmax behind it, in chunks of rows, so that [tokens, vocabulary] logits
// never exist.
#pragma once

#include "kernels.h"

namespace sralign::cpu {

void linearLogprob(const Kernels& kernels, const LinearLogprobArgs& args);
void linearLogprobBackward(const Kernels& kernels, const LinearLogprobBackwardArgs& args);

}  // namespace sralign::cpu
