// The work of attention as lists, built on the host from the segments (backend.h): which query tiles there
// are, and which of them see a tile of keys. Every list is linear in the number of tiles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../backend.h"

namespace sralign::cuda {

// `count` tokens from `row` on, the first at chain position `position`. `parent` is the segment that a
// segment continues (-1: none), or the one a tile lies in.
struct alignas(16) Span {
  int32_t row, count, position, parent;
};

// No window is one that nothing reaches. Small enough for a position and a window to be added.
inline int32_t windowOf(int64_t window) {
  constexpr int64_t kAll = 1 << 30;
  return static_cast<int32_t>(window > 0 ? std::min(window, kAll) : kAll);
}

inline std::vector<Span> segmentSpans(const TensorView& segments) {
  std::vector<Span> spans;
  for (int64_t s = 0; s < segments.shape[0]; ++s) {
    const int32_t* segment = segments.host + 3 * s;
    const int32_t parent = segment[2];
    const int32_t position = parent < 0 ? 0 : spans[parent].position + spans[parent].count;
    spans.push_back({segment[0], segment[1], position, parent});
  }
  return spans;
}

// The tiles of all segments, of `rows` tokens or fewer at a segment's end, in depth-first order: a segment's
// own tiles [first, end of its own) are followed by those of its descendants, so that everything that sees
// its keys is one range [first, end).
struct DepthFirstTiles {
  std::vector<Span> tiles;
  std::vector<int32_t> first, end;  // [S]

  DepthFirstTiles(const std::vector<Span>& segments, int rows)
      : first(segments.size()), end(segments.size()) {
    const auto own = [&](size_t s) { return (segments[s].count + rows - 1) / rows; };
    std::vector<int32_t> size(segments.size());  // tiles of a segment and its descendants
    for (size_t s = segments.size(); s-- > 0;) {
      size[s] += own(s);
      if (segments[s].parent >= 0) size[segments[s].parent] += size[s];
    }
    int32_t nextRoot = 0;
    std::vector<int32_t> next(segments.size());  // where the next child of a segment goes
    for (size_t s = 0; s < segments.size(); ++s) {
      int32_t& place = segments[s].parent < 0 ? nextRoot : next[segments[s].parent];
      first[s] = place;
      place += size[s];
      end[s] = place;
      next[s] = first[s] + own(s);
    }
    tiles.resize(nextRoot);
    for (size_t s = 0; s < segments.size(); ++s) {
      const Span& segment = segments[s];
      for (int32_t at = 0, tile = first[s]; at < segment.count; at += rows, ++tile) {
        tiles[tile] = {segment.row + at, std::min(rows, segment.count - at), segment.position + at,
                       static_cast<int32_t>(s)};
      }
    }
  }
};

// Most keys first: a long task that starts last keeps the whole device waiting.
inline void sortByKeys(std::vector<Span>& tiles, int32_t window) {
  const auto keys = [&](const Span& tile) { return std::min(tile.position, window) + tile.count; };
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&](const Span& a, const Span& b) { return keys(a) > keys(b); });
}

// What a block does for a tile of keys: the query tiles [first, end). A tile that many queries see (a prompt
// above a whole batch) is shared by several tasks, each with a partial sum of its own; -1: the only task of
// its tile.
struct KeyTask {
  Span keys;
  int32_t first, end, partial;
};

struct KeyTasks {
  std::vector<KeyTask> tasks;   // most queries first
  std::vector<KeyTask> shared;  // one per shared tile; [first, end) are its partial sums
  int32_t partials = 0;         // fewer than 2 `wanted`

  // Tiles of `keyRows` keys against query tiles of `queryRows`. No task is longer than the `wanted`-th part
  // of all the work, unless that is little.
  KeyTasks(const std::vector<Span>& segments, const DepthFirstTiles& queries, int keyRows, int queryRows,
           int64_t wanted) {
    std::vector<KeyTask> whole;
    int64_t total = 0;
    for (size_t s = 0; s < segments.size(); ++s) {
      const Span& segment = segments[s];
      for (int32_t at = 0; at < segment.count; at += keyRows) {
        const Span keys = {segment.row + at, std::min(keyRows, segment.count - at), segment.position + at,
                           static_cast<int32_t>(s)};
        whole.push_back({keys, queries.first[s] + at / queryRows, queries.end[s], -1});
        total += whole.back().end - whole.back().first;
      }
    }
    constexpr int64_t kLittle = 16;
    const int64_t longest = std::max(kLittle, (total + wanted - 1) / wanted);
    for (const KeyTask& task : whole) split(task, longest);
    std::stable_sort(tasks.begin(), tasks.end(),
                     [](const KeyTask& a, const KeyTask& b) { return a.end - a.first > b.end - b.first; });
  }

 private:
  void split(const KeyTask& task, int64_t longest) {
    const int64_t count = task.end - task.first, parts = (count + longest - 1) / longest;
    if (parts == 1) return tasks.push_back(task);
    const auto border = [&](int64_t part) { return task.first + static_cast<int32_t>(count * part / parts); };
    shared.push_back({task.keys, partials, partials + static_cast<int32_t>(parts), -1});
    for (int64_t part = 0; part < parts; ++part) {
      tasks.push_back({task.keys, border(part), border(part + 1), partials++});
    }
  }
};

}  // namespace sralign::cuda
