"""What the convolution tests share: drawn problems, operands of a case, the reference, and one pass by one row.

Everything runs through the public functions, so that the Python side (forms of padding, dict per pass) is covered too.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import reference
from cases import ConvCase, conv
from helpers import assert_close, is_direct_like, rounded, sum_bound, tensor

from fastcnn import functional as F
from fastcnn import nn

FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
INPUT = {1: nn.grad.conv1d_input, 2: nn.grad.conv2d_input, 3: nn.grad.conv3d_input}
WEIGHT = {1: nn.grad.conv1d_weight, 2: nn.grad.conv2d_weight, 3: nn.grad.conv3d_weight}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MODES = ("zeros", "reflect", "replicate", "circular")


def drawn(seed: int, axes: int) -> ConvCase:
    """A small random problem: any stride, dilation, groups, pads per side and padding mode; never empty."""
    r = np.random.default_rng((seed, axes))
    most = {1: 24, 2: 9, 3: 6}[axes]
    mode = str(r.choice(MODES, p=[0.61, 0.13, 0.13, 0.13]))
    groups = int(r.choice([1, 1, 1, 2, 3, 5]))
    c, k = (1, int(r.choice([1, 1, 2]))) if groups > 2 else map(int, r.integers(1, 5, 2))
    size, kernel, stride, dilation, padding = [], [], [], [], []
    for _ in range(axes):
        taps = int(r.choice([1, 2, 3, 3, 4, 5] if axes < 3 else [1, 2, 2, 3]))
        d = int(r.choice([1, 1, 1, 2, 3]))
        low, high = (int(v) for v in r.choice([0, 0, 1, 1, 2, 3], 2))
        least = max(1, d * (taps - 1) + 1 - low - high)
        if mode == "reflect":
            least = max(least, low + 1, high + 1)
        if mode == "circular":
            least = max(least, low, high)
        kernel.append(taps)
        dilation.append(d)
        stride.append(int(r.choice([1, 1, 1, 2, 2, 3, 4])))
        padding.append((low, high))
        size.append(int(r.integers(least, max(most, least) + 1)))
    return conv(
        f"drawn {seed}", int(r.integers(1, 4 - axes // 2)), groups * c, groups * k, size, tuple(kernel),
        tuple(stride), tuple(padding), tuple(dilation), groups, mode, bool(r.integers(2)),
    )  # fmt: skip


@lru_cache(maxsize=8)
def operands(case: ConvCase, dtype: str = "float64", whole: bool = False) -> dict[str, Any]:
    """x, w, dy and bias (or None) of a case in float64, with values that `dtype` can hold."""
    r = np.random.default_rng(zlib.crc32(case.name.encode()))
    shapes = {"x": case.x_shape, "w": case.w_shape, "dy": case.y_shape, "bias": (case.K,)}

    def values(shape: tuple[int, ...]) -> np.ndarray:
        drawn = r.integers(-3, 4, shape).astype(np.float64) if whole else r.standard_normal(shape)
        return rounded(drawn, dtype)

    out = {name: values(shape) for name, shape in shapes.items()}
    return out if case.bias else {**out, "bias": None}


def exact(case: ConvCase, pass_: str, v: dict[str, Any]) -> np.ndarray:
    """The pass in float64 by the naive reference."""
    geometry = case.stride, case.padding, case.dilation, case.groups, case.mode
    if pass_ == "forward":
        return reference.conv_forward(v["x"], v["w"], v["bias"], *geometry)
    if pass_ == "backward_input":
        return reference.conv_backward_input(case.x_shape, v["w"], v["dy"], *geometry)
    return reference.conv_backward_weight(v["x"], case.w_shape, v["dy"], *geometry)


@lru_cache(maxsize=16)
def expected(case: ConvCase, pass_: str, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The exact result, what rounding may do to each of its elements, and what operands rounded to tf32 may do more."""
    v = operands(case, dtype)
    magnitude = exact(case, pass_, {n: None if a is None else np.abs(a) for n, a in v.items()})
    pixels = int(np.prod(case.out))
    terms = {
        "forward": case.reduction + 1,
        "backward_input": case.reduction * case.K // max(case.C, 1) + 1,
        "backward_weight": case.N * pixels,
    }[pass_]
    return exact(case, pass_, v), sum_bound(magnitude, terms, dtype), 2.0**-10 * magnitude


def tensors(v: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The operands as tensors."""
    return {name: None if a is None else tensor(a, dtype) for name, a in v.items()}


def run(case: ConvCase, pass_: str, t: dict[str, Any], name: str | None = None, limit: Any = None) -> Any:
    """One pass by the public function, by the row of that name (None: auto)."""
    keywords = dict(case.keywords(), workspace_limit=limit)
    if name is not None:
        keywords["algo"] = {pass_: name}
    if pass_ == "forward":
        return FORWARD[case.axes](t["x"], t["w"], t["bias"], **keywords)
    if pass_ == "backward_input":
        return INPUT[case.axes](case.x_shape, t["w"], t["dy"], **keywords)
    return WEIGHT[case.axes](t["x"], case.w_shape, t["dy"], **keywords)


def check(actual: Any, case: ConvCase, pass_: str, name: str, dtype: str) -> None:
    """Componentwise for rows that only add products up; by rms error for rows that transform tiles."""
    want, bound, of_tf32 = expected(case, pass_, dtype)
    if name.endswith("tf32"):
        bound = bound + of_tf32
    what = f"{name} {pass_} {dtype} of {case}"
    if is_direct_like(name):
        assert_close(actual, want, bound, what)
        return
    got = np.asarray(actual.detach(), dtype=np.float64)
    assert got.shape == want.shape, what
    if got.size:
        rms, allowed = np.sqrt(np.mean((got - want) ** 2)), np.sqrt(np.mean(bound**2))
        assert rms <= allowed, f"{what}: rms error {rms:.3g}, allowed {allowed:.3g}"
