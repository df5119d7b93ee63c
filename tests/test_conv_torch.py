"""Convolution against torch: 510 drawn problems per number of axes with all gradients, transposed ones besides.

torch pads evenly and with zeros only; other pads are made by torch.nn.functional.pad, through which its gradients go.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cases import ConvCase
from conv_tools import FORWARD, TRANSPOSED, drawn, operands, tensors
from helpers import UNIT

import fastcnn

torch = pytest.importorskip("torch")
CASES = 510
PARTS = 6


def near(actual: Any, theirs: Any, terms: int, dtype: str, what: str) -> None:
    """Both round; they differ by at most the random walk of `terms` steps of the largest magnitude."""
    a, b = np.asarray(actual.detach(), np.float64), theirs.detach().numpy().astype(np.float64)
    assert a.shape == b.shape, what
    largest = max(1.0, float(np.abs(b).max(initial=0)))
    assert np.abs(a - b).max(initial=0) <= 8 * (terms**0.5 + 2) * UNIT[dtype] * largest, what


def by_torch(case: ConvCase, x: Any, w: Any, bias: Any) -> Any:
    pads = [p for pair in reversed(case.padding) for p in pair]
    if any(pads):
        mode = {"zeros": "constant"}.get(case.mode, case.mode)
        x = torch.nn.functional.pad(x, pads, mode)
    function = getattr(torch.nn.functional, f"conv{case.axes}d")
    return function(x, w, bias, stride=case.stride, dilation=case.dilation, groups=case.groups)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("part", range(PARTS))
def test_drawn_problems(axes: int, part: int) -> None:
    """Output and the gradients of input, weight and bias."""
    for seed in range(part, CASES, PARTS):
        case = drawn(5000 + seed, axes)
        dtype = "float64" if seed % 2 else "float32"
        v = operands(case, dtype)
        ours = {n: None if t is None else t.requires_grad_(n != "dy") for n, t in tensors(v, dtype).items()}
        theirs = {
            n: None if a is None else torch.tensor(a, dtype=getattr(torch, dtype), requires_grad=n != "dy")
            for n, a in v.items()
        }
        y = FORWARD[axes](ours["x"], ours["w"], ours["bias"], **case.keywords())
        z = by_torch(case, theirs["x"], theirs["w"], theirs["bias"])
        near(y, z, case.reduction, dtype, f"y of {case}")
        y.backward(ours["dy"])
        z.backward(theirs["dy"])
        terms = case.reduction * case.K + case.N * math.prod(case.out)
        for name in ("x", "w", "bias"):
            if ours[name] is not None:
                near(ours[name].grad, theirs[name].grad, terms, dtype, f"gradient of {name} of {case}")


def drawn_transposed(seed: int, axes: int) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], bool]:
    """(input shape, weight shape, arguments, bias): a transposed problem that has an output."""
    r = np.random.default_rng((seed, axes, 7))
    groups = int(r.choice([1, 1, 2, 3]))
    c, k = (groups * int(r.integers(1, 4)), int(r.integers(1, 4)))
    size, kernel, stride, dilation, padding, extra = [], [], [], [], [], []
    for _ in range(axes):
        n, taps = int(r.integers(1, {1: 12, 2: 6, 3: 4}[axes])), int(r.integers(1, 4))
        s, d = int(r.choice([1, 1, 2, 3])), int(r.choice([1, 1, 2, 3]))
        op = int(r.integers(0, max(s, d)))
        p = int(r.integers(0, 1 + min(3, ((n - 1) * s + d * (taps - 1) + op) // 2)))
        for many, value in zip((size, kernel, stride, dilation, padding, extra), (n, taps, s, d, p, op)):
            many.append(value)
    arguments = dict(
        stride=tuple(stride), padding=tuple(padding), output_padding=tuple(extra), groups=groups,
        dilation=tuple(dilation),
    )  # fmt: skip
    return (int(r.integers(1, 3)), c, *size), (c, k, *kernel), arguments, bool(r.integers(2))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_drawn_transposed_problems(axes: int) -> None:
    """Any output_padding below max(stride, dilation); also asked for by output_size."""
    function = getattr(torch.nn.functional, f"conv_transpose{axes}d")
    for seed in range(250):
        x_shape, w_shape, arguments, has_bias = drawn_transposed(seed, axes)
        dtype = "float64" if seed % 2 else "float32"
        r = np.random.default_rng(seed)
        shapes = [x_shape, w_shape] + ([(w_shape[1] * arguments["groups"],)] if has_bias else [])
        values = [r.standard_normal(s) for s in shapes]
        ours = [fastcnn.tensor(a, dtype=dtype, requires_grad=True) for a in values]
        theirs = [torch.tensor(a, dtype=getattr(torch, dtype), requires_grad=True) for a in values]
        what = f"{x_shape} {w_shape} {arguments}"
        y, z = TRANSPOSED[axes](*ours, **arguments), function(*theirs, **arguments)
        terms = math.prod(w_shape)
        near(y, z, terms, dtype, what)
        dy = r.standard_normal(y.shape)
        y.backward(fastcnn.tensor(dy, dtype=dtype))
        z.backward(torch.tensor(dy, dtype=z.dtype))
        for a, b in zip(ours, theirs):
            near(a.grad, b.grad, terms + y.numel(), dtype, f"gradient, {what}")
        named = {n: a for n, a in arguments.items() if n != "output_padding"}
        again = TRANSPOSED[axes](*ours, **named, output_size=y.shape[2:])
        assert again.shape == y.shape
        np.testing.assert_array_equal(np.asarray(again.detach()), np.asarray(y.detach()), err_msg=what)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_same_padding_at_stride_one(axes: int) -> None:
    """C2, C4: torch's "same" where torch has it, also when other modes fill the padding; then "valid" (C5)."""
    mode_names = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
    r = np.random.default_rng(axes)
    for taps in (1, 2, 3, 4, 5):
        for dilation in (1, 2):
            if dilation * (taps - 1) > 6:
                continue
            x, w = r.standard_normal((2, 3, *(7,) * axes)), r.standard_normal((4, 3, *(taps,) * axes))
            total = dilation * (taps - 1)
            for mode, theirs in mode_names.items():
                y = FORWARD[axes](
                    fastcnn.tensor(x), fastcnn.tensor(w), padding="same", dilation=dilation, padding_mode=mode
                )
                padded = torch.nn.functional.pad(
                    torch.tensor(x), [total // 2, total - total // 2] * axes, theirs
                )
                function = getattr(torch.nn.functional, f"conv{axes}d")
                near(y, function(padded, torch.tensor(w), dilation=dilation), 3 * taps**axes, "float64", mode)
            if taps % 2 or dilation % 2:  # torch warns that it pads an even kernel in a copy
                z = function(torch.tensor(x), torch.tensor(w), padding=total // 2, dilation=dilation)
                if total % 2 == 0:
                    zeros = FORWARD[axes](
                        fastcnn.tensor(x), fastcnn.tensor(w), padding="same", dilation=dilation
                    )
                    near(zeros, z, 3 * taps**axes, "float64", "same")
    y = FORWARD[axes](fastcnn.tensor(x), fastcnn.tensor(w), padding="valid", stride=2)
    near(
        y,
        function(torch.tensor(x), torch.tensor(w), padding="valid", stride=2),
        3 * 5**axes,
        "float64",
        "valid",
    )
