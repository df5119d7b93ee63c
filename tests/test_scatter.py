"""gather, scatter, take_along_dim and one_hot against PyTorch and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_trace, bits, gradcheck, tensor, threads

import fastcnn
from fastcnn import functional as F

DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")
CASES = [((5, 6, 7), (5, 6, 7)), ((5, 6, 7), (3, 6, 2)), ((5,), (9,)), ((4, 3), (4, 0)), ((1, 8), (1, 3))]


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def case(shapes, dim, unique=False):
    shape, index_shape = shapes
    index_shape = tuple(n if i == dim % len(shape) else min(n, shape[i]) for i, n in enumerate(index_shape))
    index = np.random.default_rng(1).integers(0, shape[dim], index_shape)
    if unique:
        order = np.argsort(np.random.default_rng(2).random(shape), dim)
        index = order[tuple(slice(0, n) for n in index_shape)]
    return index


def plain(t):
    return np.asarray(t, dtype=np.float32) if t.dtype == "bfloat16" else np.asarray(t)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("shapes", CASES, ids=str)
def test_values_equal_torch(shapes, dim, dtype):
    torch = pytest.importorskip("torch")
    x = tensor(np.random.default_rng(0).integers(0, 100, shapes[0]), dtype)
    a = torch.tensor(plain(x))
    index = case(shapes, dim)
    for kind in (np.int64, np.int32):
        i = fastcnn.tensor(index.astype(kind))
        got = F.gather(x, dim, i)
        assert got.dtype == dtype
        np.testing.assert_array_equal(plain(got), torch.gather(a, dim, torch.tensor(index)).numpy())
    index = case(shapes, dim, True)
    if any(n > m for n, m in zip(index.shape, shapes[0])):
        return
    i, j = fastcnn.tensor(index), torch.tensor(index)
    src = tensor(np.random.default_rng(3).integers(0, 100, index.shape), dtype)
    np.testing.assert_array_equal(
        plain(F.scatter(x, dim, i, src)), torch.scatter(a, dim, j, torch.tensor(plain(src))).numpy()
    )
    np.testing.assert_array_equal(plain(F.scatter(x, dim, i, 1)), torch.scatter(a, dim, j, 1).numpy())
    if dtype != "bool":
        got = F.scatter_add(x, dim, i, src)
        exact = torch.scatter_add(a, dim, j, torch.tensor(plain(src))).numpy()
        np.testing.assert_array_equal(plain(got), exact)
        t = x.clone()
        assert t.scatter_add_(dim, i, src) is t
        np.testing.assert_array_equal(plain(t), exact)
    t = x.clone().scatter_(dim, i, src)
    np.testing.assert_array_equal(plain(t), plain(F.scatter(x, dim, i, src)))


def test_strided_operands_and_larger_sources():
    torch = pytest.importorskip("torch")
    x, src = draw((6, 5, 4)), draw((6, 5, 4), 1)
    index = case(((4, 5, 6), (2, 3, 6)), 2, True) % 4
    a = F.permute(fastcnn.tensor(x), (2, 1, 0))[::-1]
    b = torch.tensor(x.transpose(2, 1, 0)[::-1].copy())
    i = F.transpose(fastcnn.tensor(index.swapaxes(0, 1).copy()), 0, 1)
    np.testing.assert_array_equal(
        np.asarray(F.gather(a, 2, i)), torch.gather(b, 2, torch.tensor(index)).numpy()
    )
    s = src.transpose(2, 1, 0)
    np.testing.assert_allclose(
        np.asarray(F.scatter_add(a, 2, i, F.permute(fastcnn.tensor(src), (2, 1, 0)))),
        torch.scatter_add(b, 2, torch.tensor(index), torch.tensor(s.copy())).numpy(),
        rtol=1e-13,
    )


def test_order_does_not_depend_on_threads():
    index, src = np.random.default_rng(0).integers(0, 3, (50, 2000)), draw((50, 2000))
    sums, last = set(), set()
    for n in (1, 2, 3, 7):
        with threads(n):
            zero = fastcnn.zeros(50, 3)
            sums.add(bits(F.scatter_add(zero, 1, fastcnn.tensor(index), tensor(src))))
            last.add(bits(F.scatter(zero, 1, fastcnn.tensor(index), tensor(src))))
    assert len(sums) == len(last) == 1
    exact = np.zeros((50, 3), np.float32)
    for r, row in enumerate(index):
        for c, at in enumerate(row):
            exact[r, at] = src[r, c]
    assert last == {exact.tobytes()}


@pytest.mark.sanitized
def test_sums_of_16_bit_values_are_rounded_once():
    ones = fastcnn.ones(1, 5000, dtype="float16")
    index = fastcnn.zeros(1, 5000, dtype="int64")
    assert F.scatter_add(fastcnn.zeros(1, 1, dtype="float16"), 1, index, ones).item() == 5000.0
    x = fastcnn.zeros(1, 1, dtype="float16", requires_grad=True)
    F.gather(x, 1, index).backward(ones)
    assert x.grad.item() == 5000.0


def test_gradients_once_and_twice():
    x, src = draw((3, 4)), draw((3, 2), 1)
    twice = fastcnn.tensor([[0, 0], [3, 1], [2, 2]])
    once = fastcnn.tensor([[0, 1], [3, 1], [2, 0]])
    cases = [
        lambda a, b: F.gather(a, 1, twice) * b,
        lambda a, b: F.scatter_add(a, 1, twice, b),
        lambda a, b: F.scatter(a, 1, once, b),
        lambda a, b: F.scatter_add(a, 1, once[:, :1], b),
        lambda a, b: F.take_along_dim(a, twice[:1], 1) * b,
        lambda a, b: F.take_along_dim(a, twice) * F.sum(b),
    ]
    for f in cases:
        gradcheck(lambda a, b, f=f: F.square(f(a, b)), x, src)

        def slope(a, b, f=f):
            with fastcnn.enable_grad():
                a, b = (t if t.requires_grad else t.detach().requires_grad_() for t in (a, b))
                return fastcnn.grad(F.sum(F.exp(0.3 * f(a, b))), [a, b], create_graph=True)

        gradcheck(slope, x, src, rtol=1e-5, atol=1e-6)
    gradcheck(lambda a: F.square(F.scatter(a, 1, once, 2.0)), x)


def test_take_along_dim_undoes_argsort():
    x = draw((4, 5, 6))
    t = fastcnn.tensor(x)
    for dim in (0, 1, -1):
        np.testing.assert_array_equal(
            np.asarray(F.take_along_dim(t, F.argsort(t, dim), dim)), np.sort(x, dim)
        )
    best = F.argmax(t, 1, keepdim=True)
    np.testing.assert_array_equal(np.asarray(F.take_along_dim(t, best, 1)), x.max(1, keepdims=True))
    some = fastcnn.tensor([[[0, 2, 1]]])
    np.testing.assert_array_equal(
        np.asarray(t.take_along_dim(some, 2)), np.take_along_axis(x, np.array([[[0, 2, 1]]]), 2)
    )


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_one_hot(dtype):
    labels = np.random.default_rng(0).integers(0, 7, (3, 4))
    t = tensor(labels, dtype)
    y = F.one_hot(t, 9)
    assert y.dtype == "int64"
    np.testing.assert_array_equal(np.asarray(y), np.eye(9, dtype=np.int64)[labels])
    assert F.one_hot(t).shape == (3, 4, labels.max() + 1)
    assert F.one_hot(tensor(2, dtype), 4).tolist() == [0, 0, 1, 0]
    assert F.one_hot(fastcnn.zeros(0, dtype=dtype), 4).shape == (0, 4)
    assert F.one_hot(fastcnn.zeros(3, dtype=dtype, device="meta"), 4).shape == (3, 4)


def test_traces():
    def step(device):
        x = fastcnn.zeros(4, 5, dtype="float16", device=device, requires_grad=True)
        i = fastcnn.zeros(4, 3, dtype="int64", device=device)
        y = F.gather(x, 1, i)
        z = F.scatter_add(F.scatter(x, 1, i, 1.0), 1, i, y)
        F.one_hot(i, 3)
        F.sum(z).backward()

    assert_same_trace(step)


def test_positions_out_of_range():
    x, i = fastcnn.zeros(3, 4), fastcnn.zeros(3, 2, dtype="int64")
    with pytest.raises(
        IndexError, match="gather: index 4 is out of range for dim 1 with 4 elements, expected 0 to 3"
    ):
        F.gather(x, 1, i + 4)
    with pytest.raises(IndexError, match="scatter: index -1 is out of range for dim 0 with 3 elements"):
        F.scatter(x, 0, i - 1, 1.0)
    with pytest.raises(IndexError, match="one_hot: index 5 is out of range for dim 1 with 3 elements"):
        F.one_hot(fastcnn.tensor([5]), 3)


def test_errors():
    z = fastcnn.zeros
    x, i = z(3, 4), z(3, 2, dtype="int64")
    with pytest.raises(ValueError, match=r"gather: index has shape \(3,\), expected 2 axes like \(3, 4\)"):
        F.gather(x, 1, z(3, dtype="int64"))
    with pytest.raises(
        ValueError, match=r"gather: index has shape \(4, 1\), expected at most \(3, 4\) on every axis"
    ):
        F.gather(x, 1, z(4, 1, dtype="int64"))
    with pytest.raises(TypeError, match="gather: index is float32, expected an int64 or int32 tensor"):
        F.gather(x, 1, x)
    with pytest.raises(TypeError, match="scatter: src is float64, expected input's float32"):
        F.scatter(x, 1, i, z(3, 2, dtype="float64"))
    with pytest.raises(
        ValueError, match=r"scatter_add: src has shape \(3, 1\), expected at least the index's"
    ):
        F.scatter_add(x, 1, i, z(3, 1))
    with pytest.raises(
        ValueError, match=r"take_along_dim: got shapes \(3, 4\) and \(3,\), expected as many axes"
    ):
        F.take_along_dim(x, z(3, dtype="int64"), 1)
    with pytest.raises(
        TypeError, match="one_hot: a meta tensor has no values to count classes by; pass num_classes"
    ):
        F.one_hot(z(3, dtype="int64", device="meta"))
    with pytest.raises(ValueError, match="one_hot: num_classes is 0, expected at least 1"):
        F.one_hot(fastcnn.tensor([0]), 0)
    with pytest.raises(ValueError, match="one_hot: got no elements to count classes by"):
        F.one_hot(z(0, dtype="int64"))
    with pytest.raises(TypeError, match="one_hot: got a float32 tensor"):
        F.one_hot(x)
    with pytest.raises(ValueError, match="scatter_: in place with a tensor that requires a gradient"):
        z(3, 4, requires_grad=True).scatter_(1, i, 1.0)
