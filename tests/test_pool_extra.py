"""Global, Lp and fractional pooling and max unpooling."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FLOATS,
    assert_close,
    assert_same_trace,
    bits,
    gradcheck,
    rounded,
    sum_bound,
    tensor,
    threads,
)
from reference import avg_pool, pool_axis

import fastcnn
from fastcnn import functional as F
from fastcnn import nn


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def distinct(shape, seed=0):
    """No two within a step of finite differences, none near 0."""
    return (np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape) + 0.5) / 10


# ---- global -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(2, 5, 7), (3, 17, 6, 5), (1, 3, 2, 3, 4), (0, 4, 3, 3)], ids=str)
def test_global(shape, dtype):
    x = rounded(normal(shape, 1), dtype)
    axes = tuple(range(2, x.ndim))
    layers = nn.GlobalAvgPool(), nn.GlobalMaxPool()
    mean, top = (layer(tensor(x, dtype)) for layer in layers)
    exact = x.mean(axes, keepdims=True)
    bound = sum_bound(np.abs(x).mean(axes, keepdims=True), int(np.prod(shape[2:])), dtype)
    assert_close(mean, exact, bound)
    np.testing.assert_array_equal(np.asarray(top, dtype=np.float64), x.max(axes, keepdims=True))


def test_half_average_does_not_overflow():
    """65,536 halves whose sum is far above the largest half (P17)."""
    x = fastcnn.full((1, 1, 256, 256), 1000.0, "float16")
    assert float(F.global_avg_pool(x).reshape(())) == 1000.0
    assert float(F.avg_pool2d(x, 256).reshape(())) == 1000.0


# ---- Lp -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4, np.inf])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_lp_values(p, dtype, ceil_mode):
    x = rounded(normal((2, 3, 6, 7), 2), dtype)
    y = F.lp_pool2d(tensor(x, dtype), p, (2, 3), 2, ceil_mode)
    ws = [pool_axis(n, k, 2, (0, 0), 1, ceil_mode) for n, k in zip(x.shape[2:], (2, 3))]
    if np.isinf(p):
        exact = np.asarray(F.max_pool2d(tensor(np.abs(x), "float64"), (2, 3), 2, ceil_mode=ceil_mode))
    else:
        exact = avg_pool(np.abs(x) ** p, ws, divisor=1) ** (1 / p)
    assert y.shape == exact.shape and y.dtype == dtype
    assert_close(y, exact, sum_bound(exact, 6, dtype, c=16 + 4 * min(p, 9)))


def test_lp_is_a_norm_for_odd_powers():
    """PyTorch gives NaN for the second window."""
    y = F.lp_pool1d(fastcnn.tensor([[[-1.0, -2, 3, -4]]], dtype="float64"), 3, 2)
    np.testing.assert_allclose(y.numpy(), [[[9 ** (1 / 3), 91 ** (1 / 3)]]], rtol=1e-14)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 2, 4])
def test_lp_against_torch(axes, p):
    torch = pytest.importorskip("torch")
    x = np.abs(normal((2, 3, 5, 6, 7)[: axes + 2], 3)) + 0.1
    ours, theirs = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(nn, f"LPPool{axes}d")(p, 2)(ours)
    t = getattr(torch.nn, f"LPPool{axes}d")(p, 2)(theirs)
    y.backward(fastcnn.tensor(normal(y.shape, 4)))
    t.backward(torch.tensor(normal(y.shape, 4)))
    np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-11)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
def test_lp_gradients(p):
    x = distinct((2, 2, 5, 6), 5) * np.random.default_rng(6).choice([-1, 1], (2, 2, 5, 6))
    gradcheck(lambda x: F.lp_pool2d(x, p, 3, 2), x)

    def first(x, dy):
        with fastcnn.enable_grad():
            return fastcnn.grad(F.lp_pool2d(x * 1.0, p, 3, 2), x, dy, create_graph=True)[0]

    t = fastcnn.tensor(x, requires_grad=True)
    dy = fastcnn.tensor(normal((2, 2, 2, 2), 7), requires_grad=True)
    v = normal(x.shape, 8)
    g = first(t, dy)
    ddx, ddy = fastcnn.grad((g * fastcnn.tensor(v)).sum(), [t, dy], allow_unused=True)
    step = 1e-6  # along v: d(g . v) / d(x, dy) against differences of g . v
    for t_, analytic, array in ((x, ddx, x), (0, ddy, dy.detach().numpy())):
        u = normal(array.shape, 9)
        ends = []
        for s in (step, -step):
            moved = fastcnn.tensor(x + s * u if t_ is x else x, requires_grad=True)
            weights = fastcnn.tensor(dy.detach().numpy() + (0 if t_ is x else s * u))
            ends.append(float((first(moved, weights).detach().numpy() * v).sum()))
        got = 0.0 if analytic is None else float((analytic.numpy() * u).sum())
        assert got == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
def test_lp_gradient_at_zero_is_zero(p):
    x = fastcnn.zeros(1, 1, 4, requires_grad=True)
    F.lp_pool1d(x, p, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 0)


# ---- unpooling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpool_inverts_pooling(axes, dtype):
    x = rounded(normal((2, 19, 5, 6, 7)[: axes + 2], 10), dtype)
    t = tensor(x, dtype, requires_grad=True)
    y, where = getattr(nn, f"MaxPool{axes}d")(2, return_indices=True)(t)
    back = getattr(nn, f"MaxUnpool{axes}d")(2)(y, where, output_size=x.shape)
    assert back.shape == x.shape and back.is_channels_last()
    winners = np.zeros(x.shape)
    flat, at = winners.reshape(*x.shape[:2], -1), where.numpy().reshape(*x.shape[:2], -1)
    np.put_along_axis(flat, at, np.take_along_axis(x.reshape(flat.shape), at, 2), 2)
    np.testing.assert_array_equal(np.asarray(back.detach(), dtype=np.float64), winners)
    back.backward(tensor(np.ones(x.shape), dtype))
    np.testing.assert_array_equal(np.asarray(t.grad, dtype=np.float64), winners != 0)


def test_unpool_against_torch():
    torch = pytest.importorskip("torch")
    x = normal((2, 3, 9, 8), 11)
    values, at = torch.nn.functional.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    for size in ((9, 8), (2, 3, 10, 8)):
        t = torch.nn.functional.max_unpool2d(values, at, 3, 2, 1, size)
        y = F.max_unpool2d(fastcnn.tensor(values.numpy()), fastcnn.tensor(at.numpy()), 3, 2, 1, size)
        np.testing.assert_array_equal(y.numpy(), t.numpy())


def test_unpool_duplicates_last_wins():
    x = fastcnn.tensor([[[1.0, 2.0, 3.0]]], dtype="float64", requires_grad=True)
    at = fastcnn.tensor([[[4, 0, 4]]], dtype="int64")
    y = F.max_unpool1d(x, at, 2)
    np.testing.assert_array_equal(y.detach().numpy(), [[[2, 0, 0, 0, 3, 0]]])
    y.backward(fastcnn.tensor([[[1.0, 2, 3, 4, 5, 6]]], dtype="float64"))
    np.testing.assert_array_equal(x.grad.numpy(), [[[0, 1, 5]]])
    gradcheck(lambda x: F.max_unpool1d(x, at, 2), x.detach().numpy())


@pytest.mark.parametrize("bad", [-1, 6])
def test_unpool_out_of_range(bad):
    at = fastcnn.tensor([[[0, bad, 4]]], dtype="int64")
    with pytest.raises(
        IndexError, match=rf"max_unpool1d: found an invalid max index: {bad} at .* expected 0 to 5"
    ):
        F.max_unpool1d(fastcnn.zeros(1, 1, 3), at, 2)


def test_unpool_layouts_and_unbatched():
    x = normal((3, 4, 4), 12)
    y, at = F.max_pool2d(fastcnn.tensor(x), 2, return_indices=True)
    back = F.max_unpool2d(y, at, 2)
    batch = F.max_unpool2d(y.reshape(1, 3, 2, 2), at.reshape(1, 3, 2, 2), 2)
    assert back.shape == (3, 4, 4) and bits(back) == bits(batch)
    flipped = fastcnn.from_numpy(y.numpy()[:, ::-1].copy())[:, ::1]
    other = fastcnn.from_numpy(at.numpy()[:, ::-1].copy())
    assert F.max_unpool2d(flipped, other, 2).shape == back.shape
    expanded = F.max_unpool1d(
        fastcnn.ones(1, 1, 3).expand(2, 4, 3), at.reshape(1, 1, 12)[..., :3].expand(2, 4, 3), 9
    )
    assert expanded.shape == (2, 4, 27)
    assert F.max_unpool1d(fastcnn.zeros(0, 2, 3), fastcnn.zeros(0, 2, 3, dtype="int64"), 2).shape == (0, 2, 6)


# ---- fractional ---------------------------------------------------------------------------------------------------


FRACTIONAL = [
    ((2, 19, 9, 8), (2, 3), (4, 5)),
    ((1, 3, 20, 33), (17, 16), (2, 7)),
    ((2, 3, 6, 9, 8), (2, 3, 1), (4, 3, 7)),
]


@pytest.mark.parametrize(("shape", "kernel", "out"), FRACTIONAL, ids=str)
def test_fractional_against_torch(shape, kernel, out):
    torch = pytest.importorskip("torch")
    x, s = normal(shape, 13), np.random.default_rng(14).random((*shape[:2], len(out)))
    x[..., 2:4] = 5.0  # ties
    name = f"fractional_max_pool{len(out)}d"
    ours, theirs = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    more = dict(output_size=out, return_indices=True)
    y, at = getattr(F, name)(ours, kernel, _random_samples=fastcnn.tensor(s), **more)
    t, where = getattr(torch.nn.functional, name)(theirs, kernel, _random_samples=torch.tensor(s), **more)
    np.testing.assert_array_equal(y.detach().numpy(), t.detach().numpy())
    np.testing.assert_array_equal(at.numpy(), where.numpy())
    dy = normal(y.shape, 15)
    y.backward(fastcnn.tensor(dy))
    t.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", FLOATS)
def test_fractional_windows(dtype):
    """Each maximum is the largest of the window that its samples name, and nothing depends on threads."""
    x = rounded(normal((2, 20, 11, 12), 16), dtype)
    u = np.random.default_rng(17).random((2, 20, 2))
    expected = np.zeros((2, 20, 5, 4))
    for n, c, p, q in np.ndindex(expected.shape):

        def start(o, count, cells, k, u):
            alpha = (cells - k) / (count - 1)
            return cells - k if o == count - 1 else int((o + u) * alpha) - int(u * alpha)

        h, w = start(p, 5, 11, 3, u[n, c, 1]), start(q, 4, 12, 2, u[n, c, 0])
        expected[n, c, p, q] = x[n, c, h : h + 3, w : w + 2].max()
    seen = set()
    for count in (1, 2, 3, 5, 16):
        with threads(count):
            t = tensor(x, dtype, requires_grad=True)
            y = F.fractional_max_pool2d(t, (3, 2), (5, 4), _random_samples=fastcnn.tensor(u))
            y.backward(tensor(rounded(normal(y.shape, 18), dtype), dtype))
            seen.add(bits(y) + bits(t.grad))
    np.testing.assert_array_equal(np.asarray(y.detach(), dtype=np.float64), expected)
    assert len(seen) == 1


def test_fractional_draws_and_seeds():
    x = fastcnn.randn(2, 8, 31, 31)
    layer, twin = (nn.FractionalMaxPool2d(2, output_ratio=0.5, seed=3) for _ in range(2))
    a, b = layer(x), layer(x)
    assert a.shape == (2, 8, 15, 15) and bits(a) != bits(b)
    assert bits(twin(x)) == bits(a)
    fixed = nn.FractionalMaxPool2d(2, 15, _random_samples=fastcnn.rand(2, 8, 2))
    assert bits(fixed(x)) == bits(fixed(x))


def test_fractional_gradients():
    x, u = distinct((2, 2, 7, 8), 19), fastcnn.rand(2, 2, 2, dtype="float64")
    gradcheck(lambda x: F.fractional_max_pool2d(x, (3, 2), (4, 5), _random_samples=u), x)

    def first(dy):
        with fastcnn.enable_grad():
            t = fastcnn.tensor(x, requires_grad=True)
            y = F.fractional_max_pool2d(t, (3, 2), (4, 5), _random_samples=u)
            return fastcnn.grad(y, t, dy, create_graph=True)[0]

    gradcheck(first, normal((2, 2, 4, 5), 20))


def test_fractional_nan_wins():
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 1, 1] = x[0, 0, 1, 2] = np.nan
    y, at = F.fractional_max_pool2d(fastcnn.tensor(x), 4, 1, return_indices=True)
    assert np.isnan(y.numpy()).all() and int(at.reshape(())) == 6


# ---- all of them --------------------------------------------------------------------------------------------------


STEPS = {
    "global avg": lambda x, d: F.global_avg_pool(x),
    "global max": lambda x, d: F.global_max_pool(x),
    "lp 2": lambda x, d: F.lp_pool2d(x, 2, 2),
    "lp 3": lambda x, d: F.lp_pool2d(x, 3, 2),
    "lp inf": lambda x, d: F.lp_pool2d(x, float("inf"), 2),
    "unpool": lambda x, d: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "fractional": lambda x, d: F.fractional_max_pool2d(
        x, 2, 3, return_indices=True, _random_samples=fastcnn.zeros(2, 5, 2, dtype="float64", device=d)
    )[0],
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_traces(name):
    def step(device):
        x = fastcnn.zeros(2, 5, 8, 8, device=device, requires_grad=True)
        y = STEPS[name](x, device)
        y.backward(fastcnn.zeros(*y.shape, device=device))
        return x.grad

    assert_same_trace(step)


@pytest.mark.parametrize("layer", [
    "LPPool1d(2, 3)", "LPPool2d(1.5, (2, 3), 1, True)", "LPPool3d(2, 2)", "MaxUnpool1d(2)", "MaxUnpool2d(3, 2, 1)",
    "MaxUnpool3d((1, 2, 3), stride=2)", "FractionalMaxPool2d(3, 4)", "FractionalMaxPool3d(3, output_ratio=0.5)",
    "MaxPool1d(2)", "MaxPool2d(3, 2, 1, ceil_mode=True)", "MaxPool3d((1, 2, 2), dilation=2, padding=1)", "AvgPool1d(3)",
    "AvgPool2d((2, 3), 2, 1, count_include_pad=False)", "AvgPool3d(2, divisor_override=3)", "AvgPool1d(4, 2, 1, True)",
    "AdaptiveAvgPool1d(3)", "AdaptiveAvgPool2d((1, None))", "AdaptiveAvgPool3d(2)", "AdaptiveMaxPool2d((2, 3), True)",
    "AdaptiveMaxPool1d(1)", "AdaptiveMaxPool3d((1, None, 2))",
])  # fmt: skip
def test_layers_read_like_torch(layer):
    torch = pytest.importorskip("torch")
    assert repr(eval("nn." + layer)) == repr(eval("torch.nn." + layer, {"torch": torch}))


ERRORS = [
    (lambda x: F.lp_pool2d(x, 0, 2), ValueError, r"norm_type is 0, expected a number above 0"),
    (lambda x: F.lp_pool2d(x, float("nan"), 2), ValueError, r"norm_type is nan"),
    (lambda x: F.global_avg_pool(x[0, 0]), ValueError, r"global_avg_pool: input has shape \(8, 8\)"),
    (lambda x: F.fractional_max_pool2d(x, 2), ValueError, r"expected exactly one of them"),
    (lambda x: F.fractional_max_pool2d(x, 2, 3, 0.5), ValueError, r"expected exactly one of them"),
    (lambda x: nn.FractionalMaxPool2d(2), ValueError, r"FractionalMaxPool2d: got output_size None"),
    (lambda x: F.fractional_max_pool2d(x, 2, output_ratio=1.5), ValueError, r"output_ratio is 1.5, expected"),
    (lambda x: F.fractional_max_pool2d(x, 3, 7), ValueError, r"7 windows of 3 do not fit .* of at most 6"),
    (lambda x: F.fractional_max_pool2d(x, 2, 3, _random_samples=fastcnn.zeros(2, 5, 3)), ValueError,
     r"_random_samples has shape \(2, 5, 3\), expected \(2, 5, 2\)"),
    (lambda x: F.max_unpool2d(x, fastcnn.zeros(2, 5, 8, 8), 2), TypeError, r"indices are float32, expected int64"),
    (lambda x: F.max_unpool2d(x, fastcnn.zeros(2, 5, 8, 7, dtype="int64"), 2), ValueError,
     r"indices have shape \(2, 5, 8, 7\), expected that of the input"),
    (lambda x: F.max_unpool2d(x, fastcnn.zeros(2, 5, 8, 8, dtype="int64"), 2, output_size=(18, 16)), ValueError,
     r"output_size is \(18, 16\), expected 2 extents within \(\(15, 17\), \(15, 17\)\)"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(run, error, text):
    with pytest.raises(error, match=text):
        run(fastcnn.zeros(2, 5, 8, 8))
