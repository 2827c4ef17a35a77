// The preference losses and the sums they start from: a few numbers per pair, so plain code in double.
#pragma once

#include "../backend.h"

namespace sralign::cpu {

void sequenceSum(const SequenceSumArgs& args);
void sequenceSumBackward(const SequenceSumBackwardArgs& args);
void preferenceLoss(const PreferenceLossArgs& args);

}  // namespace sralign::cpu
