"""Matrix products against NumPy, PyTorch and finite differences."""

from __future__ import annotations

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
    trace,
)

import fastcnn
from fastcnn import functional as F

SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((6, 1, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (1, 3, 4, 1)),
    ((5, 2, 17, 40), (5, 2, 40, 33)),
    ((1, 5000), (5000, 1)),
    ((2, 1, 70), (70, 90)),
    ((20, 70), (70, 1)),
]  # fmt: skip


def draw(shape, seed, dtype="float64"):
    return rounded(np.random.default_rng(seed).standard_normal(shape), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_values(shapes, dtype):
    a, b = draw(shapes[0], 1, dtype), draw(shapes[1], 2, dtype)
    y = F.matmul(tensor(a, dtype), tensor(b, dtype))
    assert y.dtype == dtype
    assert_close(y, np.matmul(a, b), sum_bound(np.matmul(abs(a), abs(b)), a.shape[-1], dtype))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_integers_wrap_round(shapes, dtype):
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    a, b = (rng.integers(info.min, info.max, s, dtype=dtype, endpoint=True) for s in shapes)
    y = F.matmul(fastcnn.tensor(a), fastcnn.tensor(b))
    assert y.dtype == dtype
    np.testing.assert_array_equal(np.asarray(y), np.matmul(a, b))


@pytest.mark.parametrize("shapes", [s for s in SHAPES if np.prod(s[0]) < 400], ids=str)
def test_gradients_once_and_twice(shapes):
    a, b = draw(shapes[0], 1), draw(shapes[1], 2)
    gradcheck(F.matmul, a, b)

    def slope(x, y):
        with fastcnn.enable_grad():
            x, y = (t if t.requires_grad else t.detach().requires_grad_() for t in (x, y))
            return fastcnn.grad(F.sum(F.square(F.matmul(x, y))), [x, y], create_graph=True)

    gradcheck(slope, 0.5 * a, 0.5 * b, rtol=1e-5, atol=1e-6)


@pytest.mark.sanitized
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32"])
def test_strides(dtype):
    """Transposed, reversed, sliced and expanded operands give the bits of dense ones."""
    a, b = (np.round(5 * draw(s, i)) for i, s in enumerate([(4, 3, 20, 30), (3, 30, 25)]))
    plain = bits(F.matmul(tensor(a, dtype), tensor(b, dtype)))
    swap = F.transpose(tensor(np.ascontiguousarray(a.swapaxes(-1, -2)), dtype), -1, -2)
    flip = tensor(np.ascontiguousarray(b[::-1, ::-1, ::-1]), dtype)[::-1, ::-1, ::-1]
    wide = tensor(np.repeat(np.repeat(a, 2, axis=1), 2, axis=3), dtype)[:, ::2, :, ::2]
    order = F.permute(tensor(np.ascontiguousarray(a.transpose(2, 0, 3, 1)), dtype), (1, 3, 0, 2))
    for left in (swap, wide, order):
        assert bits(F.matmul(left, flip)) == plain
    one = F.expand(tensor(b[:1], dtype), (3, 30, 25))
    assert bits(F.matmul(tensor(a, dtype), one)) == bits(F.matmul(tensor(a, dtype), tensor(b[0], dtype)))


def test_a_shared_matrix_takes_one_product_and_no_copies():
    a, b = tensor(draw((8, 50, 40), 1), "float32"), tensor(draw((40, 30), 2), "float32")
    b.requires_grad_()
    a.requires_grad_()
    y = F.matmul(a, b)
    dy = fastcnn.ones(y.shape)
    events = trace(lambda device: y.backward(dy), "cpu")
    made = [(e[1], e[3]) for e in events if e[0] == "allocate" and e[1] != "workspace"]
    assert made == [("temporary", 4 * 8 * 50 * 40), ("temporary", 4 * 40 * 30)]


def test_threads_and_instruction_sets():
    cases = [((40, 3, 20, 30), (30, 25)), ((2, 64, 9000), (2, 9000, 5)), ((2, 300, 200), (2, 200, 100))]
    for dtype in ("float32", "float16", "float64"):
        for sa, sb in cases:
            a, b = draw(sa, 1), draw(sb, 2)
            results = set()
            for n in (1, 2, 3, 5, 16):
                with threads(n):
                    results.add(bits(F.matmul(tensor(a, dtype), tensor(b, dtype))))
            assert len(results) == 1
            integers = set()
            for name in isas():
                with isa(name):
                    integers.add(
                        bits(F.matmul(tensor(np.round(3 * a), dtype), tensor(np.round(3 * b), dtype)))
                    )
            assert len(integers) == 1


def test_named_products_equal_torch():
    torch = pytest.importorskip("torch")
    cases = {
        "mm": ((3, 4), (4, 5)),
        "bmm": ((2, 3, 4), (2, 4, 5)),
        "mv": ((3, 4), (4,)),
        "dot": ((4,), (4,)),
        "outer": ((3,), (4,)),
    }
    for name, shapes in cases.items():
        a, b = draw(shapes[0], 1), draw(shapes[1], 2)
        exact = getattr(torch, name)(torch.tensor(a), torch.tensor(b)).numpy()
        for f in (getattr(F, name), getattr(fastcnn, name), getattr(fastcnn.Tensor, name)):
            got = f(fastcnn.tensor(a), fastcnn.tensor(b))
            assert got.shape == exact.shape
            np.testing.assert_allclose(np.asarray(got), exact, rtol=1e-13)
        gradcheck(getattr(F, name), a, b)
    a, b = fastcnn.tensor(draw((3, 4), 1)), fastcnn.tensor(draw((4, 5), 2))
    assert bits(a @ b) == bits(F.matmul(a, b)) == bits(a.matmul(b)) == bits(fastcnn.matmul(a, b))
    with pytest.raises(TypeError):
        a @ 3


@pytest.mark.parametrize(
    "shapes",
    [
        ((0, 4), (4, 5)),
        ((3, 0), (0, 5)),
        ((3, 4), (4, 0)),
        ((0, 3, 4), (4, 5)),
        ((0, 3, 4), (1, 4, 5)),
        ((0,), (0,)),
    ],
    ids=str,
)
def test_empty(shapes):
    a, b = (fastcnn.zeros(s, requires_grad=True) for s in shapes)
    y = F.matmul(a, b)
    exact = np.matmul(np.zeros(shapes[0]), np.zeros(shapes[1]))
    assert y.shape == exact.shape and not np.asarray(y.detach()).any()
    y.backward(fastcnn.ones(y.shape))
    assert a.grad.shape == a.shape and b.grad.shape == b.shape


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
@pytest.mark.parametrize("shapes", SHAPES[-6:], ids=str)
def test_traces(shapes, dtype):
    def step(device):
        a, b = (fastcnn.zeros(s, dtype=dtype, device=device) for s in shapes)
        if dtype == "int64":
            F.matmul(a, b)
            return
        y = F.matmul(a.requires_grad_(), b.requires_grad_())
        y.backward(fastcnn.ones(y.shape, dtype=dtype, device=device))

    for n in (1, 2, 7):
        with threads(n):
            assert_same_trace(step)


def test_errors():
    z = fastcnn.zeros
    for a, b in (((2, 3), (4, 5)), ((3,), (4,)), ((3,), (2, 4, 5)), ((2, 3), (4,))):
        with pytest.raises(
            ValueError, match=r"matmul: inner extents differ, got .* \(3\) to be the second's rows \(4\)"
        ):
            F.matmul(z(a), z(b))
    with pytest.raises(ValueError, match="matmul: shapes do not broadcast, got"):
        F.matmul(z(2, 3, 4), z(3, 4, 5))
    with pytest.raises(ValueError, match="matmul: got a tensor without axes"):
        F.matmul(z(()), z(3))
    with pytest.raises(TypeError, match="matmul: dtypes differ"):
        F.matmul(z(2, 2), z(2, 2, dtype="float64"))
    with pytest.raises(TypeError, match="matmul: got bool tensors, expected numbers"):
        F.matmul(z(2, 2, dtype="bool"), z(2, 2, dtype="bool"))
    with pytest.raises(TypeError, match="matmul: got list, expected a tensor"):
        F.matmul(z(2, 2), [1, 2])
    with pytest.raises(ValueError, match=r"mm: got shapes \(2, 2, 2\) and \(2, 2\), expected 2 and 2 axes"):
        F.mm(z(2, 2, 2), z(2, 2))
    with pytest.raises(ValueError, match="bmm: got batches of 1 and 2, expected equal ones"):
        F.bmm(z(1, 2, 2), z(2, 2, 2))
    with pytest.raises(ValueError, match=r"dot: got \(2,\) and \(3,\), expected vectors of one length"):
        F.dot(z(2), z(3))
    with pytest.raises(ValueError, match=r"matmul: tensors on different devices, got c.+ and meta"):
        F.matmul(z(2, 2), z(2, 2, device="meta"))
