// Parameters of ops that walk along one axis of every line: sorting, running sums; and of regular sequences.
#pragma once

#include "common/loss.h"
#include "common/normal.h"

namespace fastcnn {

/// A card sorts each line in tiles, keeps the first k of each and merges them in pairs.
struct SortTiles {
  static constexpr int64_t kTile = 2048;
  int64_t lines, count, k;
  int64_t tiles() const { return (count + kTile - 1) / kTile; }
  /// Entries that are left of a sorted tile, of the last one at most.
  int64_t run() const { return k < kTile ? k : kTile; }
  /// Entries of a line after its tiles were sorted.
  int64_t length() const {
    const int64_t last = count - (tiles() - 1) * kTile;
    return tiles() == 0 ? 0 : (tiles() - 1) * run() + (run() < last ? run() : last);
  }
  size_t bytes(size_t entry) const { return size_t(lines * length()) * entry * (tiles() > 1 ? 2 : 1); }
};

/// The first k of each line in order. NaN counts as the largest number; among equals the first comes first.
struct SortParams {
  DType dtype;
  bool descending;
  int64_t lines, count, k;
  RowLayout x, values, indices;
  const void* x_data;
  void* values_data;
  int64_t* indices_data;
  void* workspace;  ///< CPU: bytes_per_worker for each of `workers`; CUDA: tiles_bytes
  int workers;
  size_t bytes_per_worker() const { return size_t(count) * 16; }
  size_t tiles_bytes() const { return SortTiles{lines, count, k}.bytes(size_of(dtype) == 8 ? 16 : 8); }
};

/// y_i = x_0 + ... + x_i along each line, or from the end.
struct CumsumParams {
  DType dtype;
  bool reverse;
  int64_t lines, count;
  RowLayout x, y;
  const void* x_data;
  void* y_data;     ///< of x's dtype, int64 for integers and bool
  void* workspace;  ///< CUDA: chunk_bytes()

  static constexpr int64_t kChunk = 4096;  ///< a card adds up chunks of a line, then what is in front of each
  /// Short or many lines: a thread goes along each.
  bool by_thread() const { return count <= 64 || lines >= 16384; }
  int64_t chunks() const { return (count + kChunk - 1) / kChunk; }
  size_t chunk_bytes() const { return by_thread() || chunks() == 1 ? 0 : size_t(lines * (chunks() + 1)) * 8; }
};

/// y_i = start + i * step; with `end`, the second half counts back from it, so that both ends are exact.
struct RampParams {
  DType dtype;
  int64_t count;
  void* y;
  double start, step, end;
  bool has_end;
  int64_t whole_start, whole_step;  ///< for integer dtypes

  /// Element i of a float dtype, before it is rounded to it.
  FC_BOTH double real(int64_t i) const {
    const bool back = has_end && 2 * i >= count;
    return back ? random_mul_add(-double(count - 1 - i), step, end) : random_mul_add(double(i), step, start);
  }
  /// Element i of an integer dtype, modulo 2^64.
  FC_BOTH uint64_t whole(int64_t i) const {
    return uint64_t(whole_start) + uint64_t(i) * uint64_t(whole_step);
  }
};

}  // namespace fastcnn
