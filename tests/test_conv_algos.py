"""Every row of the convolution table against the float64 direct row, on generated problems.

New rows are tested unasked: the names come from the table. Per case and pass: error bounded componentwise by
``c * eps * conv(|x|, |w|)``, whole numbers give the very bits of direct, all thread counts and ISAs, any strides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import isa as set_isa
from helpers import isas

import fastcnn
from fastcnn import functional as F
from fastcnn._loader import _core

PASSES = ("forward", "backward_input", "backward_weight")
EPS = float(np.finfo(np.float32).eps)
MODES = ("zeros", "reflect", "replicate", "circular")


class Case:
    """One convolution problem, drawn from `seed`; small enough for the direct row."""

    def __init__(self, seed: int, rank: int, *, depthwise: bool = False) -> None:
        r = np.random.default_rng((seed, rank))
        self.rng = r
        most = {1: 40, 2: 14, 3: 7}[rank]
        self.groups = (
            int(r.choice([1, 1, 1, 2, 3])) if not depthwise else int(r.choice([2, 3, 8, 16, 17, 37, 70]))
        )
        per_in, per_out = (1, int(r.choice([1, 1, 1, 2, 3]))) if depthwise else map(int, r.integers(1, 40, 2))
        self.kernel = tuple(int(v) for v in r.integers(1, 5, rank))
        self.stride = tuple(int(v) for v in r.integers(1, 4, rank))
        self.dilation = tuple(int(v) for v in r.choice([1, 1, 2, 3], rank))
        self.mode = str(r.choice(MODES, p=[0.7, 0.1, 0.1, 0.1]))
        self.low = tuple(int(v) for v in r.integers(0, 4, rank))
        self.high = tuple(int(v) for v in r.integers(0, 4, rank))
        extents = []
        for k, d, lo, hi in zip(self.kernel, self.dilation, self.low, self.high):
            least = max(1, d * (k - 1) + 1 - lo - hi, max(lo, hi) + 1 if self.mode != "zeros" else 1)
            extents.append(int(r.integers(least, max(least, most) + 1)))
        n = int(r.integers(1, 4))
        self.x_shape = (n, self.groups * per_in, *extents)
        self.w_shape = (self.groups * per_out, per_in, *self.kernel)
        out = [
            _core.conv_output_extent(*a)
            for a in zip(extents, self.kernel, self.stride, self.dilation, self.low, self.high)
        ]
        self.y_shape = (n, self.w_shape[0], *out)
        self.geometry = _core.ConvGeometry(
            self.stride, self.dilation, self.low, self.high, self.groups, self.mode
        )

    def __repr__(self) -> str:
        return (
            f"x{self.x_shape} w{self.w_shape} stride{self.stride} dilation{self.dilation} low{self.low} "
            f"high{self.high} groups={self.groups} {self.mode}"
        )

    def arrays(self, whole: bool) -> list[np.ndarray]:
        shapes = (self.x_shape, self.w_shape, self.y_shape)
        if whole:
            return [self.rng.integers(-4, 5, s).astype(np.float64) for s in shapes]
        return [self.rng.standard_normal(s) for s in shapes]

    def run(self, which: str, algo: str, x: Any, w: Any, y: Any) -> np.ndarray:
        request = _core.AlgoRequest(algo, True, None)
        if which == "forward":
            out = _core.conv_forward("conv", x, w, None, self.geometry, request)
        elif which == "backward_input":
            out = _core.conv_backward_input("conv", self.x_shape, w, y, self.geometry, request)
        else:
            out = _core.conv_backward_weight("conv", x, self.w_shape, y, self.geometry, request)
        return out.numpy()

    def rows(self, which: str) -> list[str]:
        request = _core.AlgoRequest("auto", True, None)
        rows = _core.conv_rows(self.x_shape, self.w_shape, self.geometry, which, "float32", "cpu", request)
        return [row[0] for row in rows if row[1] is None]


def with_memory_order(a: np.ndarray, how: int) -> fastcnn.Tensor:
    """The same values as a tensor with contiguous, channels_last, sliced or reversed memory."""
    a = a.astype(np.float32)
    if how == 1:
        a = np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
    elif how == 2:
        wide = np.zeros([2 * e for e in a.shape], np.float32)
        wide[tuple(slice(None, None, 2) for _ in a.shape)] = a
        a = wide[tuple(slice(None, None, 2) for _ in a.shape)]
    elif how == 3:
        a = np.ascontiguousarray(a[..., ::-1])[..., ::-1]
    return fastcnn.from_numpy(a)


def check(case: Case, seed: int, *, threads: tuple[int, ...] = (2,)) -> None:
    values = case.arrays(whole=False)
    magnitude = [fastcnn.from_numpy(np.abs(a)) for a in values]
    wholes = case.arrays(whole=True)
    for which in PASSES:
        # float32 operands: rounding them is not the algorithm's error
        rounded = [fastcnn.from_numpy(a.astype(np.float32).astype(np.float64)) for a in values]
        expected = case.run(which, "direct", *rounded)
        bound = case.run(which, "direct", *magnitude)
        terms = (
            case.w_shape[1] * np.prod(case.kernel)
            if which != "backward_weight"
            else np.prod(case.y_shape[2:])
        )
        bound = (4 + float(terms) ** 0.5) * EPS * bound + 1e-30
        tensors = [with_memory_order(a, (seed + i) % 4) for i, a in enumerate(values)]
        whole = [with_memory_order(a, (seed + i) % 4) for i, a in enumerate(wholes)]
        whole_expected = case.run(which, "direct", *whole)
        for algo in case.rows(which):
            if algo.startswith("winograd") or algo == "fft":
                continue  # not direct-like: tests of their own
            first = None
            for count in threads:
                fastcnn.set_num_threads(count)
                got = case.run(which, algo, *tensors)
                assert got.shape == expected.shape
                assert (np.abs(got - expected) <= bound).all(), (algo, which, case)
                assert first is None or (got.view(np.int32) == first).all(), (algo, which, count, case)
                first = got.view(np.int32)
            assert (case.run(which, algo, *whole) == whole_expected).all(), (
                algo,
                which,
                case,
                "whole numbers",
            )


@pytest.fixture(autouse=True)
def restore_settings() -> Any:
    threads, isa = fastcnn.get_num_threads(), _core.isa()
    yield
    fastcnn.set_num_threads(threads)
    _core.set_isa(isa)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("part", range(4))
def test_generated(rank: int, part: int) -> None:
    for seed in range(part * 25, part * 25 + 25):
        check(Case(seed, rank), seed)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_generated_depthwise(rank: int) -> None:
    for seed in range(40):
        check(Case(seed, rank, depthwise=True), seed)


@pytest.mark.parametrize("isa", _core.available_isas())
def test_every_isa(isa: str) -> None:
    _core.set_isa(isa)
    assert _core.isa() == isa
    for seed in range(200, 212):
        check(Case(seed, 2, depthwise=seed % 3 == 0), seed)


@pytest.mark.parametrize("isa", _core.available_isas())
def test_deep_strided_pixels(isa: str) -> None:
    """1x1, a stride, many channels: pixels are gathered, and cells of dx that none reaches become zero."""
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    x, dy = (rng.integers(-4, 5, s).astype(np.float32) for s in ((2, 520, 9, 27), (2, 35, 5, 14)))
    w = rng.integers(-4, 5, (35, 520, 1, 1)).astype(np.float32)
    g = _core.ConvGeometry((2, 2), (1, 1), (0, 0), (0, 0), 1, "zeros")
    request = _core.AlgoRequest("im2col", True, None)
    dx = np.zeros_like(x)
    dx[:, :, ::2, ::2] = np.einsum("nkhw,kc->nchw", dy, w[:, :, 0, 0])
    for how in (1, 0):
        tx, tw, ty = (with_memory_order(a, how) for a in (x, w, dy))
        y = _core.conv_forward("conv2d", tx, tw, None, g, request).numpy()
        assert (y == np.einsum("nchw,kc->nkhw", x[:, :, ::2, ::2], w[:, :, 0, 0])).all(), how
        assert (_core.conv_backward_input("conv2d", x.shape, tw, ty, g, request).numpy() == dx).all(), how


def test_same_bits_for_any_number_of_threads() -> None:
    for seed in range(300, 312):
        check(Case(seed, 1 + seed % 3, depthwise=seed % 4 == 0), seed, threads=(1, 2, 3, 5))


@pytest.mark.parametrize("algo", ["im2col", "depthwise"])
@pytest.mark.parametrize("mode", MODES)
def test_fusion(algo: str, mode: str) -> None:
    """Prologue (scale, shift, ReLU) and epilogue (bias, residual, ReLU) agree with the direct row."""
    rng = np.random.default_rng(5)
    groups = 19 if algo == "depthwise" else 1
    x, w, residual = (
        with_memory_order(rng.integers(-3, 4, s), how)
        for s, how in (((2, 19, 7, 6), 1), ((19, 19 // groups, 3, 3), 0), ((2, 19, 7, 6), 3))
    )
    bias, scale, shift = (
        fastcnn.from_numpy(rng.integers(-2, 3, 38).astype(np.float32))[::2] for _ in range(3)
    )
    g = _core.ConvGeometry((1, 1), (1, 1), (1, 1), (1, 1), groups, mode)
    for use in range(32):
        args = (
            bias if use & 1 else None, residual if use & 2 else None, scale if use & 4 else None,
            shift if use & 4 else None, "relu" if use & 8 else "copy", "relu" if use & 16 else "copy", g,
        )  # fmt: skip
        got, expected = (
            _core.conv_forward_fused("conv2d", x, w, *args, _core.AlgoRequest(name, True, None)).numpy()
            for name in (algo, "direct")
        )
        assert (got == expected).all(), use


@pytest.mark.parametrize(("algo", "groups"), [("im2col", 1), ("depthwise", 19), ("winograd", 1)])
def test_gradient_of_the_weight_with_a_prologue(algo: str, groups: int) -> None:
    """x is scaled, shifted and cut off on load; padding stays zero."""
    rng = np.random.default_rng(6)
    x, dy = (fastcnn.from_numpy(rng.integers(-3, 4, (2, 19, 7, 6)).astype(np.float32)) for _ in range(2))
    scale, shift = (fastcnn.from_numpy(rng.integers(-2, 3, 19).astype(np.float32)) for _ in range(2))
    g = _core.ConvGeometry((1, 1), (1, 1), (1, 1), (1, 1), groups, "zeros")
    shape, request = (19, 19 // groups, 3, 3), _core.AlgoRequest(algo, True, None)
    for activation in ("copy", "relu"):
        got = _core.conv_backward_weight_fused("conv2d", x, shape, dy, scale, shift, activation, g, request)
        before = x * scale.reshape(1, 19, 1, 1) + shift.reshape(1, 19, 1, 1)
        before = fastcnn.functional.relu(before) if activation == "relu" else before
        expected = _core.conv_backward_weight("conv2d", before, shape, dy, g, request)
        np.testing.assert_allclose(
            got.numpy(), expected.numpy(), rtol=0, atol=0 if algo != "winograd" else 2e-3
        )


def test_workspace_limit_is_respected() -> None:
    case = Case(7, 2)
    request = _core.AlgoRequest("auto", True, 0)
    rows = _core.conv_rows(case.x_shape, case.w_shape, case.geometry, "forward", "float32", "cpu", request)
    chosen = [row for row in rows if row[4]]
    assert len(chosen) == 1 and chosen[0][2] == 0


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 3, 0, 4)])
def test_empty(shape: tuple[int, ...]) -> None:
    """An empty batch or image: no output, a zero weight gradient."""
    g = _core.ConvGeometry((1, 1), (1, 1), (1, 1), (2, 1), 1, "zeros")
    x = fastcnn.zeros(shape)
    w = fastcnn.ones((4, 3, 3, 3))
    for algo in ("im2col", "direct"):
        request = _core.AlgoRequest(algo, True, None)
        y = _core.conv_forward("conv2d", x, w, None, g, request)
        assert not y.numpy().any()
        dw = _core.conv_backward_weight("conv2d", x, w.shape, y, g, request).numpy()
        assert dw.shape == w.shape and not dw.any()


@pytest.mark.parametrize("axes", [(2, 3), (0,), (0, 2, 3), (3,)])
def test_expanded_operands_of_a_pointwise_convolution(axes):
    """Axes of stride 0, as the gradient of a mean has them, are no rows that follow each other."""
    rng = np.random.default_rng(0)
    full = (5, 16, 12, 12)
    small = tuple(1 if i in axes else n for i, n in enumerate(full))
    part = np.ascontiguousarray(rng.standard_normal(small, dtype=np.float32).transpose(0, 2, 3, 1))
    part = part.transpose(0, 3, 1, 2)
    weight = fastcnn.tensor(rng.standard_normal((8, 16, 1, 1), dtype=np.float32))
    expanded = fastcnn.tensor(part).expand(full)
    copied = fastcnn.tensor(np.broadcast_to(part, full).copy())
    rows = [row.name for row in fastcnn.conv_algorithms(full, weight.shape) if row.reason is None]
    assert "im2col" in rows
    for name in rows:
        y = [F.conv2d(x, weight, algo=name) for x in (expanded, copied)]
        np.testing.assert_array_equal(np.asarray(y[0]), np.asarray(y[1]), err_msg=name)
    back = weight.transpose(0, 1)
    for name in ("im2col", "direct"):
        gradients = []
        for dy in (expanded, copied):
            x = fastcnn.zeros(5, 8, 12, 12, requires_grad=True)
            F.conv2d(x, back, algo=name).backward(dy)
            gradients.append(np.asarray(x.grad))
        np.testing.assert_array_equal(*gradients, err_msg=name)


@pytest.mark.parametrize("name", isas())
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", range(1, 11))
def test_depthwise_rows_by_fours(height: int, stride: int, name: str) -> None:
    """Three-by-three filters take two or four rows at a time: any remainder, any padding, any memory order."""
    rng = np.random.default_rng(height)
    # 128 channels go pixel by pixel at stride 2, and in the gradient of the filters.
    sizes = ((0, 11, 16), (1, 3, 35), (2, 9, 20), (1, 7, 128), (0, 4, 640), (1, 8, 33), (3, 6, 17))
    for padding, width, channels in sizes:
        if height + 2 * padding < 3:
            continue
        x = with_memory_order(rng.integers(-3, 4, (6, channels, height, width)), padding)
        w = with_memory_order(rng.integers(-3, 4, (channels, 1, 3, 3)), 0)
        g = _core.ConvGeometry((stride, stride), (1, 1), (padding,) * 2, (padding,) * 2, channels, "zeros")
        both = []
        for algo in ("depthwise", "direct"):
            request = _core.AlgoRequest(algo, True, None)
            with set_isa(name):
                y = _core.conv_forward("conv2d", x, w, None, g, request)
                dy = with_memory_order(np.sign(y.numpy()), 1)
                dx = _core.conv_backward_input("conv2d", x.shape, w, dy, g, request)
                dw = _core.conv_backward_weight("conv2d", x, w.shape, dy, g, request)
            both.append([t.numpy() for t in (y, dx, dw)])
        assert all(np.array_equal(got, want) for got, want in zip(*both, strict=True)), padding


@pytest.mark.parametrize("name", isas())
@pytest.mark.parametrize(("width", "padding"), [(90, 0), (90, 1), (90, 2), (61, 1)])
def test_depthwise_from_memory(width: int, padding: int, name: str) -> None:
    """At stride 2, tensors too large for caches are walked pixel by pixel, for dw if rows are short."""
    rng = np.random.default_rng(padding)
    shape, filters = (8, 37, 9090 // width, width), (37, 1, 3, 3)
    x = with_memory_order(rng.integers(-3, 4, shape), 1)
    w = with_memory_order(rng.integers(-3, 4, filters), 0)
    g = _core.ConvGeometry((2, 2), (1, 1), (padding,) * 2, (padding,) * 2, 37, "zeros")
    both = []
    with set_isa(name):
        for algo in ("depthwise", "direct"):
            request = _core.AlgoRequest(algo, True, None)
            y = _core.conv_forward("conv2d", x, w, None, g, request)
            dy = with_memory_order(np.sign(y.numpy()), 1)
            both.append((y.numpy(), _core.conv_backward_weight("conv2d", x, filters, dy, g, request).numpy()))
    assert all(np.array_equal(got, want) for got, want in zip(*both, strict=True))
