// Canonicalises a batched product and hands it to sgemm, or to a plain loop for the types that it does not take.
//
// - float32 and the 16-bit types (converted to float32, rounded once) run in sgemm; float64, integers and products
//   of at most kPlainOutputs elements in the plain loop, which needs no packing.
// - Few rows against a large matrix that lies well are products of gemm_stream.h, which pack nothing. Other products of
//   a few rows (m <= kFewRows) are computed transposed, so that the small operand is packed.
// - A deep product with few outputs (a weight gradient of many rows) is cut along the depth; the partial products
//   are added in order. The cut is a function of the sizes alone, so the bits do not depend on the threads.
// - Small members of a batch, and the pieces of a deep product, run one per thread.
#include "cpu/gemm.h"

#include <algorithm>

#include "cpu/gemm_stream.h"
#include "cpu/sgemm.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kPlainOutputs = 4;
constexpr int64_t kFewRows = 16;
constexpr int64_t kChunkDepth = 2048;                // at least, of a piece of a deep product
constexpr int64_t kWantedTasks = 32;                 // below this many, a deep product is cut
constexpr int64_t kSmallProduct = int64_t(1) << 22;  // multiply-adds that one thread does alone in a batch
constexpr int64_t kPlainRows = 4, kPlainColumns = 128;

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Integers wrap round, which only unsigned arithmetic may do in C++.
template <class T>
struct Sum {
  using type = Accumulator<T>;
};
template <>
struct Sum<uint8_t> {
  using type = uint32_t;
};
template <>
struct Sum<int32_t> {
  using type = uint32_t;
};
template <>
struct Sum<int64_t> {
  using type = uint64_t;
};

bool is_16_bit(DType t) { return t == DType::float16 || t == DType::bfloat16; }
size_t sum_bytes(DType t) { return t == DType::float64 || t == DType::int64 ? 8 : 4; }

struct Plan {
  bool blocked;           // sgemm, else the plain loop
  bool dots, few_rows;    // blocked ones without packing (gemm_stream.h)
  bool swapped;           // C^T = B^T A^T
  bool direct;            // the product itself writes C
  int64_t batch, chunks;  // units of work: batch * chunks products
  int64_t chunk;          // their depth
  bool over_units;        // units side by side, one thread each; else one after the other on all threads
  int64_t workers;
  size_t partial_bytes;                                // of all units where chunks > 1
  size_t result_bytes, a_bytes, b_bytes, sgemm_bytes;  // per worker
  size_t worker_bytes() const { return result_bytes + a_bytes + b_bytes + sgemm_bytes; }
};

Plan plan(const GemmParams& g, int threads) {
  Plan p{};
  const bool narrow = is_16_bit(g.dtype);
  p.batch = g.batch();
  const int64_t outputs = g.m * g.n;
  p.blocked = (g.dtype == DType::float32 || narrow) && outputs > kPlainOutputs;
  const Sgemm shape{g.m, g.n, g.k, nullptr, g.a.row, g.a.col, nullptr, g.b.row, g.b.col, nullptr, g.n};
  p.dots = p.blocked && !narrow && sgemm_is_dots(shape);
  p.few_rows = p.blocked && !narrow && !p.dots && sgemm_is_few_rows(shape);
  p.swapped = p.blocked && !p.dots && !p.few_rows && g.m <= kFewRows && g.n > g.m;
  const int64_t tasks = std::max<int64_t>(p.batch * div_up(g.m, 96) * div_up(g.n, 64), 1);
  p.chunks = std::max<int64_t>(std::min(g.k / kChunkDepth, kWantedTasks / tasks), 1);
  p.chunk = p.chunks > 1 ? div_up(div_up(g.k, p.chunks), 256) * 256 : g.k;
  p.chunks = p.chunk > 0 ? std::max<int64_t>(div_up(g.k, p.chunk), 1) : 1;
  p.over_units = p.chunks > 1 || (p.batch > 1 && double(outputs) * double(g.k) <= double(kSmallProduct));
  p.workers = p.over_units ? std::min<int64_t>(threads, std::max<int64_t>(p.batch * p.chunks, 1)) : 1;
  p.direct = p.chunks == 1 && !p.swapped && !narrow && sum_bytes(g.dtype) == size_of(g.dtype);
  const size_t result = aligned(size_t(outputs) * sum_bytes(g.dtype));
  if (p.chunks > 1) p.partial_bytes = size_t(p.batch * p.chunks) * result;
  if (p.chunks == 1 && !p.direct) p.result_bytes = result;
  if (narrow && p.blocked) {
    p.a_bytes = aligned(sizeof(float) * size_t(g.m * p.chunk));
    p.b_bytes = aligned(sizeof(float) * size_t(p.chunk * g.n));
  }
  if (p.blocked && !p.dots && !p.few_rows) {
    const int inner = p.over_units ? 1 : threads;
    p.sgemm_bytes = aligned(p.swapped ? sgemm_workspace_bytes(g.n, g.m, p.chunk, inner)
                                      : sgemm_workspace_bytes(g.m, g.n, p.chunk, inner));
  }
  return p;
}

template <class T>
struct Matrix {
  const T* data;
  int64_t row, col;
};

// c = a * b through any strides: blocks of kPlainRows x kPlainColumns, each element one chain over the depth.
template <class T, class A>
void plain_product(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, A* c, int threads) {
  const int64_t row_blocks = div_up(m, kPlainRows), column_blocks = div_up(n, kPlainColumns);
  parallel_for(
      row_blocks * column_blocks,
      [&](int64_t task, int) {
        const int64_t i0 = task / column_blocks * kPlainRows, rows = std::min(kPlainRows, m - i0);
        const int64_t j0 = task % column_blocks * kPlainColumns, columns = std::min(kPlainColumns, n - j0);
        const T* a0 = a.data + i0 * a.row;
        const T* b0 = b.data + j0 * b.col;
        if (columns == 1) {
          for (int64_t i = 0; i < rows; ++i) {
            A sum = 0;
            for (int64_t p = 0; p < k; ++p) sum += A(a0[i * a.row + p * a.col]) * A(b0[p * b.row]);
            c[(i0 + i) * n + j0] = sum;
          }
          return;
        }
        A sums[kPlainRows][kPlainColumns] = {}, line[kPlainColumns];
        for (int64_t p = 0; p < k; ++p) {
          for (int64_t j = 0; j < columns; ++j) line[j] = A(b0[p * b.row + j * b.col]);
          for (int64_t i = 0; i < rows; ++i) {
            const A factor = A(a0[i * a.row + p * a.col]);
            for (int64_t j = 0; j < columns; ++j) sums[i][j] += factor * line[j];
          }
        }
        for (int64_t i = 0; i < rows; ++i) std::copy_n(sums[i], columns, c + (i0 + i) * n + j0);
      },
      threads);
}

template <class T>
Matrix<float> widened(Matrix<T> source, int64_t rows, int64_t columns, void* scratch, int threads) {
  float* out = static_cast<float*>(scratch);
  // Row by row of whichever order the source has, so that reads are contiguous.
  const bool by_columns = source.row == 1 && source.col != 1;
  const int64_t outer = by_columns ? columns : rows, inner = by_columns ? rows : columns;
  const int64_t outer_step = by_columns ? source.col : source.row, inner_step = by_columns ? 1 : source.col;
  parallel_for(
      outer,
      [&](int64_t i, int) {
        for (int64_t j = 0; j < inner; ++j)
          out[i * inner + j] = float(source.data[i * outer_step + j * inner_step]);
      },
      threads);
  return by_columns ? Matrix<float>{out, 1, rows} : Matrix<float>{out, columns, 1};
}

template <class T>
class Product {
  using A = typename Sum<T>::type;

 public:
  explicit Product(const GemmParams& params) : g(params), p(plan(params, params.threads)) {}

  void run() {
    char* workers = static_cast<char*>(g.workspace) + p.partial_bytes;
    if (p.over_units) {
      parallel_for(
          p.batch * p.chunks,
          [&](int64_t i, int slot) {
            unit(i / p.chunks, i % p.chunks, workers + slot * p.worker_bytes(), 1);
          },
          int(p.workers));
    } else {
      for (int64_t i = 0; i < p.batch; ++i) unit(i, 0, workers, g.threads);
    }
    if (p.chunks == 1) return;
    for (int64_t i = 0; i < p.batch; ++i) finish(i, partial(i, 0), g.threads);
  }

 private:
  const GemmParams& g;
  const Plan p;

  A* partial(int64_t batch, int64_t chunk) const {
    const size_t each = p.partial_bytes / size_t(p.batch * p.chunks);
    return reinterpret_cast<A*>(static_cast<char*>(g.workspace) + size_t(batch * p.chunks + chunk) * each);
  }
  Matrix<T> member(const GemmOperand& o, int64_t batch) const {
    const T* data = static_cast<const T*>(o.data);
    for (int i = g.batch_ndim - 1; i >= 0; --i) {
      data += batch % g.batch_shape[i] * o.batch[i];
      batch /= g.batch_shape[i];
    }
    return {data, o.row, o.col};
  }
  T* output(int64_t batch) const { return static_cast<T*>(g.c) + batch * g.m * g.n; }
  // Of an accumulated product: where element (i, j) lies.
  int64_t result_row() const { return p.swapped ? 1 : g.n; }
  int64_t result_col() const { return p.swapped ? g.m : 1; }

  void unit(int64_t batch, int64_t chunk, char* scratch, int threads) const {
    const int64_t first = chunk * p.chunk, depth = std::min(p.chunk, g.k - first);
    Matrix<T> a = member(g.a, batch), b = member(g.b, batch);
    a.data += first * a.col;
    b.data += first * b.row;
    A* result = p.chunks > 1 ? partial(batch, chunk) : reinterpret_cast<A*>(scratch);
    if (p.direct) result = reinterpret_cast<A*>(output(batch));
    char* copies = scratch + p.result_bytes;
    const bool has_bias = g.bias && p.direct;
    if constexpr (std::is_same_v<A, float>) {
      if (p.blocked) {
        Matrix<float> af, bf;
        if constexpr (std::is_same_v<T, float>) {
          af = a, bf = b;
        } else {
          af = widened(a, g.m, depth, copies, threads);
          bf = widened(b, depth, g.n, copies + p.a_bytes, threads);
        }
        void* workspace = copies + p.a_bytes + p.b_bytes;
        const bool fused = has_bias && g.bias_stride == 1;
        const Sgemm product{g.m,
                            g.n,
                            depth,
                            af.data,
                            af.row,
                            af.col,
                            bf.data,
                            bf.row,
                            bf.col,
                            result,
                            g.n,
                            false,
                            fused ? static_cast<const float*>(g.bias) : nullptr};
        if (p.dots)
          sgemm_dots(product, threads);
        else if (p.few_rows)
          sgemm_few_rows(product, threads);
        else if (p.swapped)
          sgemm({g.n, g.m, depth, bf.data, bf.col, bf.row, af.data, af.col, af.row, result, g.m}, workspace,
                threads);
        else
          sgemm(product, workspace, threads);
        if (p.direct && (!has_bias || fused)) return;
        if (p.chunks == 1) finish(batch, result, threads);
        return;
      }
    }
    plain_product(g.m, g.n, depth, a, b, result, threads);
    if (p.chunks == 1 && (!p.direct || has_bias)) finish(batch, result, threads);
  }

  // C = the sum of the chunks' products, in order, plus bias; in place where the product is in C already.
  void finish(int64_t batch, const A* result, int threads) const {
    const size_t step = p.chunks > 1 ? size_t(partial(0, 1) - partial(0, 0)) : 0;
    const T* bias = static_cast<const T*>(g.bias);
    T* c = output(batch);
    const int64_t per_task = 16384, row = result_row(), col = result_col();
    parallel_for(
        div_up(g.m * g.n, per_task),
        [&](int64_t task, int) {
          const int64_t end = std::min((task + 1) * per_task, g.m * g.n);
          for (int64_t e = task * per_task; e < end;) {
            const int64_t i = e / g.n, stop = std::min(end, (i + 1) * g.n);
            for (; e < stop; ++e) {
              const int64_t j = e - i * g.n;
              const A* at = result + i * row + j * col;
              A sum = *at;
              for (int64_t chunk = 1; chunk < p.chunks; ++chunk) sum += at[size_t(chunk) * step];
              c[e] = T(bias ? A(sum + A(bias[j * g.bias_stride])) : sum);
            }
          }
        },
        threads);
  }
};

}  // namespace

size_t gemm_workspace_bytes(const GemmParams& params, int threads) {
  if (params.batch() * params.m * params.n == 0) return 0;
  const Plan p = plan(params, threads);
  return p.partial_bytes + size_t(p.workers) * p.worker_bytes();
}

void gemm(const GemmParams& params) {
  if (params.batch() * params.m * params.n == 0) return;
  dispatch_all(params.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (!std::is_same_v<T, bool>) Product<T>(params).run();
  });
}

}  // namespace fastcnn::cpu
