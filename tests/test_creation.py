"""Sequences, likenesses, identity and triangles against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_trace, gradcheck, tensor

import fastcnn
from fastcnn import functional as F

DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")


def plain(t):
    return np.asarray(t, dtype=np.float32) if t.dtype == "bfloat16" else np.asarray(t)


@pytest.mark.parametrize(
    "arguments",
    [(5,), (0,), (2, 9), (2, 9, 3), (9, 2, -2), (0, 1, 0.1), (1.5, 4), (5, 5), (-3, 3), (0.0, -1, -0.25)],
)
def test_arange_equals_torch(arguments):
    torch = pytest.importorskip("torch")
    got, want = fastcnn.arange(*arguments), torch.arange(*arguments)
    assert got.shape == tuple(want.shape) and f"torch.{got.dtype}" == str(want.dtype)
    np.testing.assert_allclose(np.asarray(got), want.numpy(), rtol=1e-6, atol=1e-7)
    for dtype in ("float64", "int32", "float16"):
        got, want = (
            fastcnn.arange(*arguments, dtype=dtype),
            torch.arange(*arguments, dtype=getattr(torch, dtype)),
        )
        np.testing.assert_allclose(np.asarray(got), want.numpy(), rtol=1e-3, atol=1e-3)


def test_large_whole_numbers_are_exact():
    start = 2**53 + 1
    assert fastcnn.arange(start, start + 3).tolist() == [start, start + 1, start + 2]
    assert fastcnn.arange(100_000).tolist() == list(range(100_000))
    x = fastcnn.arange(2.0, requires_grad=True)
    assert x.requires_grad and x.dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_linspace(dtype):
    for start, end, n in ((0, 1, 5), (-3, 4, 101), (1, 1, 3), (2, 5, 1), (0, 1, 0), (1e-3, 1e3, 1000)):
        y = fastcnn.linspace(start, end, n, dtype=dtype)
        assert y.dtype == dtype and y.shape == (n,)
        exact = np.linspace(start, end, n)
        np.testing.assert_allclose(np.asarray(y), exact, rtol={"float16": 1e-3}.get(dtype, 1e-6), atol=1e-6)
        if n > 1:
            assert np.asarray(y)[0] == np.asarray(start, dtype) and np.asarray(y)[-1] == np.asarray(
                end, dtype
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_likenesses_and_eye(dtype):
    x = tensor(np.ones((2, 3, 4, 5)), dtype).contiguous("channels_last")
    for f, value in ((fastcnn.zeros_like, 0), (fastcnn.ones_like, 1)):
        y = f(x)
        assert y.dtype == dtype and y.is_channels_last() and y.shape == x.shape
        assert (plain(y) == value).all()
    assert (plain(fastcnn.full_like(x, 2, dtype="int32")) == 2).all()
    meta = fastcnn.empty_like(x, device="meta")
    assert meta.device == "meta" and meta.is_channels_last()
    assert fastcnn.ones_like(fastcnn.zeros(3), requires_grad=True).requires_grad
    for n, m in ((3, None), (2, 4), (4, 2), (0, 3)):
        y = fastcnn.eye(n, m, dtype=dtype)
        assert y.dtype == dtype
        np.testing.assert_array_equal(plain(y), np.eye(n, m))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 5, 3), (0, 3)])
def test_triangles(shape, dtype):
    x = tensor(np.random.default_rng(0).integers(1, 9, shape), dtype)
    for k in (-2, 0, 1, 9):
        np.testing.assert_array_equal(plain(F.tril(x, k)), np.tril(plain(x), k))
        np.testing.assert_array_equal(plain(x.triu(k)), np.triu(plain(x), k))
        assert F.tril(x, k).dtype == dtype


def test_triangles_select():
    x = np.full((3, 3), np.nan)
    y = np.asarray(F.tril(fastcnn.tensor(x)))
    assert (y[np.triu_indices(3, 1)] == 0).all() and np.isnan(y[np.tril_indices(3)]).all()
    gradcheck(lambda t: F.square(F.tril(t, 1)), np.random.default_rng(0).standard_normal((2, 3, 4)))
    gradcheck(lambda t: F.square(F.triu(t, -1)), np.random.default_rng(0).standard_normal((4, 3)))


def test_trace():
    def step(device):
        fastcnn.arange(9, device=device)
        fastcnn.linspace(0, 1, 7, device=device)
        F.triu(fastcnn.eye(4, 5, device=device))
        fastcnn.zeros_like(fastcnn.ones(3, device=device))

    assert_same_trace(step)


def test_errors():
    with pytest.raises(ValueError, match="arange: got 0 to 3 in steps of 0, expected a step towards the end"):
        fastcnn.arange(0, 3, 0)
    with pytest.raises(ValueError, match="arange: got 3 to 0 in steps of 1"):
        fastcnn.arange(3, 0)
    with pytest.raises(ValueError, match="arange: got 0, inf and step 1, expected finite numbers"):
        fastcnn.arange(float("inf"))
    with pytest.raises(ValueError, match="linspace: got -1 steps, expected a number >= 0"):
        fastcnn.linspace(0, 1, -1)
    with pytest.raises(TypeError, match="linspace: this op takes float tensors, got int64"):
        fastcnn.linspace(0, 1, 3, dtype="int64")
    with pytest.raises(ValueError, match="eye: got -1 rows and 3 columns"):
        fastcnn.eye(-1, 3)
    with pytest.raises(ValueError, match=r"tril: got shape \(3,\), expected at least two axes"):
        F.tril(fastcnn.zeros(3))
