"""sort, argsort, topk and cumsum against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import UNIT, assert_same_trace, bits, gradcheck, tensor, threads

import fastcnn
from fastcnn import functional as F

DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def plain(t):
    return np.asarray(t, dtype=np.float32) if t.dtype == "bfloat16" else np.asarray(t)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (4, 5, 6), (3, 1), (2, 0), (0, 3), (3, 2000)])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_equals_torch(shape, descending, dtype):
    torch = pytest.importorskip("torch")
    x = tensor(np.random.default_rng(0).integers(0, 9, shape), dtype)  # many equal ones
    for dim in (0, -1):
        got = F.sort(x, dim, descending)
        want = torch.sort(torch.tensor(plain(x)), dim=dim, descending=descending, stable=True)
        assert got.values.dtype == dtype and got.indices.dtype == "int64"
        np.testing.assert_array_equal(plain(got.values), want.values.numpy())
        np.testing.assert_array_equal(np.asarray(got.indices), want.indices.numpy())
        np.testing.assert_array_equal(np.asarray(F.argsort(x, dim, descending)), want.indices.numpy())
        for k in {0, 1, min(3, shape[dim]), shape[dim]}:
            if k > shape[dim]:
                continue
            top = F.topk(x, k, dim, largest=descending)
            part = tuple(slice(0, k) if d == dim % len(shape) else slice(None) for d in range(len(shape)))
            np.testing.assert_array_equal(plain(top.values), want.values.numpy()[part])
            np.testing.assert_array_equal(np.asarray(top.indices), want.indices.numpy()[part])


@pytest.mark.sanitized
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_nan_is_the_largest_number(dtype):
    torch = pytest.importorskip("torch")
    values = [1.0, float("nan"), -float("inf"), float("inf"), float("nan"), -0.0, 0.0]
    x = tensor(values, dtype)
    for descending in (False, True):
        want = torch.sort(torch.tensor(values), descending=descending, stable=True)
        got = F.sort(x, descending=descending)
        assert got.indices.tolist() == want.indices.tolist()
        np.testing.assert_array_equal(plain(got.values), want.values.numpy())
    assert np.isnan(plain(F.topk(x, 2).values)).all()
    assert F.topk(x, 2, largest=False).indices.tolist() == [2, 5]


def test_strides_zero_axes_and_methods():
    x = draw((6, 8))
    t = fastcnn.tensor(x).T[::-2]
    exact = x.T[::-2]
    np.testing.assert_array_equal(np.asarray(t.sort(0).values), np.sort(exact, 0))
    np.testing.assert_array_equal(np.asarray(fastcnn.msort(t)), np.sort(exact, 0))
    np.testing.assert_array_equal(np.asarray(t.argsort(1, True)), np.argsort(-exact, 1))
    np.testing.assert_array_equal(np.asarray(t.topk(2, 1)[0]), -np.sort(-exact, 1)[:, :2])
    one = fastcnn.tensor(3.0)
    assert (
        F.sort(one).values.item() == 3.0 and F.argsort(one).shape == () and F.topk(one, 1).values.shape == ()
    )
    assert F.cumsum(one, 0).item() == 3.0


def test_threads():
    x = tensor(draw((50, 1000)))
    results = set()
    for n in (1, 2, 5):
        with threads(n):
            results.add(bits(F.sort(x).values) + bits(F.topk(x, 7).indices) + bits(F.cumsum(x, 1)))
    assert len(results) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (4, 5, 6), (2, 0), (0, 3), (3, 3000)])
def test_cumsum(shape, dtype):
    x = tensor(np.random.default_rng(0).integers(0, 20, shape) / (1 if "int" in dtype else 8), dtype)
    for dim in (0, -1):
        y = F.cumsum(x, dim)
        assert y.dtype == (dtype if "float" in dtype else "int64")
        exact = np.cumsum(np.asarray(x, np.float64), dim)
        error = np.abs(np.asarray(y, np.float64) - exact)
        assert (error <= (UNIT[dtype] if "float" in dtype else 0) * np.abs(exact)).all()
        reverse = np.asarray(F.cumsum(x[::-1], 0))
        if dtype in ("int64", "float64"):
            np.testing.assert_allclose(reverse, np.cumsum(np.asarray(x)[::-1], 0), rtol=1e-14)


def test_gradients_once_and_twice():
    x = draw((3, 5))
    for f in (
        lambda t: F.sort(t, 1).values,
        lambda t: F.sort(t, 0, True).values,
        lambda t: F.topk(t, 2, 1).values,
        lambda t: F.topk(t, 2, 0, False).values,
        lambda t: F.cumsum(t, 0),
        lambda t: F.cumsum(t, -1),
    ):
        gradcheck(lambda t, f=f: F.square(f(t)), x)

        def slope(t, f=f):
            with fastcnn.enable_grad():
                t = t if t.requires_grad else t.detach().requires_grad_()
                return fastcnn.grad(F.sum(F.exp(0.3 * f(t))), t, create_graph=True)

        gradcheck(slope, x, rtol=1e-5, atol=1e-6)
    leaf = fastcnn.tensor(2.0, requires_grad=True)
    (F.sort(leaf).values * F.cumsum(leaf, 0)).backward()
    assert leaf.grad.item() == 4.0


def test_traces():
    for n in (1, 2, 7):
        with threads(n):

            def step(device):
                x = fastcnn.zeros(9, 30, device=device, requires_grad=True)
                y = F.sum(F.sort(x).values) + F.sum(F.topk(x, 3, 0).values) + F.sum(F.cumsum(x, 1))
                F.argsort(x)
                y.backward()

            assert_same_trace(step)


def test_errors():
    x = fastcnn.zeros(3, 4)
    with pytest.raises(
        ValueError, match=r"topk: k is 5, expected at most the 4 elements of dim 1 of shape \(3, 4\)"
    ):
        F.topk(x, 5)
    with pytest.raises(ValueError, match="topk: k is -1, expected a number >= 0"):
        F.topk(x, -1)
    with pytest.raises(IndexError, match="sort: axis out of range, got 2, expected -2 to 1"):
        F.sort(x, 2)
    with pytest.raises(IndexError, match="cumsum: axis out of range, got -3"):
        F.cumsum(x, -3)
