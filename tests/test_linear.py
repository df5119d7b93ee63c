"""Linear and bilinear maps against float64, PyTorch and finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import (
    FLOATS,
    assert_close,
    assert_same_trace,
    bits,
    gradcheck,
    isa,
    isas,
    rounded,
    sum_bound,
    tensor,
    threads,
)

import fastcnn
from fastcnn import functional as F

# input shape, out_features: few rows, narrow, odd, deep (cut along the depth), wide; the last three pack nothing, their
# gradients of the input one and two ways
CASES = [
    ((3, 5), 4),
    ((1, 300), 130),
    ((17, 64), 10),
    ((33, 129), 65),
    ((2, 3, 7), 5),
    ((9,), 6),
    ((2, 9000), 3),
    ((100, 70), 1),
    ((4, 1), 2),
    ((7, 1040), 640),
    ((13, 100), 50),
    ((40, 2500), 25),
]


def draw(shape, seed, dtype="float64"):
    return rounded(np.random.default_rng(seed).standard_normal(shape), dtype)


def strided(array, dtype, how):
    """A fastcnn tensor of these values with other strides."""
    t = tensor(array, dtype)
    if how == "dense" or t.ndim == 0:
        return t
    if how == "reversed":
        t = tensor(np.ascontiguousarray(array[..., ::-1]), dtype)
        return t[..., ::-1]
    if how == "gaps":
        wide = np.repeat(np.repeat(array, 2, axis=0), 3, axis=-1) if array.ndim > 1 else np.repeat(array, 3)
        t = tensor(wide, dtype)
        return t[::2, ..., ::3] if array.ndim > 1 else t[::3]
    return F.permute(tensor(np.ascontiguousarray(array.T), dtype), tuple(reversed(range(array.ndim))))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case, dtype):
    shape, out = case
    x, w, b = draw(shape, 1, dtype), draw((out, shape[-1]), 2, dtype), draw((out,), 3, dtype)
    dy = draw((*shape[:-1], out), 4, dtype)
    a, c, d = (tensor(v, dtype, requires_grad=True) for v in (x, w, b))
    y = F.linear(a, c, d)
    assert y.dtype == dtype and y.is_contiguous()
    assert_close(y, x @ w.T + b, sum_bound(abs(x) @ abs(w).T + abs(b), shape[-1] + 1, dtype), "y")
    y.backward(tensor(dy, dtype))
    flat_x, flat_dy = x.reshape(-1, shape[-1]), dy.reshape(-1, out)
    rows = len(flat_x)
    assert_close(a.grad, dy @ w, sum_bound(abs(dy) @ abs(w), out, dtype), "dx")
    assert_close(c.grad, flat_dy.T @ flat_x, sum_bound(abs(flat_dy).T @ abs(flat_x), rows, dtype), "dw")
    assert_close(d.grad, flat_dy.sum(0), sum_bound(abs(flat_dy).sum(0), rows, dtype), "db")


@pytest.mark.sanitized
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("how_w", ["dense", "reversed", "gaps", "transposed"])
@pytest.mark.parametrize("how_x", ["dense", "reversed", "gaps", "transposed"])
def test_any_strides_give_the_same_bits(how_x, how_w, dtype):
    for shape, out in (((37, 20), 30), ((3, 5, 20), 30), ((2, 20), 30)):
        x, w, b = draw(shape, 1, dtype), draw((out, shape[-1]), 2, dtype), draw((out,), 3, dtype)
        plain = F.linear(tensor(x, dtype), tensor(w, dtype), tensor(b, dtype))
        odd = F.linear(strided(x, dtype, how_x), strided(w, dtype, how_w), strided(b, dtype, how_x))
        assert bits(odd) == bits(plain)


@pytest.mark.parametrize("rows", [1, 8, 17, 32, 33])
@pytest.mark.parametrize("features", [512, 1040, 1041])
def test_gradients_of_few_rows(rows, features):
    """backward_input reads row-major weights in place up to 32 rows; alone and on several threads, on every ISA."""
    dy, w = draw((rows, 50), 1, "float32"), draw((50, features), 2, "float32")
    for which in isas():
        results = set()
        for count in (1, 3):
            with isa(which), threads(count):
                dx = F.matmul(tensor(dy), tensor(w))
                results.add(bits(dx))
        assert len(results) == 1, which
        assert_close(dx, dy @ w, sum_bound(abs(dy) @ abs(w), 50, "float32"), which)


def test_expanded_input_and_no_copies():
    x, w = draw((4, 1, 6), 1), draw((5, 6), 2)
    expanded = F.expand(tensor(x, "float64"), (4, 3, 6))
    with fastcnn.memory.track("cpu") as t:
        y = F.linear(expanded, tensor(w, "float64"))
    np.testing.assert_allclose(np.asarray(y), np.broadcast_to(x, (4, 3, 6)) @ w.T, rtol=1e-13)
    assert "layout" not in [e.category for e in t.events]


@pytest.mark.parametrize("needs", list(itertools.product([False, True], repeat=3)), ids=str)
def test_only_wanted_gradients_are_computed(needs):
    arrays = draw((6, 5), 1), draw((4, 5), 2), draw((4,), 3)
    x, w, b = (fastcnn.tensor(a, requires_grad=n) for a, n in zip(arrays, needs))
    y = F.linear(x, w, b)
    if not any(needs):
        assert not y.requires_grad
        return
    saved = [t is not None for t in y.grad_fn.saved_tensors]
    assert saved == [needs[1], needs[0]]
    y.backward(fastcnn.tensor(draw((6, 4), 4)))
    assert [t.grad is not None for t in (x, w, b)] == list(needs)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_gradients(shape):
    gradcheck(F.linear, draw(shape, 1), draw((4, 5), 2), draw((4,), 3))
    gradcheck(F.linear, draw(shape, 1), draw((4, 5), 2), None)
    gradcheck(F.linear, draw(shape, 1), draw((5,), 2), draw((), 3))


def test_gradients_of_gradients():
    def penalty(x, w, b):
        y = F.sum(F.exp(F.linear(x, w, b)))
        dx, dw = fastcnn.grad(y, [x, w], create_graph=True)
        return F.sum(F.square(dx)), F.sum(F.square(dw))

    def under_grad(*tensors):
        with fastcnn.enable_grad():
            leaves = [t if t.requires_grad else t.detach().requires_grad_() for t in tensors]
            return penalty(*leaves)

    gradcheck(
        under_grad, 0.3 * draw((2, 3, 4), 1), 0.3 * draw((3, 4), 2), draw((3,), 3), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("case", [((40, 70), 130), ((3, 70), 130), ((4, 9000), 6), ((300, 8), 9)], ids=str)
def test_threads_and_instruction_sets(case):
    shape, out = case
    for dtype in ("float32", "float64", "bfloat16"):
        arrays = draw(shape, 1), draw((out, shape[-1]), 2), draw((out,), 3)
        whole = [np.round(4 * a) for a in arrays]  # integers: no rounding, so no order

        def run(values, dtype=dtype):
            x, w, b = (tensor(v, dtype, requires_grad=True) for v in values)
            y = F.linear(x, w, b)
            y.backward(y.detach())
            return bits(y) + bits(x.grad) + bits(w.grad) + bits(b.grad)

        results = set()
        for n in (1, 2, 3, 5, 16):
            with threads(n):
                results.add(run(arrays))
        assert len(results) == 1
        integers = set()
        for name in isas():
            with isa(name):
                integers.add(run(whole))
        assert len(integers) == 1


def test_special_values_spread_along_their_row_and_column_only():
    x, w = np.ones((3, 4), np.float32), np.ones((5, 4), np.float32)
    x[1, 2], w[3, 0] = np.nan, np.inf
    y = np.asarray(F.linear(fastcnn.tensor(x), fastcnn.tensor(w)))
    assert np.isnan(y[1]).all() and np.isinf(y[[0, 2], 3]).all()
    assert (np.delete(np.delete(y, 1, 0), 3, 1) == 4).all()


@pytest.mark.parametrize(
    ("shape", "out"), [((0, 5), 3), ((4, 0), 3), ((4, 5), 0), ((2, 0, 5), 3), ((0, 0), 0)], ids=str
)
def test_empty(shape, out):
    x = fastcnn.zeros(shape, requires_grad=True)
    w = fastcnn.zeros(out, shape[-1], requires_grad=True)
    b = fastcnn.ones(out, requires_grad=True)
    y = F.linear(x, w, b)
    assert y.shape == (*shape[:-1], out)
    assert (np.asarray(y.detach()) == 1).all()
    y.backward(fastcnn.ones(y.shape))
    assert x.grad.shape == x.shape and w.grad.shape == w.shape and b.grad.shape == b.shape
    assert not np.asarray(w.grad).any() and (np.asarray(b.grad) == np.prod(shape[:-1])).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", [((40, 70), 130), ((3, 70), 130), ((2, 9000), 3)], ids=str)
def test_traces(case, dtype):
    shape, out = case
    for n in (1, 2, 7):
        with threads(n):

            def step(device):
                x, w, b = (
                    fastcnn.zeros(s, dtype=dtype, device=device, requires_grad=True)
                    for s in (shape, (out, shape[-1]), (out,))
                )
                y = F.linear(x, w, b)
                y.backward(fastcnn.ones(y.shape, dtype=dtype, device=device))

            assert_same_trace(step)


def test_bilinear():
    torch = pytest.importorskip("torch")
    x, z, w, b = draw((2, 6, 3), 1), draw((2, 6, 4), 2), draw((5, 3, 4), 3), draw((5,), 4)
    y = F.bilinear(*(fastcnn.tensor(v) for v in (x, z, w, b)))
    exact = torch.nn.functional.bilinear(*(torch.tensor(v) for v in (x, z, w, b)))
    np.testing.assert_allclose(np.asarray(y), exact.numpy(), rtol=1e-12, atol=1e-12)
    gradcheck(F.bilinear, x[0], z[0], w, b)
    assert F.bilinear(fastcnn.zeros(0, 3), fastcnn.zeros(0, 4), fastcnn.zeros(5, 3, 4)).shape == (0, 5)
    assert F.bilinear(fastcnn.zeros(3), fastcnn.zeros(4), fastcnn.zeros(5, 3, 4)).shape == (5,)


def test_errors():
    z = fastcnn.zeros
    with pytest.raises(
        ValueError, match=r"linear: input has shape \(2, 3\), expected \(\.\.\., 4\) for weight"
    ):
        F.linear(z(2, 3), z(5, 4))
    with pytest.raises(ValueError, match=r"linear: bias has shape \(4,\), expected \(5,\)"):
        F.linear(z(2, 4), z(5, 4), z(4))
    with pytest.raises(ValueError, match=r"linear: weight has shape \(5, 4, 1\), expected \(out_features"):
        F.linear(z(2, 4), z(5, 4, 1))
    with pytest.raises(TypeError, match="linear: dtypes differ, got float32 and float64"):
        F.linear(z(2, 4), z(5, 4, dtype="float64"))
    with pytest.raises(TypeError, match="linear: this op takes float tensors, got int64"):
        F.linear(z(2, 4, dtype="int64"), z(5, 4, dtype="int64"))
    with pytest.raises(ValueError, match=r"linear: tensors on different devices, got c.+ and meta"):
        F.linear(z(2, 4), z(5, 4, device="meta"))
    with pytest.raises(
        ValueError, match=r"bilinear: weight has shape \(5, 4, 3\), expected \(out_features, 3, 4\)"
    ):
        F.bilinear(z(2, 3), z(2, 4), z(5, 4, 3))
    with pytest.raises(ValueError, match=r"bilinear: bias has shape \(4,\), expected \(5,\)"):
        F.bilinear(z(2, 3), z(2, 4), z(5, 3, 4), z(4))
