"""Max, average and adaptive pooling against the naive reference, PyTorch and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import POOL, PoolCase
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
from reference import (
    adaptive_axis,
    avg_pool,
    avg_pool_backward,
    max_pool,
    max_pool_backward,
    pool_axis,
)

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn

MAX = [c for c in POOL if c.kind == "max"]
AVG = [c for c in POOL if c.kind == "avg"]
ids = {"ids": lambda c: c.name if isinstance(c, PoolCase) else str(c)}


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def integers(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def windows(case):
    each = zip(case.size, case.kernel, case.stride, case.padding, case.dilation)
    return [pool_axis(n, k, s, (p, p), d, case.ceil_mode) for n, k, s, p, d in each]


def keywords(case):
    out = dict(stride=case.stride, padding=case.padding, ceil_mode=case.ceil_mode)
    if case.kind == "max":
        return out | dict(dilation=case.dilation)
    if len(case.size) > 1:
        out["divisor_override"] = case.divisor_override
    return out | dict(count_include_pad=case.count_include_pad)


def call(case, library=F):
    function = getattr(library, f"{case.kind}_pool{len(case.size)}d")
    return lambda x, **more: function(x, case.kernel, **keywords(case), **more)


def averages(case):
    return dict(include=case.count_include_pad, divisor=case.divisor_override)


# ---- values and gradients of every case ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", MAX, **ids)
def test_max_pool(case, dtype):
    x = rounded(normal((case.N, case.C, *case.size), 1), dtype)
    x[x > 1.5] = 1.5  # ties
    t = tensor(x, dtype, requires_grad=True)
    y, where = call(case)(t, return_indices=True)
    exact, index = max_pool(x, windows(case))
    assert y.dtype == dtype and y.is_channels_last() and where.dtype == "int64" and not where.requires_grad
    np.testing.assert_array_equal(np.asarray(y.detach(), dtype=np.float64), exact)
    np.testing.assert_array_equal(where.numpy(), index)
    np.testing.assert_array_equal(bits(call(case)(tensor(x, dtype))), bits(y))  # the path without a gradient
    dy = rounded(normal(y.shape, 2), dtype)
    y.backward(tensor(dy, dtype))
    bound = sum_bound(max_pool_backward(np.abs(dy), index, x.shape), math.prod(case.kernel), dtype)
    assert_close(t.grad, max_pool_backward(dy, index, x.shape), bound)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", AVG, **ids)
def test_avg_pool(case, dtype):
    x = rounded(normal((case.N, case.C, *case.size), 1), dtype)
    t = tensor(x, dtype, requires_grad=True)
    y, ws, how, terms = call(case)(t), windows(case), averages(case), math.prod(case.kernel)
    assert y.dtype == dtype and y.is_channels_last()
    assert_close(y, avg_pool(x, ws, **how), sum_bound(np.abs(avg_pool(np.abs(x), ws, **how)), terms, dtype))
    assert bits(call(case)(tensor(x, dtype))) == bits(y)
    dy = rounded(normal(y.shape, 2), dtype)
    y.backward(tensor(dy, dtype))
    magnitude = np.abs(avg_pool_backward(np.abs(dy), x.shape, ws, **how))
    assert_close(t.grad, avg_pool_backward(dy, x.shape, ws, **how), sum_bound(magnitude, terms, dtype))


ADAPTIVE = [
    ((2, 5, 7, 9), (3, 4)),
    ((1, 33, 6, 6), (1, 1)),
    ((1, 3, 3, 4), (7, 5)),
    ((2, 3, 10), (4,)),
    ((1, 2, 3, 5, 7), (2, 5, 3)),
    ((0, 3, 4, 4), (2, 2)),
    ((2, 0, 4, 4), (2, 2)),
    ((2, 3, 5, 4), (0, 2)),
    ((1, 2, 40, 9), (2, 1)),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("shape", "out"), ADAPTIVE, ids=str)
def test_adaptive_pool(shape, out, dtype):
    x = rounded(normal(shape, 1), dtype)
    ws = [adaptive_axis(n, o) for n, o in zip(shape[2:], out)]
    name, terms = f"pool{len(out)}d", math.prod(shape[2:])
    t = tensor(x, dtype, requires_grad=True)
    y = getattr(F, "adaptive_avg_" + name)(t, out)
    assert y.shape == (*shape[:2], *out) and y.is_channels_last()
    assert_close(y, avg_pool(x, ws), sum_bound(avg_pool(np.abs(x), ws), terms, dtype))
    dy = rounded(normal(y.shape, 2), dtype)
    y.backward(tensor(dy, dtype))
    bound = sum_bound(avg_pool_backward(np.abs(dy), shape, ws), terms, dtype)
    assert_close(t.grad, avg_pool_backward(dy, shape, ws), bound)
    t = tensor(x, dtype, requires_grad=True)
    y, where = getattr(F, "adaptive_max_" + name)(t, out, return_indices=True)
    exact, index = max_pool(x, ws)
    np.testing.assert_array_equal(np.asarray(y.detach(), dtype=np.float64), exact)
    np.testing.assert_array_equal(where.numpy(), index)
    y.backward(tensor(dy, dtype))
    bound = sum_bound(max_pool_backward(np.abs(dy), index, shape), terms, dtype)
    assert_close(t.grad, max_pool_backward(dy, index, shape), bound)


def test_adaptive_none_keeps_the_axis():
    x = fastcnn.randn(2, 3, 5, 7)
    assert F.adaptive_avg_pool2d(x, (None, 3)).shape == (2, 3, 5, 3)
    assert nn.AdaptiveMaxPool2d((2, None))(x).shape == (2, 3, 2, 7)
    assert bits(F.adaptive_max_pool2d(x, None)) == bits(x)


# ---- against PyTorch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", POOL, **ids)
def test_cases_against_torch(case):
    torch = pytest.importorskip("torch")
    if case.C == 0:
        pytest.skip("PyTorch refuses an input without channels")
    x = integers((case.N, case.C, *case.size), 3, np.float64)
    ours, theirs = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    more = dict(return_indices=True) if case.kind == "max" else {}
    y, t = call(case)(ours, **more), call(case, torch.nn.functional)(theirs, **more)
    if more:
        np.testing.assert_array_equal(y[1].numpy(), t[1].numpy())
        y, t = y[0], t[0]
    np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-14, atol=1e-14)
    dy = normal(y.shape, 4)
    y.backward(fastcnn.tensor(dy))
    t.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("shape", "out"), [a for a in ADAPTIVE if 0 not in a[0] + a[1]], ids=str)
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_against_torch(kind, shape, out):
    torch = pytest.importorskip("torch")
    x, name = normal(shape, 5), f"adaptive_{kind}_pool{len(out)}d"
    ours, theirs = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, t = getattr(F, name)(ours, out), getattr(torch.nn.functional, name)(theirs, out)
    np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-13, atol=1e-14)
    dy = normal(y.shape, 6)
    y.backward(fastcnn.tensor(dy))
    t.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-13)


# ---- gradients of gradients, layouts, threads, instruction sets, memory -------------------------------------------


DIFFERENTIABLE = {
    "max": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max wide": lambda x: F.max_pool2d(x, (3, 2), (1, 2), (1, 0), (2, 1)),
    "avg": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "avg ceil": lambda x: F.avg_pool2d(x, (2, 3), 2, (0, 1), ceil_mode=True),
    "adaptive avg": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name):
    run = DIFFERENTIABLE[name]
    x = (
        np.random.default_rng(7).permutation(2 * 2 * 7 * 6).reshape(2, 2, 7, 6) / 10.0
    )  # no ties within a step
    gradcheck(run, x)

    def first(dy):  # the gradient, which is linear in dy
        with fastcnn.enable_grad():
            t = fastcnn.tensor(x, requires_grad=True)
            return fastcnn.grad(run(t), t, dy, create_graph=True)[0]

    gradcheck(first, normal(run(fastcnn.tensor(x)).shape, 8))


def test_third_order():
    x = fastcnn.tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True)
    for pool in (F.max_pool2d, F.avg_pool2d):
        (g,) = fastcnn.grad((pool(x, 2) ** 3).sum(), x, create_graph=True)
        (h,) = fastcnn.grad((g**2).sum(), x, create_graph=True)
        (k,) = fastcnn.grad(h.sum(), x)
        m = pool(x, 2).detach().numpy()
        if pool is F.max_pool2d:  # y = x^3 at the maxima: g = 3x^2, h = d(9x^4) = 36x^3, k = 108x^2
            np.testing.assert_allclose(k.numpy()[..., 1::2, 1::2], 108 * m**2)
        else:  # g = 3m^2/4 four times; sum g^2 = 9m^4/4; h = 9m^3/4; sum h = 9m^3; k = 27m^2/4
            np.testing.assert_allclose(k.numpy()[..., ::2, ::2], 27 / 4 * m**2)


VIEWS = {
    "contiguous": lambda a: fastcnn.tensor(a),
    "channels_last": lambda a: fastcnn.tensor(a).contiguous("channels_last"),
    "sliced": lambda a: fastcnn.tensor(np.repeat(a, 2, 3))[:, :, :, ::2],
    "reversed": lambda a: fastcnn.from_numpy(a[:, ::-1].copy()[:, ::-1]),
    "expanded": lambda a: fastcnn.tensor(a[:1]).expand(*a.shape),
}


@pytest.mark.sanitized
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("channels", [1, 3, 20])
def test_layouts_agree(view, channels):
    base = integers((3, channels, 7, 9), 9)
    base[:] = base[:1]
    for run in DIFFERENTIABLE.values():
        plain = fastcnn.tensor(base, requires_grad=True)
        expected = run(plain)
        dy = integers(expected.shape, 10)
        expected.backward(fastcnn.tensor(dy))
        x = VIEWS[view](base).detach()
        x.requires_grad = True
        y = run(x)
        y.backward(VIEWS["sliced"](dy))
        assert bits(y) == bits(expected) and bits(x.grad) == bits(plain.grad)


def results(case, x, dy):
    t = fastcnn.tensor(x, requires_grad=True)
    y = call(case)(t)
    y.backward(fastcnn.tensor(dy))
    return bits(y), bits(t.grad)


@pytest.mark.parametrize("case", [c for c in POOL if c.N * c.C], **ids)
def test_bits_do_not_depend_on_threads_or_instruction_set(case):
    """Small integers and divisors as they come: every instruction set divides alike."""
    x = integers((case.N * 3, case.C, *case.size), 11)
    dy = integers(call(case)(fastcnn.tensor(x)).shape, 12)
    expected = results(case, x, dy)
    for n in (1, 2, 3, 5, 16):
        with threads(n):
            assert results(case, x, dy) == expected, n
    for name in isas():
        with isa(name):
            assert results(case, x, dy) == expected, name


@pytest.mark.parametrize("case", [c for c in POOL if c.name in ("max 3x3 s2 p1", "avg 3x3 s2 p1")], **ids)
def test_float_bits_do_not_depend_on_threads(case):
    x, dy = normal((6, 70, 40, 37), 13).astype(np.float32), normal((6, 70, 20, 19), 14).astype(np.float32)
    expected = results(case, x, dy)
    for n in (1, 2, 3, 5, 16):
        with threads(n):
            assert results(case, x, dy) == expected, n


def test_a_sample_does_not_depend_on_its_batch():
    x = normal((5, 9, 12, 11), 15).astype(np.float32)
    for run in DIFFERENTIABLE.values():
        whole = run(fastcnn.tensor(x)).numpy()
        single = [run(fastcnn.tensor(x[i : i + 1])).numpy() for i in range(5)]
        np.testing.assert_array_equal(whole, np.concatenate(single))


@pytest.mark.parametrize("name", [*DIFFERENTIABLE, "indices", "max above 256", "max int"])
def test_traces(name):
    def step(device):
        x = fastcnn.zeros(2, 5, 18, 19, device=device, requires_grad=True)
        if name == "max int":
            return F.max_pool2d(fastcnn.zeros(1, 2, 5, 5, dtype="uint8", device=device), 2)
        run = DIFFERENTIABLE.get(name) or (lambda x: F.max_pool2d(x, 17, 1))
        y = F.max_pool2d(x, 2, return_indices=True)[0] if name == "indices" else run(x)
        y.backward(fastcnn.zeros(*y.shape, device=device))
        return x.grad

    assert_same_trace(step)


@pytest.mark.parametrize(
    ("run", "bytes_per_output"),
    [
        (lambda x: F.max_pool2d(x, 2), 1),
        (lambda x: F.max_pool2d(x, 16), 1),
        (lambda x: F.max_pool2d(x, (17, 16)), 4),
        (lambda x: F.adaptive_max_pool2d(x, 2), 4),
        (lambda x: F.adaptive_max_pool2d(x, 4), 1),
        (lambda x: F.avg_pool2d(x, 2), 0),
        (lambda x: F.adaptive_avg_pool2d(x, 1), 0),
    ],
)
def test_saved_bytes(run, bytes_per_output):
    """The graph keeps the positions and nothing else: neither the input nor the output."""
    x = fastcnn.randn(2, 64, 64, 64).contiguous("channels_last")
    x.requires_grad = True
    before = memory.allocated_bytes()
    y = run(x)
    held = memory.allocated_bytes() - before
    values = y.numel() * 4
    assert held == sum(-(-n // 512) * 512 for n in (values, y.numel() * bytes_per_output))
