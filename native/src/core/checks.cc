#include "checks.h"

#include <string>
#include <vector>

#include "error.h"

namespace sralign {

namespace {

[[noreturn]] void fail(const std::string& name, int64_t index, int64_t value, const std::string& rule) {
  throw IndexError("\"" + name + "\"[" + std::to_string(index) + "] is " + std::to_string(value) + ", but " +
                   rule);
}

}  // namespace

void checkRange(const char* name, const int32_t* values, int64_t count, int64_t limit, int64_t lowest) {
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] < lowest || values[i] >= limit) {
      fail(name, i, values[i],
           "must be at least " + std::to_string(lowest) + " and below " + std::to_string(limit));
    }
  }
}

void checkNonDecreasing(const char* name, const int32_t* values, int64_t count) {
  for (int64_t i = 1; i < count; ++i) {
    if (values[i] < values[i - 1]) {
      fail(name, i, values[i],
           "the values must not decrease and the one before is " + std::to_string(values[i - 1]));
    }
  }
}

void checkDistinct(const char* name, const int32_t* values, int64_t count, int64_t limit) {
  std::vector<bool> seen(static_cast<size_t>(limit));
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<size_t>(values[i]);
    if (seen[value]) fail(name, i, values[i], "each value may stand there only once");
    seen[value] = true;
  }
}

void checkSegments(const int32_t* segments, int64_t count, int64_t tokens) {
  int64_t next = 0;
  for (int64_t s = 0; s < count; ++s) {
    const int32_t start = segments[3 * s], length = segments[3 * s + 1], parent = segments[3 * s + 2];
    if (start != next) {
      throw IndexError("\"segments\": segment " + std::to_string(s) + " starts at " + std::to_string(start) +
                       ", but must start at " + std::to_string(next) + ", where the one before ends");
    }
    if (length < 1 || start + int64_t{length} > tokens) {
      throw IndexError("\"segments\": segment " + std::to_string(s) + " has length " +
                       std::to_string(length) + ", but must have at least 1 and end within the " +
                       std::to_string(tokens) + " tokens");
    }
    if (parent < -1 || parent >= s) {
      throw IndexError("\"segments\": segment " + std::to_string(s) + " has parent " +
                       std::to_string(parent) + ", but must have -1 (none) or a segment before it");
    }
    next += length;
  }
  if (next != tokens) {
    throw IndexError("\"segments\": they end at token " + std::to_string(next) + ", but there are " +
                     std::to_string(tokens) + " tokens");
  }
}

void checkOffsets(const int32_t* offsets, int64_t count, int64_t last) {
  if (offsets[0] != 0) fail("offsets", 0, offsets[0], "must be 0");
  checkNonDecreasing("offsets", offsets, count);
  if (offsets[count - 1] != last) {
    fail("offsets", count - 1, offsets[count - 1], "must be the number of values, " + std::to_string(last));
  }
}

namespace {

void checkTensor(const char* name, const TensorView& tensor, int64_t limit, int64_t lowest = 0) {
  checkRange(name, tensor.host, tensor.numel(), limit, lowest);
}

void checkForest(const TensorView& segments, const TensorView& qkv) {
  checkSegments(segments.host, segments.shape[0], qkv.shape[0]);
}

template <typename Args>
void checkLogprobTargets(const Args& args) {
  const int64_t tokens = args.hidden.shape[0];
  checkTensor("rows", args.rows, tokens);
  checkDistinct("rows", args.rows.host, args.rows.shape[0], tokens);
  checkTensor("targetRows", args.targetRows, args.rows.shape[0]);
  checkNonDecreasing("targetRows", args.targetRows.host, args.targetRows.shape[0]);
  checkTensor("labels", args.labels, args.weight.shape[0]);
}

}  // namespace

void checkIndices(const EmbeddingArgs& args) { checkTensor("tokens", args.tokens, args.table.shape[0]); }
void checkIndices(const EmbeddingBackwardArgs& args) {
  checkTensor("tokens", args.tokens, args.dTable.shape[0]);
}
void checkIndices(const RotaryArgs& args) { checkTensor("positions", args.positions, args.cosines.shape[0]); }
void checkIndices(const AttentionArgs& args) { checkForest(args.segments, args.qkv); }
void checkIndices(const AttentionBackwardArgs& args) { checkForest(args.segments, args.qkv); }
void checkIndices(const LinearLogprobArgs& args) { checkLogprobTargets(args); }
void checkIndices(const LinearLogprobBackwardArgs& args) { checkLogprobTargets(args); }
// -1 masks a row.
void checkIndices(const LogprobGatherArgs& args) {
  checkTensor("labels", args.labels, args.logits.shape[1], -1);
}
void checkIndices(const LogprobGatherBackwardArgs& args) {
  checkTensor("labels", args.labels, args.logits.shape[1], -1);
}
void checkIndices(const SequenceSumArgs& args) {
  checkOffsets(args.offsets.host, args.offsets.shape[0], args.values.shape[0]);
}
void checkIndices(const SequenceSumBackwardArgs& args) {
  checkOffsets(args.offsets.host, args.offsets.shape[0], args.dValues.shape[0]);
}
void checkIndices(const PreferenceLossArgs& args) {
  checkTensor("responseTokens", args.responseTokens, int64_t{1} << 31, 1);
}

}  // namespace sralign
