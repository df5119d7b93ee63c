"""NaN and infinity in a convolution (features.md C13).

The ruling: direct skips the taps that see zero padding, so an infinite weight does not spoil the border. Where direct
gives a non-finite value every row does, of the same kind. The others multiply the padding and may so make NaN of
what touches it ("border"), or of what shares a tile with it; everything else stays finite and right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import ConvCase, conv
from conv_tools import operands, run, tensors
from helpers import PASSES, assert_close, conv_rows, is_direct_like

import fastcnn

CASES = [
    conv("plain", 2, 5, 6, (9, 8), 3, padding=1),
    conv("no padding", 1, 4, 18, (8, 9), (2, 3)),
    conv("strides", 1, 3, 5, (11, 10), 3, stride=2, padding=((2, 1), (0, 2))),
    conv("dilated", 1, 3, 17, (9, 9), 3, padding=2, dilation=2),
    conv("depthwise", 1, 9, 9, (8, 7), 3, padding=1, groups=9),
    conv("reflect", 1, 3, 4, (7, 7), 3, padding=1, mode="reflect"),
    conv("line", 2, 3, 5, 17, 4, padding=((3, 1),)),
    conv("cube", 1, 2, 3, (4, 5, 4), 2, padding=1),
]
VALUES = (np.nan, np.inf, -np.inf)


def spoiled(case: ConvCase, which: str, value: float, seed: int) -> dict[str, Any]:
    """The operands with one element of one of them replaced, here and there at an edge."""
    v = {n: None if a is None else a.copy() for n, a in operands(case, "float32").items()}
    r = np.random.default_rng(seed)
    v[which].reshape(-1)[r.integers(v[which].size)] = value
    return v


def by_definition(case: ConvCase, pass_: str, v: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(result, touches padding): scattered tap by tap, without ever making a padded cell of zeros."""
    x, w, dy = v["x"], v["w"], v["dy"]
    result = np.zeros(
        {"forward": case.y_shape, "backward_input": case.x_shape, "backward_weight": case.w_shape}[pass_]
    )
    border = np.zeros(result.shape, bool)
    cg, kg = case.C // case.groups, case.K // case.groups
    for o in np.ndindex(*case.out):
        for tap in np.ndindex(*case.kernel):
            at, hit = [], True
            for i, t, s, d, (low, _), n in zip(o, tap, case.stride, case.dilation, case.padding, case.size):
                where = i * s + t * d - low
                if case.mode == "reflect":
                    where = -where if where < 0 else where
                    where = 2 * (n - 1) - where if where >= n else where
                hit = hit and 0 <= where < n
                at.append(where)
            for g in range(case.groups):
                ks, cs = slice(g * kg, (g + 1) * kg), slice(g * cg, (g + 1) * cg)
                i_y, i_w, i_x = (slice(None), ks, *o), (ks, slice(None), *tap), (slice(None), cs, *at)
                if not hit:
                    if pass_ == "forward":
                        border[i_y] = True
                    if pass_ == "backward_weight":
                        border[i_w] = True
                    continue
                if pass_ == "forward":
                    result[i_y] += (x[i_x][:, None] * w[i_w][None]).sum(2)
                elif pass_ == "backward_input":
                    result[i_x] += (dy[i_y][:, :, None] * w[i_w][None]).sum(1)
                else:
                    result[i_w] += (dy[i_y][:, :, None] * x[i_x][:, None]).sum(0)
    if pass_ == "backward_input":  # its padding is that of dy: cells that some tap reaches from outside of dy
        border[:] = True
    return result, border


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("pass_", PASSES)
def test_one_bad_element(case: ConvCase, pass_: str) -> None:
    read = {"forward": "x w", "backward_input": "w dy", "backward_weight": "x dy"}[pass_].split()
    for seed, value in enumerate(VALUES * 2):
        for which in read:
            v = spoiled(case, which, value, seed)
            t = tensors(v, "float32")
            want, border = by_definition(case, pass_, v)
            bad = ~np.isfinite(want)
            assert bad.any() or case.stride != (1,) * case.axes
            for row in conv_rows(case, pass_):
                if row.reason is not None:
                    continue
                got = np.asarray(run(case, pass_, t, row.name), np.float64)
                what = f"{row.name} {which} {value}"
                assert not np.isfinite(got[bad]).any(), what
                if not is_direct_like(row.name):
                    continue
                spread = ~np.isfinite(got) & ~bad
                assert not (spread & ~border).any(), what
                if row.name == "direct":
                    assert not spread.any(), what
                    np.testing.assert_array_equal(got[bad], want[bad], err_msg=what)
                fine = ~bad & ~spread
                tolerance = 2e-2 if row.name.endswith("tf32") else 1e-4
                assert_close(got[fine], want[fine], tolerance * (1 + np.abs(want[fine])), what)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_infinite_weight_at_a_border(dtype: str) -> None:
    """torch makes NaN of the whole border here; direct does not, in any dtype, and in no pass."""
    x = fastcnn.ones(1, 1, 3, 3, dtype=dtype)
    w = np.zeros((1, 1, 3, 3))
    w[0, 0, 0, 0] = np.inf
    y = fastcnn.functional.conv2d(x, fastcnn.tensor(w, dtype=dtype), padding=1, algo="direct")
    inf, zero = np.inf, 0.0
    want = [[zero, zero, zero], [zero, inf, inf], [zero, inf, inf]]
    np.testing.assert_array_equal(np.asarray(y.to("float64"))[0, 0], want)


def test_auto_at_strict_precision_spreads_nothing_without_padding() -> None:
    """A window that does not see the bad element stays finite, whatever row auto takes."""
    x = np.ones((1, 16, 12, 12), np.float32)
    x[0, 3, 0, 0] = np.nan
    y = fastcnn.functional.conv2d(fastcnn.from_numpy(x), fastcnn.ones(16, 16, 3, 3), algo="im2col")
    bad = np.argwhere(~np.isfinite(np.asarray(y)).all(axis=(0, 1)))
    assert bad.tolist() == [[0, 0]]
