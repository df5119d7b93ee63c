// Stable sorting of lines: entries of a key and a position, all different, so that any order of comparisons gives the
// same result. A block sorts a tile of 2048 in shared memory (bitonic); passes over global memory merge two sorted runs,
// where each entry finds its place by a binary search in the other run. Entries beyond the first k of a line are
// dropped as soon as they are known.
#pragma once

#include <algorithm>
#include <utility>

#include "common/scan.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {

/// Keys of up to 32 bits share a word with the position.
struct PackedEntry {
  using Key = uint32_t;
  uint64_t bits;
  static FC_METHOD PackedEntry of(Key key, uint32_t position) {
    return {static_cast<uint64_t>(key) << 32 | position};
  }
  static FC_METHOD PackedEntry last() { return {~uint64_t{0}}; }
  FC_METHOD uint32_t position() const { return static_cast<uint32_t>(bits); }
  FC_METHOD bool before(const PackedEntry& o) const { return bits < o.bits; }
};
struct alignas(16) WideEntry {
  using Key = uint64_t;
  uint64_t key, at;
  static FC_METHOD WideEntry of(Key key, uint32_t position) { return {key, position}; }
  static FC_METHOD WideEntry last() { return {~uint64_t{0}, ~uint64_t{0}}; }
  FC_METHOD uint32_t position() const { return static_cast<uint32_t>(at); }
  FC_METHOD bool before(const WideEntry& o) const { return key < o.key || (key == o.key && at < o.at); }
};

constexpr int kSortThreads = 512;

/// A block for each tile of each line; source(line, i) is the entry of position i. Shared memory: `size` entries, a
/// power of 2. Writes the first `run` of the tile.
template <class E, class Source>
FC_KERNEL sort_tile_kernel(Source source, unsigned count, unsigned tiles, unsigned size, unsigned run,
                           int64_t length, E* out) {
  E* tile = dynamic_smem<E>();
  const unsigned line = blockIdx.x / tiles, number = blockIdx.x % tiles;
  const unsigned first = number * static_cast<unsigned>(SortTiles::kTile);
  const unsigned here = min(count - first, static_cast<unsigned>(SortTiles::kTile));
  for (unsigned i = threadIdx.x; i < size; i += blockDim.x)
    store(tile + i, i < here ? source(line, first + i) : E::last());
  for (unsigned sorted = 2; sorted <= size; sorted *= 2) {
    for (unsigned step = sorted / 2; step > 0; step /= 2) {
      __syncthreads();
      for (unsigned i = threadIdx.x; i < size / 2; i += blockDim.x) {
        const unsigned low = 2 * i - (i & (step - 1));
        const E a = load(tile + low), b = load(tile + low + step);
        if (b.before(a) != ((low & sorted) != 0)) {
          store(tile + low, b);
          store(tile + low + step, a);
        }
      }
    }
  }
  __syncthreads();
  E* to = out + line * length + static_cast<int64_t>(number) * run;
  for (unsigned i = threadIdx.x; i < min(run, here); i += blockDim.x) store(to + i, load(tile + i));
}

/// Merges runs of `run` entries in pairs, of which the first `kept` remain. A thread for each of `length` entries of a
/// line, whose lines are `pitch` apart.
template <class E>
FC_KERNEL sort_merge_kernel(const E* in, E* out, unsigned count, FastDivide length, FastDivide run,
                            unsigned kept, int64_t pitch) {
  unsigned line = blockIdx.x * kSortThreads + threadIdx.x;
  if (line >= count) return;
  const unsigned at = length.split(line);
  unsigned number = at;
  const unsigned within = run.split(number);
  const E* from = in + line * pitch;
  const E mine = load(from + at);
  // The other run: how many of it come first?
  const unsigned begin = min((number ^ 1) * run.divisor, length.divisor);
  unsigned low = 0, high = min(run.divisor, length.divisor - begin);
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if (load(from + begin + middle).before(mine))
      low = middle + 1;
    else
      high = middle;
  }
  const unsigned place = within + low;
  if (place < kept) store(out + line * pitch + static_cast<int64_t>(number / 2) * kept + place, mine);
}

/// Sorts lines of source(line, i), i < count; the result has the first k of each, `pitch` apart, in `workspace`
/// (SortTiles::bytes).
template <class E, class Source>
const E* sort_lines(const char* op, const SortTiles& t, const Source& source, void* workspace,
                    cudaStream_t stream) {
  const int64_t tiles = t.tiles(), pitch = t.length();
  FC_CHECK(t.lines <= kMaxIndices / std::max(t.count, tiles), op, ": ", t.lines, " lines of ", t.count,
           " elements, expected at most ", kMaxIndices, " elements on CUDA");
  unsigned size = 2;
  while (size < std::min(t.count, SortTiles::kTile)) size *= 2;
  E *from = static_cast<E*>(workspace), *to = from + t.lines * pitch;
  const unsigned threads = std::min(std::max(size / 2, 32u), unsigned{kSortThreads});
  launch(op, sort_tile_kernel<E, Source>,
         {dim3(static_cast<unsigned>(t.lines * tiles)), dim3(threads), stream, size * sizeof(E)}, source,
         static_cast<unsigned>(t.count), static_cast<unsigned>(tiles), size, static_cast<unsigned>(t.run()),
         pitch, from);
  int64_t run = t.run(), length = pitch;
  for (int64_t runs = tiles; runs > 1; runs = (runs + 1) / 2) {
    const int64_t kept = std::min(t.k, 2 * run), total = t.lines * length;
    launch(op, sort_merge_kernel<E>,
           {dim3(static_cast<unsigned>(ceil_div<int64_t>(total, kSortThreads))), dim3(kSortThreads), stream},
           from, to, static_cast<unsigned>(total), FastDivide(length), FastDivide(run),
           static_cast<unsigned>(kept), pitch);
    const int64_t pairs = (runs + 1) / 2, last = length - (pairs - 1) * 2 * run;
    length = (pairs - 1) * kept + std::min(kept, last);
    run = kept;
    std::swap(from, to);
  }
  return from;
}

}  // namespace fastcnn::cuda
