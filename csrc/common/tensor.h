// The one Tensor class: a strided view of a storage, plus its place in the gradient graph.
// Shapes are logical (NCHW); memory may be in any order, and convolution, pooling and normalisation produce
// channels_last (NHWC) memory. Strides are in elements and may be negative or zero.
#pragma once

#include <atomic>
#include <initializer_list>
#include <memory>
#include <vector>

#include "common/device.h"
#include "common/dtype.h"

namespace fastcnn {

constexpr int kMaxDims = 8;

/// A short list of integers (shape, strides, axes) without heap memory.
struct Dims {
  int64_t v[kMaxDims] = {};
  int n = 0;

  Dims() = default;
  Dims(std::initializer_list<int64_t> list) {
    for (int64_t x : list) push_back(x);
  }
  explicit Dims(const std::vector<int64_t>& list) {
    for (int64_t x : list) push_back(x);
  }
  void push_back(int64_t x) {
    FC_CHECK(n < kMaxDims, "tensor: more than ", kMaxDims, " dimensions are not supported");
    v[n++] = x;
  }
  int64_t& operator[](int i) { return v[i]; }
  int64_t operator[](int i) const { return v[i]; }
  const int64_t* begin() const { return v; }
  const int64_t* end() const { return v + n; }
  bool operator==(const Dims& o) const {
    if (n != o.n) return false;
    for (int i = 0; i < n; ++i)
      if (v[i] != o.v[i]) return false;
    return true;
  }
  bool operator!=(const Dims& o) const { return !(*this == o); }
};
/// "(2, 3, 4)", "(5,)"
std::string to_string(const Dims& dims);
/// Product of the extents; ValueError when it does not fit 63 bits.
int64_t numel(const Dims& shape);

/// Counts the recordings that programs were made from (bindings/replay.h), so that storages know which they are older than.
inline std::atomic<uint32_t> recording_era{0};

/// Owner of memory: from an allocator (memory/storage.h) or borrowed (NumPy, DLPack).
struct Storage {
  void* data = nullptr;
  size_t bytes = 0;
  Device device;
  bool readonly = false;             ///< borrowed read-only memory is never written
  std::atomic<uint32_t> version{0};  ///< bumped by every in-place op; checked when saved tensors are used
  std::atomic<int32_t> views{0};     ///< arrays of others on this memory, who may write to it unseen
  std::atomic<bool> keeps{false};    ///< whether something derived from the values is kept (memory/kept.h)
  const uint32_t era = recording_era.load(std::memory_order_relaxed);
  virtual ~Storage() = default;
};

class Tensor {
 public:
  std::shared_ptr<Storage> storage;
  int64_t offset = 0;  ///< of the first element, in elements
  Dims shape, strides;
  DType dtype = DType::float32;

  // ---- autograd: filled in by Python (fastcnn/autograd.py), opaque here ----
  bool requires_grad = false;
  std::shared_ptr<Tensor> grad;
  std::shared_ptr<void> node;  ///< the Function call that made this tensor (a Python object)
  int output_index = 0;        ///< which of the node's outputs this is

  int ndim() const { return shape.n; }
  int64_t numel() const { return fastcnn::numel(shape); }
  Device device() const { return storage->device; }
  void* raw() const { return static_cast<char*>(storage->data) + offset * int64_t(size_of(dtype)); }
  template <class T>
  T* data() const {
    return static_cast<T*>(raw());
  }
  /// The same elements without the gradient graph.
  Tensor detach() const;

  bool is_contiguous() const;     ///< row-major in logical order (NCHW)
  bool is_channels_last() const;  ///< row-major with dim 1 innermost; ranks 3 to 5
  bool is_dense() const;          ///< some permutation of row-major: no gaps, no overlap

  // ---- views: share storage and version; ValueErrors name the op ----
  Tensor permute(const Dims& axes) const;
  Tensor expand(const Dims& new_shape) const;
  /// One axis from `start`, `length` elements, step != 0 (negative allowed).
  Tensor slice(int axis, int64_t start, int64_t length, int64_t step) const;
  Tensor select(int axis, int64_t index) const;
  Tensor unsqueeze(int axis) const;
  /// A view with this shape (-1 is inferred); returns false if the strides do not allow one.
  bool try_view(const Dims& new_shape, Tensor& out) const;
};

Dims contiguous_strides(const Dims& shape);
/// NHWC memory for shape (N, C, ...); contiguous for ranks outside 3..5.
Dims channels_last_strides(const Dims& shape);
/// Strides for a fresh tensor of t's shape that keep t's memory order when t is dense, else contiguous.
Dims strides_like(const Tensor& t);
/// Replaces a single -1 so that the product is `count`; ValueError otherwise.
Dims infer_shape(const Dims& shape, int64_t count);
/// NumPy's broadcasting rule; ValueError naming `op` and both shapes.
Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op);
/// Wraps a negative axis; ValueError (IndexError in Python) when out of range.
int normalize_axis(int64_t axis, int ndim, const char* op);

}  // namespace fastcnn
