"""The winograd row: every tile size, pass and stride against float64, error beside direct's, bits, non-finite values,
fusion.

A transformed tile spreads the rounding of its largest element over its outputs, so errors are bounded against the
largest sum of absolute values rather than each element's own; the rms error is bounded by six times direct's, which is
what ``set_precision("fp32")`` promises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import ConvCase, conv
from helpers import (
    PASSES,
    UNIT,
    assert_close,
    assert_same_trace,
    bits,
    geometry,
    isa,
    isas,
    reason,
    request,
    threads,
)

import fastcnn
from fastcnn._loader import _core


def run(which: str, algo: str, case: ConvCase, x: Any, w: Any, dy: Any) -> Any:
    g = geometry(case)
    if which == "forward":
        return _core.conv_forward("conv2d", x, w, None, g, request(algo))
    if which == "backward_input":
        return _core.conv_backward_input("conv2d", case.x_shape, w, dy, g, request(algo))
    return _core.conv_backward_weight("conv2d", x, case.w_shape, dy, g, request(algo))


def arrays(case: ConvCase, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(np.float32) for s in (case.x_shape, case.w_shape, case.y_shape)]


def exact(which: str, case: ConvCase, values: list[np.ndarray]) -> np.ndarray:
    return np.asarray(run(which, "direct", case, *[fastcnn.tensor(v.astype(np.float64)) for v in values]))


def check(case: ConvCase, passes: tuple[str, ...] = PASSES) -> None:
    values = arrays(case)
    tensors = [fastcnn.tensor(v) for v in values]
    for which in passes:
        magnitude = exact(which, case, [np.abs(v) for v in values])
        terms = {
            "forward": 9 * case.C,
            "backward_input": 9 * case.K,
            "backward_weight": case.N * np.prod(case.out),
        }
        bound = (8 + 2 * float(terms[which]) ** 0.5) * UNIT["float32"] * magnitude.max()
        expected = exact(which, case, values)
        assert_close(run(which, "winograd", case, *tensors), expected, bound, f"{which} of {case}")


EDGES = [(1, 1), (1, 2), (2, 3), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 1)]


@pytest.mark.parametrize("name", isas())
@pytest.mark.parametrize("out", EDGES)
def test_every_extent(name: str, out: tuple[int, int]) -> None:
    """Extents 1 to 15 meet every mixture of tiles; channels stop short of vectors, panels and parts."""
    with isa(name):
        for padding in (0, 1):
            size = tuple(n + 2 - 2 * padding for n in out)
            check(conv("", 2, 5, 19, size, 3, padding=padding))
        check(conv("", 1, 33, 7, out, 3, padding=1))


@pytest.mark.parametrize("name", isas())
@pytest.mark.parametrize("out", EDGES)
def test_every_extent_at_stride_2(name: str, out: tuple[int, int]) -> None:
    """Of even and odd inputs, whose pairs of rows and columns begin at the first or one before it."""
    with isa(name):
        for padding in (0, 1, ((0, 1), (1, 0)), ((3, 2), (2, 1))):
            low, high = zip(*padding) if isinstance(padding, tuple) else ((padding,) * 2,) * 2
            for odd in (0, 1):
                size = tuple(max(1, 2 * n + odd - a - b) for n, a, b in zip(out, low, high))
                if min(n + a + b for n, a, b in zip(size, low, high)) >= 3:
                    check(conv("", 2, 5, 19, size, 3, stride=2, padding=padding))
        check(conv("", 1, 33, 7, out, 3, stride=2, padding=1))


@pytest.mark.parametrize("name", isas())
@pytest.mark.parametrize(
    "case",
    [
        conv("parts", 2, 20, 130, (6, 7), 3, padding=1),
        conv("deep", 1, 600, 17, (5, 4), 3, padding=1),
        conv("many blocks", 30, 6, 5, (13, 19), 3, padding=1),
        conv("many cells", 1, 200, 300, (4, 5), 3, padding=1),
        conv("several spans", 9, 100, 70, (28, 28), 3, padding=1),
        conv("asymmetric", 2, 7, 9, (5, 6), 3, padding=((0, 2), (3, 1))),
        conv("pads above 2", 1, 4, 6, (3, 4), 3, padding=((3, 5), (4, 0))),
        conv("one axis of three", 2, 3, 4, (3, 6, 5), (1, 3, 3), padding=((0, 0), (1, 1), (1, 1))),
        conv("s2 parts", 2, 20, 130, (12, 13), 3, stride=2, padding=1),
        conv("s2 deep", 1, 300, 140, (9, 8), 3, stride=2, padding=1),
        conv("s2 many blocks", 30, 6, 5, (25, 38), 3, stride=2, padding=1),
        conv("s2 asymmetric", 2, 7, 9, (9, 12), 3, stride=2, padding=((0, 2), (3, 1))),
        conv("s2 pads above 2", 1, 4, 6, (3, 4), 3, stride=2, padding=((3, 5), (4, 0))),
        conv(
            "s2 one axis of three",
            2,
            3,
            4,
            (3, 12, 9),
            (1, 3, 3),
            stride=(1, 2, 2),
            padding=((0, 0), (1, 1), (1, 1)),
        ),
    ],
    ids=lambda c: c.name,
)
def test_blocking(name: str, case: ConvCase) -> None:
    with isa(name):
        check(case)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("size", [(6, 7), (3, 4)])
def test_padding_modes(mode: str, size: tuple[int, int]) -> None:
    check(conv("", 2, 5, 6, size, 3, padding=((2, 1), (0, 2)), mode=mode), ("forward", "backward_weight"))
    check(conv("", 1, 5, 6, (1 if mode == "replicate" else 2, 3), 3, padding=((1, 1), (1, 1)), mode=mode),
          ("forward", "backward_weight"))  # fmt: skip
    check(conv("", 2, 5, 6, size, 3, stride=2, padding=((2, 1), (0, 2)), mode=mode),
          ("forward", "backward_weight"))  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [64, 256, 512])
def test_error_beside_direct(channels: int, stride: int) -> None:
    """Rectified normal input, He weights: rms error at most six times direct's (``pytest -s`` prints both)."""
    extent = {64: 28, 256: 14, 512: 8}[channels]
    case = conv("", 2, channels, 32, (extent, extent), 3, padding=1, stride=stride)
    x, w, dy = arrays(case)
    x, w = np.maximum(x, 0), w * np.float32((2 / (9 * channels)) ** 0.5)
    for which in PASSES:
        expected = exact(which, case, [x, w, dy])
        scale = np.sqrt((expected**2).mean())
        error = {}
        for algo in ("winograd", "im2col", "direct"):
            got = np.asarray(run(which, algo, case, *map(fastcnn.tensor, (x, w, dy))), np.float64)
            error[algo] = np.sqrt(((got - expected) ** 2).mean()) / scale
            print(
                f"C={channels} {which} {algo}: rms {error[algo]:.2e} max {abs(got - expected).max() / scale:.2e}"
            )
        assert error["winograd"] < (6 if stride == 1 else 3) * error["direct"]
        assert error["winograd"] < 3e-6


@pytest.mark.parametrize("stride", [1, 2])
def test_weight_error_grows_slowly_with_the_batch(stride: int) -> None:
    """Sums over thousands of tiles are added up in pieces."""
    case = conv("", 64, 8, 8, (32 * stride, 32 * stride), 3, padding=1, stride=stride)
    values = arrays(case)
    expected = exact("backward_weight", case, values)
    error = {}
    for algo in ("winograd", "direct"):
        got = np.asarray(run("backward_weight", algo, case, *map(fastcnn.tensor, values)))
        error[algo] = np.sqrt(((got - expected) ** 2).mean())
    assert error["winograd"] < 6 * error["direct"]


@pytest.mark.parametrize(
    "case",
    [
        conv("shared V", 3, 17, 70, (9, 7), 3, padding=1),
        conv("own V", 40, 5, 6, (14, 11), 3, padding=1),
        conv("eight splits", 40, 5, 6, (27, 28), 3, padding=1),
        conv("many cells", 1, 200, 300, (4, 5), 3, padding=1),
        conv("several spans", 9, 100, 70, (28, 28), 3, padding=1),
        conv("s2 shared V", 3, 17, 70, (18, 13), 3, stride=2, padding=1),
        conv("s2 own V", 40, 5, 6, (28, 21), 3, stride=2, padding=1),
        conv("s2 one block", 1, 200, 300, (7, 10), 3, stride=2, padding=1),
        conv("s2 several spans", 9, 100, 70, (56, 56), 3, stride=2, padding=1),
        conv("two blocks", 7, 40, 208, (16, 15), 3, padding=1),  # on several threads; one on one
        conv("two blocks of dx", 7, 208, 40, (14, 15), 3, padding=1),
        conv("s2 two blocks", 7, 40, 208, (31, 28), 3, stride=2, padding=1),
        conv("s2 two blocks, V of all", 7, 250, 200, (30, 31), 3, stride=2, padding=1),
    ],
    ids=lambda c: c.name,
)
def test_same_bits_for_any_number_of_threads(case: ConvCase) -> None:
    values = [fastcnn.tensor(v) for v in arrays(case)]
    for which in PASSES:
        results = set()
        for n in (1, 2, 3, 5, 16):
            with threads(n):
                results.add(bits(run(which, "winograd", case, *values)))
        assert len(results) == 1, which


@pytest.mark.parametrize(("stride", "rows"), [(1, 100), (2, 150)])
def test_filters_that_all_tiles_share_are_not_stored(stride: int, rows: int) -> None:
    """A block of up to 128 tiles makes transformed filters on the way: less memory, the bits of stored ones."""
    size = (20 * stride, 20 * stride)
    many, one = (
        conv(f"batch {n}", n, rows, 208, size, 3, stride=stride, padding=((1, 1), (1, 1))) for n in (6, 1)
    )
    x, w, dy = (fastcnn.tensor(a) for a in arrays(many))
    for which, columns in (("forward", 208), ("backward_input", rows)):
        expected = bits(run(which, "winograd", many, x, w, dy)[:1])
        for count in (1, 3):
            with threads(count):
                got = run(which, "winograd", one, x[:1], w, dy[:1])
            assert bits(got) == expected, (which, count)
        stored = 4 * 36 * rows * 208
        with threads(1):
            verdicts = fastcnn.conv_algorithms(
                one.x_shape, one.w_shape, stride=stride, padding=1, pass_=which
            )
        row = next(r for r in verdicts if r.name == "winograd")
        assert (row.workspace_bytes < stored) == (columns > 192), which


@pytest.mark.parametrize("where", ["x", "w"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("stride", [1, 2])
def test_non_finite_where_direct_is(where: str, value: float, stride: int) -> None:
    """They may spread within a tile, never vanish."""
    case = conv("", 1, 3, 4, (7, 9) if stride == 1 else (13, 10), 3, padding=1, stride=stride)
    for at in range(case.size[0] * case.size[1]):
        values = arrays(case, at)
        if where == "x":
            values[0][0, 1].flat[at] = value
        else:
            values[1].flat[at % values[1].size] = value
        tensors = [fastcnn.tensor(v) for v in values]
        for which in PASSES:
            bad = ~np.isfinite(np.asarray(run(which, "direct", case, *tensors)))
            assert np.isfinite(np.asarray(run(which, "winograd", case, *tensors)))[bad].sum() == 0, (
                which,
                at,
            )


@pytest.mark.parametrize("how", ["contiguous", "channels_last", "sliced", "reversed"])
@pytest.mark.parametrize("stride", [1, 2])
def test_any_strides(how: str, stride: int) -> None:
    case = conv("", 2, 6, 5, (7, 6), 3, padding=1, stride=stride)

    def laid_out(a: np.ndarray) -> Any:
        if how == "channels_last":
            a = np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
        if how == "sliced":
            wide = np.zeros([2 * n for n in a.shape], np.float32)
            wide[tuple(slice(None, None, 2) for _ in a.shape)] = a
            a = wide[tuple(slice(None, None, 2) for _ in a.shape)]
        if how == "reversed":
            a = np.ascontiguousarray(a[:, :, ::-1, ::-1])[:, :, ::-1, ::-1]
        return fastcnn.from_numpy(a)

    values = arrays(case)
    for which in PASSES:
        plain = run(which, "winograd", case, *map(fastcnn.tensor, values))
        assert bits(run(which, "winograd", case, *map(laid_out, values))) == bits(plain)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_fusion(mode: str, stride: int) -> None:
    """Prologue (scale, shift, ReLU) and epilogue (bias, residual, ReLU) agree with the direct row."""
    case = conv("", 2, 19, 21, (7 * stride, 6), 3, padding=1, mode=mode, stride=stride)
    rng = np.random.default_rng(1)
    x, w, residual = map(fastcnn.tensor, arrays(case))
    near = fastcnn.from_numpy(np.moveaxis(np.ascontiguousarray(np.moveaxis(residual.numpy(), 1, -1)), -1, 1))
    bias, scale, shift = (fastcnn.tensor(rng.standard_normal(n).astype(np.float32)) for n in (21, 19, 19))
    for use in range(64):
        args = (
            bias if use & 1 else None, (near if use & 32 else residual) if use & 2 else None,
            scale if use & 4 else None, shift if use & 4 else None, "relu" if use & 8 else "copy",
            "relu" if use & 16 else "copy", geometry(case),
        )  # fmt: skip
        got, expected = (
            _core.conv_forward_fused("conv2d", x, w, *args, request(algo)) for algo in ("winograd", "direct")
        )
        assert_close(got, np.asarray(expected), 2e-4, str(use))


def test_relu_keeps_nan() -> None:
    case = conv("", 1, 1, 1, (4, 4), 3, padding=1)
    x = fastcnn.tensor(np.full(case.x_shape, np.nan, np.float32))
    args = (None, None, None, None, "copy", "relu", geometry(case))
    y = _core.conv_forward_fused("conv2d", x, fastcnn.ones(1, 1, 3, 3), *args, request("winograd"))
    assert np.isnan(np.asarray(y)).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 3, 0, 4)])
def test_empty(shape: tuple[int, ...], stride: int) -> None:
    case = conv("", shape[0], shape[1], 4, shape[2:], 3, stride=stride, padding=((2, 1), (2, 1)))
    x, w, dy = map(fastcnn.tensor, arrays(case))
    for which in PASSES:
        got = np.asarray(run(which, "winograd", case, x, w, dy))
        np.testing.assert_array_equal(got.shape, np.asarray(run(which, "direct", case, x, w, dy)).shape)
        assert which == "backward_input" or not got.any()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("batch", [2, 30])  # 30: filter gradients are cut into splits
def test_trace_equals_the_twins(batch: int, stride: int) -> None:
    size = (14 * stride, 15 * stride)
    case = conv("", batch, 20, 130, size, 3, padding=((1, 1), (1, 1)), stride=stride)

    def step(device: str) -> None:
        x, w, dy = (fastcnn.zeros(*s, device=device) for s in (case.x_shape, case.w_shape, case.y_shape))
        for which in PASSES:
            run(which, "winograd", case, x, w, dy)

    for n in (1, 3):
        with threads(n):
            assert_same_trace(step)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (conv("", 1, 4, 4, (8, 8), 5, padding=2), "3x3 filters only"),
        (conv("", 1, 4, 4, (8, 8), 3, stride=3), "stride 1 or 2 of both axes only"),
        (conv("", 1, 4, 4, (8, 8), 3, stride=(1, 2)), "stride 1 or 2 of both axes only"),
        (conv("", 1, 4, 4, (8, 8), 3, dilation=2), "dilation 1 only"),
        (conv("", 1, 4, 4, (8, 8), 3, groups=2), "one group only"),
        (conv("", 1, 0, 4, (8, 8), 3), "at least one input channel"),
        (conv("", 1, 4, 4, 8, 3), "3x3 filters only"),
        (conv("", 1, 4, 4, (4, 4, 4), 3), "one or two axes with filters only"),
    ],
)
def test_reasons(case: ConvCase, text: str) -> None:
    for which in PASSES:
        assert reason("winograd", case, which) == text
    with pytest.raises(ValueError, match=f"algo='winograd' cannot run the forward pass.*{text}"):
        run("forward", "winograd", case, *map(fastcnn.tensor, arrays(case)))


def test_reasons_of_dtype_and_padding() -> None:
    case = conv("", 1, 4, 4, (8, 8), 3, padding=1, mode="reflect")
    assert reason("winograd", case, "forward", "float64") == "float32 only"
    assert reason("winograd", case, "backward_input") == "zero padding only in backward_input"
    assert reason("winograd", case, "backward_weight") is None
