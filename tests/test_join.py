"""cat, stack, split, chunk, unbind and narrow against NumPy and PyTorch; gradients take no copies they do not need."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_trace, bits, gradcheck, tensor, trace

import fastcnn
from fastcnn import functional as F

DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")


def draw(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_cat_and_stack_values(dim, dtype):
    shapes = [[2, 3, 4] for _ in range(3)]
    for i, s in enumerate(shapes):
        s[dim] = i + 1
    parts = [tensor(draw(s, i), dtype) for i, s in enumerate(shapes)]
    exact = np.concatenate([np.asarray(p) for p in parts], dim)
    got = F.cat(parts, dim)
    assert got.dtype == dtype
    np.testing.assert_array_equal(np.asarray(got), exact)
    same = [tensor(draw((2, 3), i), dtype) for i in range(4)]
    np.testing.assert_array_equal(
        np.asarray(F.stack(same, dim)), np.stack([np.asarray(p) for p in same], dim)
    )


def test_memory_order_and_strides():
    a, b = draw((2, 3, 4, 5), 1), draw((2, 6, 4, 5), 2)
    nhwc = [fastcnn.tensor(v).contiguous("channels_last") for v in (a, b)]
    y = F.cat(nhwc, 1)
    assert y.is_channels_last() and not y.is_contiguous()
    np.testing.assert_array_equal(np.asarray(y), np.concatenate([a, b], 1))
    assert F.cat([nhwc[0], fastcnn.tensor(b)], 1).is_contiguous()
    odd = [fastcnn.from_numpy(a[::-1, :, ::2]), F.expand(fastcnn.tensor(b[:1, :3, ::2]), (2, 3, 2, 5))]
    exact = np.concatenate([a[::-1, :, ::2], np.broadcast_to(b[:1, :3, ::2], (2, 3, 2, 5))], -1)
    np.testing.assert_array_equal(np.asarray(F.cat(odd, -1)), exact)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_split_chunk_unbind_equal_torch(dim):
    torch = pytest.importorskip("torch")
    x = draw((5, 7, 6))
    for arguments in ((3,), ([1, 0, x.shape[dim] - 1],), (100,)):
        ours, theirs = (
            F.split(fastcnn.tensor(x), *arguments, dim),
            torch.split(torch.tensor(x), *arguments, dim),
        )
        assert [t.shape for t in ours] == [tuple(t.shape) for t in theirs]
        for a, b in zip(ours, theirs):
            np.testing.assert_array_equal(np.asarray(a), b.numpy())
    for n in (1, 2, 3, 4, 50):
        ours, theirs = F.chunk(fastcnn.tensor(x), n, dim), torch.chunk(torch.tensor(x), n, dim)
        assert [t.shape for t in ours] == [tuple(t.shape) for t in theirs]
    for a, b in zip(F.unbind(fastcnn.tensor(x), dim), torch.unbind(torch.tensor(x), dim)):
        np.testing.assert_array_equal(np.asarray(a), b.numpy())
    empty = fastcnn.zeros(0, 3), torch.zeros(0, 3)
    assert [t.shape for t in F.chunk(empty[0], 3)] == [tuple(t.shape) for t in torch.chunk(empty[1], 3)]
    assert [t.shape for t in F.split(empty[0], 2)] == [tuple(t.shape) for t in torch.split(empty[1], 2)]


def test_parts_are_views():
    x = fastcnn.tensor(draw((4, 6)))
    for part in (*F.split(x, 2, 1), *F.unbind(x), F.narrow(x, 1, -3, 2)):
        part.zero_()
    assert not np.asarray(x).any()
    rows = list(fastcnn.tensor(draw((3, 2))))
    assert [r.shape for r in rows] == [(2,)] * 3
    assert len(fastcnn.zeros(2, 3).split(1)) == 2
    with pytest.raises(TypeError, match="iter: a 0-dimensional tensor"):
        iter(fastcnn.zeros(()))


def test_gradients_once_and_twice():
    a, b, c = draw((2, 3), 1) / 50, draw((2, 2), 2) / 50, draw((2, 3), 3) / 50
    gradcheck(lambda x, y: F.square(F.cat((x, y), 1)), a, b)
    gradcheck(lambda x, y: F.square(F.stack((x, y), 1)), a, c)
    gradcheck(lambda x: F.square(F.split(x, [1, 2], 1)[1]), a)  # the other part is not used
    gradcheck(lambda x: [F.square(t) * (i + 1) for i, t in enumerate(F.chunk(x, 2, 1))], a)
    gradcheck(lambda x: [t * t * (i + 1) for i, t in enumerate(F.unbind(x, -1))], a)
    gradcheck(lambda x: F.square(F.unbind(x, 0)[1]), a)
    gradcheck(lambda x: F.square(F.narrow(x, 1, 1, 2)), a)

    def slope(f):
        def run(*xs):
            with fastcnn.enable_grad():
                xs = [x if x.requires_grad else x.detach().requires_grad_() for x in xs]
                return fastcnn.grad(F.sum(f(*xs)), xs, create_graph=True)

        return run

    gradcheck(slope(lambda x, y: F.exp(F.cat((x, y), 1))), a, b, rtol=1e-5)
    gradcheck(slope(lambda x, y: F.exp(F.stack((x, y), 0))), a, c, rtol=1e-5)
    gradcheck(slope(lambda x: F.exp(F.split(x, 2, 1)[0])), a, rtol=1e-5)
    gradcheck(slope(lambda x: F.exp(F.unbind(x, 1)[2])), a, rtol=1e-5)


def test_gradient_of_cat_is_views_and_of_split_one_copy():
    x = [fastcnn.zeros(4, 8, requires_grad=True) for _ in range(3)]
    inner = [t * 2.0 for t in x]
    y = F.cat(inner, 1)
    dy = fastcnn.ones(y.shape)
    made = [e[3] for e in trace(lambda device: y.backward(dy), "cpu") if e[0] == "allocate"]
    assert made == [4 * 4 * 8] * 3  # the products by 2, nothing for cat
    z = fastcnn.zeros(4, 24, requires_grad=True)
    parts = F.split(z, 8, 1)

    def backward(device):
        fastcnn.grad(list(parts), z, [dy[:, :8]] * 3)

    assert [e[3] for e in trace(backward, "cpu") if e[0] == "allocate"] == [4 * 4 * 24]


def test_empty_and_traces():
    assert F.cat([fastcnn.zeros(0, 3), fastcnn.zeros(2, 3)]).shape == (2, 3)
    assert F.cat([fastcnn.zeros(2, 0)] * 2).shape == (4, 0)
    assert F.stack([fastcnn.zeros(())] * 3).shape == (3,)
    assert F.unbind(fastcnn.zeros(0, 3)) == ()

    def step(device):
        x = fastcnn.zeros(2, 3, 4, 4, device=device, requires_grad=True)
        a, b = F.split(x, [1, 2], 1)
        y = F.cat((a * 2.0, b, F.stack(F.unbind(x, 1), 1)), 1)
        y.backward(fastcnn.ones(y.shape, device=device))

    assert_same_trace(step)


def test_bits_of_nan_are_kept():
    x = np.array([0x7FC00001, 0x7F800000, 0x80000000], np.uint32).view(np.float32)
    assert bits(F.cat([fastcnn.tensor(x), fastcnn.tensor(x)])) == x.tobytes() * 2


def test_errors():
    z = fastcnn.zeros
    with pytest.raises(ValueError, match="cat: got no tensors, expected at least one"):
        F.cat([])
    with pytest.raises(
        ValueError, match="cat: got a tensor without axes, expected at least one axis; use stack"
    ):
        F.cat([z(())])
    with pytest.raises(
        ValueError, match=r"cat: shapes differ, got \(2, 3\) and \(2, 4\), expected equal extents"
    ):
        F.cat([z(2, 3), z(2, 4)])
    with pytest.raises(TypeError, match="cat: dtypes differ, got float32 and int64"):
        F.cat([z(2), z(2, dtype="int64")])
    with pytest.raises(TypeError, match="cat: got a list among the parts"):
        F.cat([[1, 2]])
    with pytest.raises(IndexError, match="cat: dim 2 is out of range, expected -2 to 1"):
        F.cat([z(2, 3)], 2)
    with pytest.raises(ValueError, match=r"stack: got shapes \(2,\) and \(3,\), expected equal ones"):
        F.stack([z(2), z(3)])
    with pytest.raises(
        ValueError, match=r"split: got sizes \[1, 1\] for axis 0 of \(3,\), expected a sum of 3"
    ):
        F.split(z(3), [1, 1])
    with pytest.raises(ValueError, match="split: got parts of 0 elements of 3"):
        F.split(z(3), 0)
    with pytest.raises(ValueError, match="chunk: got 0 chunks"):
        F.chunk(z(3), 0)
    with pytest.raises(ValueError, match="narrow: got start 2 and length 2 for an axis of 3 elements"):
        F.narrow(z(3), 0, 2, 2)
