#include "common/tensor.h"

#include <algorithm>

namespace fastcnn {

std::string to_string(const Dims& dims) {
  std::string text = "(";
  for (int i = 0; i < dims.n; ++i) {
    if (i) text += ", ";
    text += std::to_string(dims[i]);
  }
  return text + (dims.n == 1 ? ",)" : ")");
}

int64_t numel(const Dims& shape) {
  int64_t count = 1;
  bool zero = false, overflow = false;
  for (int64_t extent : shape) {
    if (extent == 0) zero = true;
    overflow = __builtin_mul_overflow(count, extent, &count) || overflow;
  }
  if (zero) return 0;
  FC_CHECK(!overflow, "tensor: shape ", to_string(shape), " has more than 2^63 elements");
  return count;
}

// ---- memory order ---------------------------------------------------------------------------------------

namespace {

// Row-major strides when the axes are visited in `order` (outermost first).
Dims strides_in_order(const Dims& shape, const int* order) {
  Dims strides;
  strides.n = shape.n;
  int64_t step = 1;
  for (int i = shape.n - 1; i >= 0; --i) {
    strides[order[i]] = step;
    // Unsigned, because it may wrap: a shape that is too large is refused by numel, in words.
    step = int64_t(uint64_t(step) * uint64_t(std::max<int64_t>(shape[order[i]], 1)));
  }
  return strides;
}

// Size-1 axes never matter: their strides are arbitrary.
bool matches(const Dims& shape, const Dims& strides, const Dims& wanted) {
  for (int i = 0; i < shape.n; ++i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != wanted[i]) return false;
  }
  return true;
}

}  // namespace

Dims contiguous_strides(const Dims& shape) {
  const int order[kMaxDims] = {0, 1, 2, 3, 4, 5, 6, 7};
  return strides_in_order(shape, order);
}

Dims channels_last_strides(const Dims& shape) {
  if (shape.n < 3 || shape.n > 5) return contiguous_strides(shape);
  int order[kMaxDims] = {0};
  for (int i = 2; i < shape.n; ++i) order[i - 1] = i;
  order[shape.n - 1] = 1;
  return strides_in_order(shape, order);
}

bool Tensor::is_contiguous() const { return matches(shape, strides, contiguous_strides(shape)); }

bool Tensor::is_channels_last() const {
  return shape.n >= 3 && shape.n <= 5 && matches(shape, strides, channels_last_strides(shape));
}

Dims strides_like(const Tensor& t) {
  int order[kMaxDims];
  for (int i = 0; i < t.ndim(); ++i) order[i] = i;
  // Stable: among equal strides (size-1 axes) the logical order decides.
  std::stable_sort(order, order + t.ndim(), [&](int a, int b) {
    if (t.shape[a] == 1 || t.shape[b] == 1) return false;
    return t.strides[a] > t.strides[b];
  });
  const Dims strides = strides_in_order(t.shape, order);
  if (matches(t.shape, t.strides, strides)) return strides;
  // Size-1 axes make the comparison above intransitive; the two common orders are settled explicitly.
  if (t.is_channels_last()) return channels_last_strides(t.shape);
  return contiguous_strides(t.shape);
}

bool Tensor::is_dense() const { return matches(shape, strides, strides_like(*this)); }

// ---- views ----------------------------------------------------------------------------------------------

Tensor Tensor::detach() const {
  Tensor t;
  t.storage = storage;
  t.offset = offset;
  t.shape = shape;
  t.strides = strides;
  t.dtype = dtype;
  return t;
}

int normalize_axis(int64_t axis, int ndim, const char* op) {
  if (axis < -ndim || axis >= ndim)
    fail<IndexError>(op, ": axis out of range, got ", axis, ", expected ", -ndim, " to ", ndim - 1);
  return int(axis < 0 ? axis + ndim : axis);
}

Tensor Tensor::permute(const Dims& axes) const {
  FC_CHECK(axes.n == ndim(), "permute: got ", axes.n, " axes, expected ", ndim(), " for shape ",
           to_string(shape), "; name each axis once");
  Tensor out = detach();
  bool seen[kMaxDims] = {};
  for (int i = 0; i < axes.n; ++i) {
    const int axis = normalize_axis(axes[i], ndim(), "permute");
    FC_CHECK(!seen[axis], "permute: axis ", axis, " is named twice, got ", to_string(axes),
             ", expected each of ", ndim(), " axes once");
    seen[axis] = true;
    out.shape[i] = shape[axis];
    out.strides[i] = strides[axis];
  }
  return out;
}

Tensor Tensor::expand(const Dims& new_shape) const {
  FC_CHECK(new_shape.n >= ndim(), "expand: got shape ", to_string(new_shape), " for a tensor of shape ",
           to_string(shape), ", expected at least ", ndim(), " dimensions");
  Tensor out = detach();
  out.shape = new_shape;
  out.strides.n = new_shape.n;
  const int lead = new_shape.n - ndim();
  for (int i = 0; i < new_shape.n; ++i) {
    const int64_t old = i < lead ? 1 : shape[i - lead];
    if (new_shape[i] == -1 && i >= lead) out.shape[i] = old;
    FC_CHECK(out.shape[i] == old || old == 1, "expand: axis ", i, " has ", old, " elements, got ",
             new_shape[i], ", expected ", old, " (only axes of size 1 expand)");
    out.strides[i] = (i < lead || old != out.shape[i]) ? 0 : strides[i - lead];
  }
  return out;
}

Tensor Tensor::slice(int axis, int64_t start, int64_t length, int64_t step) const {
  Tensor out = detach();
  out.shape[axis] = length;
  if (length > 0) out.offset += start * strides[axis];
  out.strides[axis] = strides[axis] * step;
  return out;
}

Tensor Tensor::select(int axis, int64_t index) const {
  Tensor out = detach();
  out.offset += index * strides[axis];
  for (int i = axis; i + 1 < ndim(); ++i) {
    out.shape[i] = shape[i + 1];
    out.strides[i] = strides[i + 1];
  }
  --out.shape.n;
  --out.strides.n;
  return out;
}

Tensor Tensor::unsqueeze(int axis) const {
  Tensor out = detach();
  out.shape = out.strides = Dims();
  for (int i = 0; i <= ndim(); ++i) {
    if (i == axis) {
      out.shape.push_back(1);
      out.strides.push_back(1);
    }
    if (i < ndim()) {
      out.shape.push_back(shape[i]);
      out.strides.push_back(strides[i]);
    }
  }
  return out;
}

Dims infer_shape(const Dims& shape, int64_t count) {
  Dims out = shape;
  Dims given;
  int hole = -1;
  for (int i = 0; i < shape.n; ++i) {
    if (shape[i] == -1) {
      FC_CHECK(hole < 0, "reshape: only one axis can be -1, got ", to_string(shape));
      hole = i;
    } else {
      FC_CHECK(shape[i] >= 0, "reshape: negative extent in ", to_string(shape),
               ", expected 0 or more, or one -1 to be inferred");
      given.push_back(shape[i]);
    }
  }
  int64_t known = fastcnn::numel(given);
  if (hole >= 0) {
    FC_CHECK(known != 0 && count % known == 0, "reshape: cannot infer -1 in ", to_string(shape),
             ", got a tensor of ", count, " elements, expected a multiple of ", known);
    out[hole] = count / known;
    known *= out[hole];
  }
  FC_CHECK(known == count, "reshape: shape ", to_string(shape), " has ", known, " elements, got a tensor of ",
           count, ", expected as many; one extent may be -1");
  return out;
}

bool Tensor::try_view(const Dims& wanted, Tensor& out) const {
  const int64_t count = numel();
  out = detach();
  out.shape = infer_shape(wanted, count);
  out.strides = contiguous_strides(out.shape);
  if (count <= 1 || is_contiguous()) return true;
  // Walk both shapes from the right, matching runs of old axes that are contiguous among themselves.
  int o = ndim() - 1, i = out.ndim() - 1;
  while (o >= 0) {
    int64_t run = shape[o], base = strides[o];
    int first = o - 1;
    while (first >= 0 && (shape[first] == 1 || strides[first] == base * run || run == 1)) {
      if (run == 1) base = strides[first];
      run *= shape[first];
      --first;
    }
    int64_t covered = 1;
    while (i >= 0 && (covered < run || out.shape[i] == 1)) {
      out.strides[i] = base * covered;
      covered *= out.shape[i];
      --i;
    }
    if (covered != run) return false;
    o = first;
  }
  return true;
}

Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op) {
  Dims out;
  out.n = std::max(a.n, b.n);
  for (int i = 1; i <= out.n; ++i) {
    const int64_t x = i <= a.n ? a[a.n - i] : 1, y = i <= b.n ? b[b.n - i] : 1;
    FC_CHECK(x == y || x == 1 || y == 1, op, ": shapes do not broadcast, got ", to_string(a), " and ",
             to_string(b), ", expected equal extents or 1 on axis ", -i);
    out[out.n - i] = x == 1 ? y : x;
  }
  return out;
}

}  // namespace fastcnn
