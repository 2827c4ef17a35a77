// The output matrix and the log-softmax behind it, panel by panel, so that the [tokens, vocabulary]
// logits need not exist.
#pragma once

#include "kernels.h"

namespace sralign::cpu {

void linearLogprob(const Kernels& kernels, const LinearLogprobArgs& args);
void linearLogprobBackward(const Kernels& kernels, const LinearLogprobBackwardArgs& args);

}  // namespace sralign::cpu
