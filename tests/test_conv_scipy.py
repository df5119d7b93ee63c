"""Convolution against scipy.signal.correlate: 510 drawn problems for each number of axes, float64 and float32.

SciPy knows neither stride, dilation, groups nor padding, so those are spelled out here with NumPy: pad, put zeros
between the taps, correlate each image with each filter, keep every stride-th value. Nothing is shared with
tests/reference.py, which loops over taps instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import ConvCase
from conv_tools import FORWARD, drawn, operands, run, tensors
from helpers import assert_close, sum_bound

import fastcnn
from fastcnn import functional as F

signal = pytest.importorskip("scipy.signal")
CASES = 510
PARTS = 6
MODE = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def by_scipy(case: ConvCase, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """conv(x, w) + bias from "valid" correlations of whole images with whole filters, stride 1."""
    padded = np.pad(x, ((0, 0), (0, 0), *case.padding), mode=MODE[case.mode])
    spread = np.zeros((*w.shape[:2], *(d * (k - 1) + 1 for d, k in zip(case.dilation, case.kernel))))
    spread[(slice(None), slice(None), *(slice(None, None, d) for d in case.dilation))] = w
    channels, filters = case.C // case.groups, case.K // case.groups
    y = np.empty(case.y_shape)
    for n in range(case.N):
        for k in range(case.K):
            first = k // filters * channels
            full = signal.correlate(padded[n, first : first + channels], spread[k], "valid", "direct")[0]
            y[n, k] = full[tuple(slice(None, None, s) for s in case.stride)]
    return y if bias is None else y + bias.reshape(-1, *[1] * case.axes)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("part", range(PARTS))
def test_drawn_problems(axes: int, part: int) -> None:
    for seed in range(part, CASES, PARTS):
        case = drawn(seed, axes)
        for dtype in ("float64", "float32"):
            v = operands(case, dtype)
            y = run(case, "forward", tensors(v, dtype))
            size = {n: None if a is None else np.abs(a) for n, a in v.items()}
            bound = sum_bound(
                by_scipy(case, size["x"], size["w"], size["bias"]), case.reduction + 1, dtype, c=None
            )
            # SciPy's own rounding is that of float64.
            bound = bound + sum_bound(np.abs(bound), 1, "float64") if dtype == "float32" else 2 * bound
            assert_close(y, by_scipy(case, v["x"], v["w"], v["bias"]), bound, repr(case))


def test_the_draw_covers_the_settings() -> None:
    """What 510 cases per number of axes contain, so that they cannot shrink to easy ones unseen."""
    for axes in (1, 2, 3):
        cases = [drawn(seed, axes) for seed in range(CASES)]
        assert len({c._replace(name="") for c in cases}) >= 500

        def share(has: Any, cases: list[ConvCase] = cases) -> float:
            return sum(map(has, cases)) / len(cases)

        assert share(lambda c: any(s > 1 for s in c.stride)) > 0.3
        assert share(lambda c: any(d > 1 < k for d, k in zip(c.dilation, c.kernel))) > 0.2
        assert share(lambda c: c.groups > 1) > 0.3
        assert share(lambda c: any(low != high for low, high in c.padding)) > 0.4
        assert share(lambda c: c.groups == c.C == c.K > 1) > 0.1
        assert share(lambda c: c.bias) > 0.4
        for mode in MODE:
            assert share(lambda c, mode=mode: c.mode == mode and any(map(any, c.padding))) > 0.08


def test_cross_correlation_of_the_lecture() -> None:
    """features.md T8: one channel, no bias; what deep learning calls convolution is correlate2d, "valid"."""
    r = np.random.default_rng(8)
    x, w = r.integers(-9, 10, (6, 7)).astype(np.float64), r.integers(-9, 10, (3, 2)).astype(np.float64)
    y = F.conv2d(fastcnn.tensor(x[None, None]), fastcnn.tensor(w[None, None]))
    np.testing.assert_array_equal(np.asarray(y)[0, 0], signal.correlate2d(x, w, "valid"))
    with np.errstate(all="raise"):
        flipped = FORWARD[2](fastcnn.tensor(x[None, None]), fastcnn.tensor(w[None, None, ::-1, ::-1]))
    np.testing.assert_array_equal(np.asarray(flipped)[0, 0], signal.convolve2d(x, w, "valid"))
