// Patch gathering (interface in gather.h). Taps are the outer loop, rows the inner one. Where channels are
// innermost in memory and neighbouring taps are neighbours in memory, one copy takes a whole filter row
// (taps x channels); where channels are far apart (NCHW), 4 pixels x 4 channels are transposed in registers.
#pragma once

#include "cpu/kernels/gather.h"
#include "cpu/kernels/pack.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

/// The index in 0 .. extent-1 that a position means, -1 for a zero.
FC_INLINE int64_t gather_index(int64_t position, int64_t extent, int padding) {
  if (static_cast<uint64_t>(position) < static_cast<uint64_t>(extent)) return position;
  switch (padding) {
    case kPadReflect: return position < 0 ? -position : 2 * (extent - 1) - position;
    case kPadReplicate: return position < 0 ? 0 : extent - 1;
    case kPadCircular: return position < 0 ? position + extent : position - extent;
    default: return -1;
  }
}

FC_INLINE void clear_floats(float* dst, int64_t n) {
  for (int64_t j = 0; j < n; ++j) dst[j] = 0.0f;
}

/// Output coordinates of a row, stepped in order.
struct GatherCursor {
  int64_t n, i[3];
};

FC_INLINE GatherCursor gather_start(const Gather* g, int64_t row) {
  GatherCursor at;
  for (int a = 2; a >= 0; --a) {
    at.i[a] = row % g->axis[a].outs;
    row /= g->axis[a].outs;
  }
  at.n = row;
  return at;
}

FC_INLINE void gather_next(const Gather* g, GatherCursor* at) {
  for (int a = 2; a >= 0; --a) {
    if (++at->i[a] < g->axis[a].outs) return;
    at->i[a] = 0;
  }
  ++at->n;
}

/// Not an offset: any number near zero may be one, since strides may be negative.
constexpr int64_t kNoLine = INT64_MIN;

/// Offset of the source row that a cursor and a (depth, height) tap mean, kNoLine for a row of zeros.
FC_INLINE int64_t gather_line(const Gather* g, const GatherCursor* at, int64_t tap_d, int64_t tap_h) {
  const GatherAxis *d = &g->axis[0], *h = &g->axis[1];
  const int64_t id =
      gather_index(at->i[0] * d->step + d->offset + tap_d * d->tap_step, d->extent, g->padding);
  const int64_t ih =
      gather_index(at->i[1] * h->step + h->offset + tap_h * h->tap_step, h->extent, g->padding);
  return id < 0 || ih < 0 ? kNoLine : at->n * g->batch_stride + id * d->stride + ih * h->stride;
}

/// Columns begin .. end-1 of one filter row at one pixel, tap by tap.
void gather_taps(const Gather* g, const float* line, int64_t position, int64_t begin, int64_t end,
                 float* dst) {
  const GatherAxis* w = &g->axis[2];
  const int64_t channels = g->channels;
  int64_t tap = begin / channels, c = begin - tap * channels;
  for (int64_t left = end - begin; left > 0; ++tap, c = 0) {
    const int64_t iw = gather_index(position + tap * w->tap_step, w->extent, g->padding);
    const int64_t n = channels - c < left ? channels - c : left;
    if (iw < 0) {
      clear_floats(dst, n);
    } else {
      copy_floats(line + iw * w->stride + c, dst, n);
    }
    dst += n;
    left -= n;
  }
}

/// Columns begin .. end-1 of one filter row (width taps x channels), all rows, an output line at a time; channels
/// innermost.
void gather_runs(const Gather* g, GatherCursor at, int64_t rows, int64_t tap_d, int64_t tap_h, int64_t begin,
                 int64_t end, float* dst, int64_t dst_row) {
  const GatherAxis* w = &g->axis[2];
  const int64_t channels = g->channels, first_tap = begin / channels, last_tap = (end - 1) / channels;
  const bool joined = (w->tap_step == 1 && w->stride == channels) || first_tap == last_tap;
  const int64_t reach = (last_tap - first_tap) * w->tap_step, c0 = begin - first_tap * channels;
  while (rows > 0) {
    const int64_t rest = w->outs - at.i[2], pixels = rest < rows ? rest : rows;
    const int64_t line = gather_line(g, &at, tap_d, tap_h);
    if (line == kNoLine) {
      for (int64_t i = 0; i < pixels; ++i, dst += dst_row) clear_floats(dst, end - begin);
    } else {
      const float* source = g->source + line;
      int64_t position = at.i[2] * w->step + w->offset;
      for (int64_t i = 0; i < pixels; ++i, dst += dst_row, position += w->step) {
        const int64_t from = position + first_tap * w->tap_step;
        if (joined && from >= 0 && from + reach < w->extent && from < w->extent)
          copy_floats(source + from * w->stride + c0, dst, end - begin);
        else
          gather_taps(g, source, position, begin, end, dst);
      }
    }
    rows -= pixels;
    at.i[2] += pixels - 1;
    gather_next(g, &at);
  }
}

/// Channels c0 .. c0+count-1 of one tap, all rows; channels anywhere in memory.
void gather_scattered(const Gather* g, GatherCursor at, int64_t rows, int64_t tap_d, int64_t tap_h,
                      int64_t tap_w, int64_t c0, int64_t count, float* dst, int64_t dst_row) {
  const GatherAxis* w = &g->axis[2];
  const int64_t cs = g->channel_stride;
  for (int64_t r = 0; r < rows;) {
    const int64_t line = gather_line(g, &at, tap_d, tap_h);
    const int64_t position = at.i[2] * w->step + w->offset + tap_w * w->tap_step;
    // Four pixels side by side, none of them padding: four channels at a time.
    const bool four = line != kNoLine && w->step == 1 && w->stride == 1 && rows - r >= 4 &&
                      w->outs - at.i[2] >= 4 && position >= 0 && position + 4 <= w->extent;
    if (four) {
      const float* source = g->source + line + position + c0 * cs;
      int64_t c = 0;
      for (; c + 4 <= count; c += 4) transpose_4x4(source + c * cs, cs, dst + c, dst_row);
      for (; c < count; ++c)
        for (int64_t i = 0; i < 4; ++i) dst[i * dst_row + c] = source[c * cs + i];
    } else {
      const int64_t iw = line == kNoLine ? -1 : gather_index(position, w->extent, g->padding);
      if (iw < 0) {
        clear_floats(dst, count);
      } else {
        const float* source = g->source + line + iw * w->stride + c0 * cs;
        for (int64_t c = 0; c < count; ++c) dst[c] = source[c * cs];
      }
    }
    for (int64_t i = four ? 4 : 1; i > 0; --i, ++r, dst += dst_row) gather_next(g, &at);
  }
}

/// relu(v * scale + shift) on channels c0 .. c0+count-1 of one tap, for the rows that are not padding there.
void gather_prologue(const Gather* g, GatherCursor at, int64_t rows, int64_t tap_d, int64_t tap_h,
                     int64_t tap_w, int64_t c0, int64_t count, float* dst, int64_t dst_row) {
  const GatherAxis* w = &g->axis[2];
  for (int64_t r = 0; r < rows; ++r, dst += dst_row, gather_next(g, &at)) {
    const int64_t position = at.i[2] * w->step + w->offset + tap_w * w->tap_step;
    if (gather_line(g, &at, tap_d, tap_h) == kNoLine || gather_index(position, w->extent, g->padding) < 0)
      continue;
    if (g->scale) {
      const float *scale = g->scale + c0, *shift = g->shift + c0;
      for (int64_t c = 0; c < count; ++c) dst[c] = dst[c] * scale[c] + shift[c];
    }
    if (g->relu)
      for (int64_t c = 0; c < count; ++c) dst[c] = dst[c] < 0.0f ? 0.0f : dst[c];
  }
}

void gather_rows(const Gather* g, int64_t first_row, int64_t rows, int64_t first, int64_t last, float* dst,
                 int64_t dst_row) {
  if (rows <= 0 || last <= first) return;
  const int64_t channels = g->channels, width = g->axis[2].taps * channels, height = g->axis[1].taps;
  const GatherCursor at = gather_start(g, first_row);
  for (int64_t column = first; column < last;) {
    const int64_t line = column / width, begin = column - line * width;
    const int64_t end = width < last - line * width ? width : last - line * width;
    const int64_t tap_d = line / height, tap_h = line % height;
    float* out = dst + column - first;
    if (g->channel_stride == 1) gather_runs(g, at, rows, tap_d, tap_h, begin, end, out, dst_row);
    const bool prologue = g->scale || g->relu;
    if (g->channel_stride != 1 || prologue) {
      for (int64_t k = begin; k < end;) {
        const int64_t tap_w = k / channels, c0 = k - tap_w * channels;
        const int64_t count = channels - c0 < end - k ? channels - c0 : end - k;
        if (g->channel_stride != 1)
          gather_scattered(g, at, rows, tap_d, tap_h, tap_w, c0, count, out + k - begin, dst_row);
        if (prologue) gather_prologue(g, at, rows, tap_d, tap_h, tap_w, c0, count, out + k - begin, dst_row);
        k += count;
      }
    }
    column += end - begin;
  }
}

constexpr GatherKernels kGather = {gather_rows};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
