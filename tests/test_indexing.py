"""x[...] and its assignment against PyTorch, gradients, order of the sums, masks, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_trace, bits, gradcheck, tensor, threads

import fastcnn
from fastcnn import functional as F

DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")
SHAPE = (3, 4, 5, 6)
A, B = np.array([[0, -1, 2], [1, 1, 0]]), np.array([2, 0, -2])
rng = np.random.default_rng(0)
MASK = {d: rng.random(SHAPE[:d]) < 0.4 for d in (1, 2, 3, 4)}
ALL, SOME, BACK = slice(None), slice(1, 3), slice(None, None, 2)
INDICES = [
    (A,), (ALL, A), (..., A), (A, B), (ALL, A, B), (A, ALL, B), (A, ALL, ALL, B), (ALL, B, ALL, A), (0, ALL, B),
    (0, B), (ALL, 1, B), (B, ..., None), (None, B), (ALL, None, B, SOME), (SOME, B, BACK), (BACK, ..., A),
    (A, B, A, B), ([0, 2],), ([],), (ALL, [1], [2, 0]), (MASK[1],), (MASK[2],), (MASK[3],), (MASK[4],),
    (np.bool_(True) | MASK[1], B[:1]), (ALL, MASK[2][0]), (..., rng.random(6) < 0.5), (MASK[1], ..., [0]),
    (np.array(2),), (B, 0, ALL, 1), (..., B, None, ALL), (B.astype(np.int32), ALL, B),
]  # fmt: skip


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def values(shape, dtype):
    return tensor(np.random.default_rng(1).integers(0, 200, shape), dtype)


def both(index, convert):
    return tuple(convert(i) if isinstance(i, np.ndarray) else i for i in index)


def flat(t):
    return np.asarray(t.detach() if hasattr(t, "detach") else t)


def torch_of(t):
    import torch

    return torch.tensor(np.array(t, dtype=np.float32 if t.dtype == "bfloat16" else None, order="C"))


@pytest.mark.parametrize("index", INDICES, ids=lambda i: str(i)[:60])
def test_reads_equal_torch(index):
    torch = pytest.importorskip("torch")
    for dtype in DTYPES:
        x = values(SHAPE, dtype)
        exact = torch_of(x)[both(index, torch.tensor)]
        for entries in (index, both(index, fastcnn.tensor)):
            got = x[entries if len(entries) > 1 else entries[0]]
            assert got.dtype == dtype
            np.testing.assert_array_equal(np.asarray(got), exact.numpy())
    odd = F.permute(values(SHAPE[::-1], "float32"), (3, 2, 1, 0))[::-1, :, ::-1]
    np.testing.assert_array_equal(np.asarray(odd[index]), torch_of(odd)[both(index, torch.tensor)].numpy())


@pytest.mark.parametrize("index", INDICES, ids=lambda i: str(i)[:60])
def test_gradients_equal_torch_and_assignments(index):
    torch = pytest.importorskip("torch")
    x = draw(SHAPE)
    ours, theirs = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours[index], theirs[both(index, torch.tensor)]
    g = draw(y.shape, 1)
    y.backward(fastcnn.tensor(g))
    z.backward(torch.tensor(g))
    np.testing.assert_allclose(np.asarray(ours.grad), theirs.grad.numpy(), rtol=1e-12)
    ours, theirs = fastcnn.tensor(x), torch.tensor(x)
    ours[index] = 2.5
    theirs[both(index, torch.tensor)] = 2.5
    np.testing.assert_array_equal(np.asarray(ours), theirs.numpy())
    taken = np.zeros(SHAPE, np.int64)
    np.add.at(
        taken.reshape(-1), flat(fastcnn.tensor(np.arange(taken.size).reshape(SHAPE))[index]).reshape(-1), 1
    )
    if taken.max(initial=0) <= 1:  # equal positions: no order in torch
        ours[index] = g
        theirs[both(index, torch.tensor)] = torch.tensor(g)
        np.testing.assert_array_equal(np.asarray(ours), theirs.numpy())


def test_basic_assignment():
    x = np.zeros((4, 5))
    t = fastcnn.from_numpy(x)
    t[1] = 3
    t[:, ::2] = fastcnn.tensor([1, 2, 3])  # converted
    t[2, 3] = np.array(9.0)
    t[-1] = [5, 6, 7, 8, 9]
    t[..., 1:2] += 1.0
    exact = np.zeros((4, 5))
    exact[1] = 3
    exact[:, ::2] = [1, 2, 3]
    exact[2, 3] = 9
    exact[-1] = [5, 6, 7, 8, 9]
    exact[..., 1:2] += 1
    np.testing.assert_array_equal(x, exact)
    t[1:] = t[:-1]  # overlapping memory
    exact[1:] = exact[:-1].copy()
    np.testing.assert_array_equal(x, exact)
    t[t > 5] = -1
    exact[exact > 5] = -1
    np.testing.assert_array_equal(x, exact)
    t[fastcnn.tensor([True, False, True, False])] = fastcnn.tensor(np.arange(5.0))
    exact[[0, 2]] = np.arange(5)
    np.testing.assert_array_equal(x, exact)


def test_the_last_of_equal_positions_wins_on_any_number_of_threads():
    positions = np.random.default_rng(2).integers(0, 50, 3000)
    v = np.arange(3000.0)
    exact = np.zeros(50)
    for i, p in enumerate(positions):
        exact[p] = v[i]
    for n in (1, 2, 7):
        with threads(n):
            t = fastcnn.zeros(50, dtype="float64")
            t[positions] = v
            np.testing.assert_array_equal(np.asarray(t), exact)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(5,), (5, 300), (5, 7, 11)])
def test_sums_have_the_same_bits_for_any_threads(shape, dtype):
    positions = np.random.default_rng(3).integers(0, 5, 4000)
    dy = draw((4000, *shape[1:]), 4)
    results = set()
    for n in (1, 2, 3, 7):
        with threads(n):
            x = tensor(np.zeros(shape), dtype, requires_grad=True)
            x[positions].backward(tensor(dy, dtype))
            results.add(bits(x.grad))
    assert len(results) == 1
    exact = np.zeros(shape)
    np.add.at(exact, positions, np.asarray(tensor(dy, dtype), np.float64))
    # in order in float32: at most a rounding of every partial sum, then one to the dtype
    bound = 800 * 2.0**-24 * 100 + (2.0**-11 * np.abs(exact) if dtype == "float16" else 0)
    assert (np.abs(np.asarray(x.grad, np.float64) - exact) <= bound).all()


def test_gradients_once_and_twice():
    x = draw((3, 4, 2))
    index = fastcnn.tensor(np.array([0, 2, 0]))
    cases = [
        lambda t: t[index],
        lambda t: t[:, index, 1],
        lambda t: t[1:, [0, 0], ::-1],
        lambda t: t[index, :, fastcnn.tensor([0, 1, 0])],
        lambda t: F.index_select(t, 1, index),
        lambda t: F.take(t, fastcnn.tensor([[0, 23], [5, 5]])),
        lambda t: F.masked_fill(t, t.detach() > 0, 2.0),
        lambda t: F.masked_select(t, t.detach() > 0),
        lambda t: F.index_add(t, 0, index, t * 2.0, alpha=3),
        lambda t: F.select(t, 1, -1),
    ]
    for f in cases:
        gradcheck(lambda t, f=f: F.square(f(t)), x)

        def slope(t, f=f):
            with fastcnn.enable_grad():
                t = t if t.requires_grad else t.detach().requires_grad_()
                return fastcnn.grad(F.sum(F.exp(0.3 * f(t))), t, create_graph=True)

        gradcheck(slope, x, rtol=1e-5, atol=1e-6)
    unique = fastcnn.tensor([2, 0])
    for accumulate in (False, True):
        gradcheck(lambda t, v, a=accumulate: F.square(F.index_put(t, (unique,), v, a)), x, draw((4, 1), 1))
        gradcheck(
            lambda t, v, a=accumulate: F.square(F.index_put(t, (None, unique), v, a)), x, draw((3, 2, 2), 1)
        )


def test_named_reads_and_writes_equal_torch():
    torch = pytest.importorskip("torch")
    x = draw((4, 5, 3))
    a, b = fastcnn.tensor(x), torch.tensor(x)
    i, j = fastcnn.tensor([3, 0, 0]), torch.tensor([3, 0, 0])
    for dim in (0, 1, -1):
        if dim != -1:
            np.testing.assert_array_equal(
                np.asarray(fastcnn.index_select(a, dim, i)), torch.index_select(b, dim, j).numpy()
            )
        source = draw(tuple(3 if d == dim % 3 else n for d, n in enumerate(x.shape)), 1)
        j2 = torch.tensor([2, 0, 0])
        np.testing.assert_allclose(
            np.asarray(a.index_add(dim, fastcnn.tensor([2, 0, 0]), fastcnn.tensor(source), alpha=2)),
            torch.index_add(b, dim, j2, torch.tensor(source), alpha=2).numpy(),
            rtol=1e-14,
        )
    np.testing.assert_array_equal(
        np.asarray(a.take(fastcnn.tensor([[0, -1]]))), torch.take(b, torch.tensor([[0, -1]])).numpy()
    )
    np.testing.assert_array_equal(
        np.asarray(fastcnn.masked_select(a, fastcnn.tensor([True, False, True]))),
        torch.masked_select(b, torch.tensor([True, False, True])).numpy(),
    )
    np.testing.assert_array_equal(
        np.asarray(a.masked_fill(fastcnn.tensor([True, False, True]), 7)),
        b.masked_fill(torch.tensor([True, False, True]), 7).numpy(),
    )
    np.testing.assert_array_equal(np.asarray(a.select(1, -2)), b.select(1, -2).numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (5, 6), (3, 4, 5), (0, 3), (200, 331)])
def test_nonzero(shape, dtype):
    x = tensor(np.random.default_rng(0).integers(0, 3, shape), dtype)
    exact = np.asarray(x)
    np.testing.assert_array_equal(
        np.asarray(F.nonzero(x)), np.argwhere(exact) if shape else np.zeros((int(exact != 0), 0))
    )
    for got, want in zip(F.nonzero(x, as_tuple=True), np.nonzero(np.atleast_1d(exact))):
        np.testing.assert_array_equal(np.asarray(got), want)
    if len(shape) == 2:
        np.testing.assert_array_equal(np.asarray(x.T[:, ::-1].nonzero()), np.argwhere(exact.T[:, ::-1]))
    assert fastcnn.nonzero(fastcnn.tensor([float("nan"), 0.0, -0.0])).tolist() == [[0]]


def test_empty():
    x = fastcnn.zeros(3, 4, requires_grad=True)
    none = fastcnn.zeros(0, dtype="int64")
    y = x[none]
    assert y.shape == (0, 4)
    y.backward(fastcnn.zeros(0, 4))
    assert not np.asarray(x.grad).any()
    assert x[:, none].shape == (3, 0)
    assert x[fastcnn.zeros(3, 4, dtype="bool")].shape == (0,)
    assert fastcnn.zeros(0, 4)[:, [1, 2]].shape == (0, 2)
    t = fastcnn.zeros(3, 4)
    t[none] = 1.0
    t[none] = fastcnn.zeros(0, 4)
    assert not np.asarray(t).any()


def test_traces_and_masks_on_the_twin():
    def step(device):
        x = fastcnn.zeros(6, 5, 4, device=device, requires_grad=True)
        i = fastcnn.zeros(7, dtype="int64", device=device)
        y = x[:, i] * 2.0
        z = F.index_put(x, (i,), 1.0, accumulate=True)
        (F.sum(y) + F.sum(z) + F.sum(x[[0, 1], :, [1, 2]])).backward()
        t = fastcnn.zeros(6, 5, device=device)
        t[t > 0] = 1.0
        t[i[:2]] = 3.0
        t[1:] = t[:-1]

    assert_same_trace(step)
    meta = fastcnn.zeros(3, 4, device="meta")
    for f in (lambda: meta[meta > 0], lambda: F.masked_select(meta, meta > 0), lambda: F.nonzero(meta)):
        with pytest.raises(
            TypeError, match="size of the result depends on values, which a meta tensor does not have"
        ):
            f()


def test_positions_out_of_range():
    x = fastcnn.zeros(3, 4)
    with pytest.raises(
        IndexError, match="index: index 3 is out of range for axis 0 with 3 elements, expected -3 to 2"
    ):
        x[[0, 3]]
    with pytest.raises(IndexError, match="setitem: index -5 is out of range for axis 1 with 4 elements"):
        x[:, [-5, 0]] = 1.0
    assert not np.asarray(x).any()


def test_errors():
    z = fastcnn.zeros
    x = z(3, 4)
    with pytest.raises(
        IndexError, match=r"index: mask has shape \(4,\), expected \(3,\) \(axes 0 to 0 of shape"
    ):
        x[z(4, dtype="bool")]
    with pytest.raises(IndexError, match=r"index: got 3 indices for shape \(3, 4\), expected at most 2"):
        x[[0], [0], [0]]
    with pytest.raises(TypeError, match="index: got a float32 tensor, expected int64, int32 or bool"):
        x[z(2)]
    with pytest.raises(TypeError, match=r"index: got a uint8 tensor, expected .* for a mask"):
        x[z(3, dtype="uint8")]
    with pytest.raises(TypeError, match="index: got float64 values, expected whole numbers or bools"):
        x[[0.5]]
    with pytest.raises(TypeError, match="index: got bool, expected ints"):
        x[True]
    with pytest.raises(TypeError, match="index: got str, expected ints"):
        x["a"]
    with pytest.raises(ValueError, match="index: shapes do not broadcast, got"):
        x[[0, 1], [0, 1, 2]]
    with pytest.raises(ValueError, match="setitem: shapes do not broadcast"):
        x[0] = z(3)
    with pytest.raises(ValueError, match="setitem: shapes do not broadcast"):
        x[[0, 1]] = z(3)
    with pytest.raises(
        ValueError, match=r"setitem: value has shape \(2, 4\), expected one that broadcasts to \(4,\)"
    ):
        x[0] = z(2, 4)
    leaf = z(3, requires_grad=True)
    with pytest.raises(ValueError, match="setitem: in place with a tensor that requires a gradient"):
        leaf[0] = 1.0
    with pytest.raises(ValueError, match="setitem: in place with a tensor that requires a gradient"):
        x[0, :3] = leaf
    with fastcnn.no_grad():
        leaf[[0]] = 1.0
    with pytest.raises(ValueError, match="setitem: in-place on an expanded tensor"):
        F.expand(z(1, 3), (4, 3))[[0]] = 1.0
    with pytest.raises(TypeError, match="index_select: index is float32, expected an int64 or int32 tensor"):
        F.index_select(x, 0, z(2))
    with pytest.raises(ValueError, match=r"index_select: index has shape \(1, 1\), expected one axis"):
        F.index_select(x, 0, z(1, 1, dtype="int64"))
    with pytest.raises(IndexError, match="index_select: dim 2 is out of range, expected -2 to 1"):
        F.index_select(x, 2, z(1, dtype="int64"))
    with pytest.raises(TypeError, match="masked_fill: mask is float32, expected a bool tensor"):
        F.masked_fill(x, x, 1.0)
    with pytest.raises(ValueError, match=r"index_add: index has shape \(2,\) and source \(3, 4\), expected"):
        F.index_add(x, 0, z(2, dtype="int64"), x)
    saved = z(3, requires_grad=True) * 1.0
    y = F.square(saved)
    with fastcnn.no_grad():
        saved[[0]] = 1.0
    with pytest.raises(ValueError, match="was changed in place"):
        F.sum(y).backward()
