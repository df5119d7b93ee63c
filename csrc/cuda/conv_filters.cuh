// Filters on their way between their own memory and the rows that products read. Both ways transpose matrices, one after
// the other, of `rows` lines of `columns` neighbours:
//
//                    matrices        rows         columns           the other side, rows filled up to `padded`
//   forward          filters         channels     taps              [filter][tap][channel]
//   backward_input   groups          filters      (channel, tap)    [channel][tap][filter]
//   sums of dw       filters         channels     taps              [filter][tap][channel]
//   of depthwise     one             channels     taps              [tap][channel]
//
// A block takes a tile of 32 rows and up to 32 columns by way of shared memory, so that both sides are read and written by
// neighbours. Where all columns of a matrix fit, a tile is one run of memory.
#pragma once

#include "common/conv_problem.h"
#include "cuda/conv_view.cuh"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"

namespace fastcnn::cuda {

constexpr int kFilterEdge = 32, kFilterThreads = 256;

struct FilterTiles {
  int rows, columns, padded;
  unsigned down, across;  // tiles of a matrix
  FastDivide width;       // columns of a tile
  int pitch;              // of a tile in shared memory: odd, so that a column lies in 32 different banks

  struct Place {
    int64_t matrix;
    int row, column;
  };
  FC_METHOD Place place() const {
    const unsigned number = blockIdx.x / across;
    return {static_cast<int64_t>(number / down), static_cast<int>(number % down) * kFilterEdge,
            static_cast<int>(blockIdx.x % across) * kFilterEdge};
  }
  /// f(cell of the tile, index in the filters' memory), neighbours along the columns.
  template <class F>
  FC_METHOD void along_columns(const Place& at, F&& f) const {
    for (int i = static_cast<int>(threadIdx.x); i < kFilterEdge * static_cast<int>(width.divisor);
         i += kFilterThreads) {
      unsigned row = static_cast<unsigned>(i);
      const int c = static_cast<int>(width.split(row)), r = static_cast<int>(row);
      if (at.row + r < rows && at.column + c < columns)
        f(r * pitch + c, (at.matrix * rows + at.row + r) * columns + at.column + c);
    }
  }
  /// f(cell of the tile, index on the other side, whether it is no filling), neighbours along the rows.
  template <class F>
  FC_METHOD void along_rows(const Place& at, F&& f) const {
    for (int i = static_cast<int>(threadIdx.x); i < kFilterEdge * static_cast<int>(width.divisor);
         i += kFilterThreads) {
      const int c = i / kFilterEdge, r = i % kFilterEdge;
      if (at.row + r < padded && at.column + c < columns)
        f(r * pitch + c, (at.matrix * columns + at.column + c) * padded + at.row + r, at.row + r < rows);
    }
  }
};

template <class T>
FC_KERNEL pack_filters_kernel(const T* w, T* packed, FilterTiles t) {
  FC_SHARED(float, tile, [kFilterEdge * (kFilterEdge + 1)]);
  const FilterTiles::Place at = t.place();
  t.along_columns(at, [&](int cell, int64_t i) { store(tile + cell, widen(load(w + i))); });
  __syncthreads();
  t.along_rows(at, [&](int cell, int64_t i, bool there) {
    store(packed + i, Narrow<T>::of(there ? load(tile + cell) : 0.0f));
  });
}

/// dw = the sums of `splits` parts of `count`, in order.
template <class T>
FC_KERNEL add_filters_kernel(const Wide<T>* parts, T* w, FilterTiles t, int64_t count, int splits) {
  FC_SHARED(Wide<T>, tile, [kFilterEdge * (kFilterEdge + 1)]);
  const FilterTiles::Place at = t.place();
  t.along_rows(at, [&](int cell, int64_t i, bool there) {
    if (!there) return;
    Wide<T> sum = 0;
    for (int s = 0; s < splits; ++s) sum += load(parts + s * count + i);
    store(tile + cell, sum);
  });
  __syncthreads();
  t.along_columns(at, [&](int cell, int64_t i) { store(w + i, Narrow<T>::of(load(tile + cell))); });
}

/// True if the filters lie as [filter][channel][tap] without gaps, and tiles pay: a single column is in order anyway.
template <class T>
bool filters_in_tiles(const View<T>& w, const ConvProblem& q, int64_t columns) {
  const int64_t extent[] = {q.K, q.channels_per_group(), q.filter[0], q.filter[1], q.filter[2]};
  int64_t stride = 1;
  for (int i = 4; i >= 0; stride *= extent[i--])
    if (extent[i] > 1 && w.stride[i] != stride) return false;
  return columns > 1;
}

inline FilterTiles filter_tiles(int64_t rows, int64_t columns, int64_t padded) {
  const auto width = static_cast<int>(columns < kFilterEdge ? columns : kFilterEdge);
  return {static_cast<int>(rows),
          static_cast<int>(columns),
          static_cast<int>(padded),
          static_cast<unsigned>(ceil_div<int64_t>(padded, kFilterEdge)),
          static_cast<unsigned>(ceil_div<int64_t>(columns, width)),
          FastDivide(width),
          width | 1};
}

inline Grid filter_grid(const FilterTiles& t, int64_t matrices, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(matrices * t.down * t.across)), dim3(kFilterThreads), stream};
}

/// Packs the filters for a pass, `padded` elements for each tap. False, and nothing done, where a kernel that takes an
/// element a thread does as well, or their memory is another.
template <class T>
bool pack_filters(const char* name, const View<T>& w, const ConvProblem& q, bool to_input, int64_t padded,
                  T* packed, cudaStream_t stream) {
  const int64_t columns = to_input ? q.channels_per_group() * q.taps() : q.taps();
  if (!filters_in_tiles(w, q, columns)) return false;
  const FilterTiles t =
      filter_tiles(to_input ? q.filters_per_group() : q.channels_per_group(), columns, padded);
  launch(name, pack_filters_kernel<T>, filter_grid(t, to_input ? q.G : q.K, stream), w.data, packed, t);
  return true;
}

}  // namespace fastcnn::cuda
