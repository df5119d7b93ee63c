"""Exponentials, logarithms, tanh and erf of float32 over the whole range of floats: error in units in the last place
against float64, special values, and the same bits on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import bits, isa, isas

import fastcnn
from fastcnn import functional as F

#: name -> largest error in units in the last place (what csrc/cpu/kernels/math.inl says, and a little for sampling)
ULPS = {"exp": 1.0, "expm1": 1.6, "log": 0.9, "log1p": 0.95, "tanh": 1.4, "erf": 1.35, "sigmoid": 2.5}


def function(name: str):
    return getattr(F, name)


def everything() -> np.ndarray:
    """Each exponent and sign with 4 million patterns in all, each neighbour of a special point, NaN, infinities."""
    patterns = np.arange(0, 2**32, 1021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    points = [0.0, 1.0, 0.625, 0.95, 4.0, 9.02, 10.0, 0.34657, 0.7071, 0.4142, 87.0, 88.72284, 89.0, 103.97, 104.0,
              30.0, 1e-8, 1e9, 1.17549435e-38, np.inf]  # fmt: skip
    with np.errstate(over="ignore"):
        near = np.float32(points).view(np.uint32)[:, None].astype(np.int64) + np.arange(-40, 41)
    near = np.clip(near, 0, 0x7F800001).astype(np.uint32).view(np.float32).ravel()
    return np.concatenate([patterns, near, -near, np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0])])


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return everything()


@pytest.mark.parametrize("name", ULPS)
def test_error_in_units_in_the_last_place_over_all_floats(name, inputs):
    x = fastcnn.from_numpy(inputs)
    exact = np.asarray(function(name)(x.to("float64")))  # another implementation: the C library's
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = exact.astype(np.float32)
    _, exponent = np.frexp(exact)
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 24)
    for which in isas():
        with isa(which):
            y = np.asarray(function(name)(x))
        np.testing.assert_array_equal(np.isnan(y), np.isnan(exact), f"{which}: NaN exactly where it belongs")
        finite = np.isfinite(nearest) & np.isfinite(y)
        # Between the largest float and infinity either neighbour is within a unit.
        other = ~finite & ~np.isnan(exact)
        np.testing.assert_array_equal(y[other], nearest[other], f"{which}: infinities")
        error = np.abs(y[finite].astype(np.float64) - exact[finite]) / unit[finite]
        worst = np.argmax(error)
        assert error[worst] <= ULPS[name], (
            which,
            inputs[finite][worst],
            y[finite][worst],
            exact[finite][worst],
        )
        zero = exact == 0
        np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(exact[zero]), f"{which}: the sign of 0")


@pytest.mark.parametrize("name", [*ULPS, "gelu", "silu", "elu", "mish", "softplus", "logsigmoid"])
def test_every_instruction_set_gives_the_same_bits(name, inputs):
    x = fastcnn.from_numpy(inputs[::5].copy())
    results = set()
    for which in isas():
        with isa(which):
            y = function(name)(x)
            results.add(bits(fastcnn.where(F.isnan(y), fastcnn.zeros_like(y), y)))  # a NaN has many patterns
    assert len(results) == 1


def test_results_below_the_normal_range_are_rounded_not_flushed():
    x = np.array([-88.0, -95.0, -103.0, -103.9, -104.0])
    tiny = F.exp(fastcnn.tensor(x, dtype="float32")).numpy()
    np.testing.assert_allclose(tiny, np.exp(x), rtol=0, atol=1.4e-45)  # the smallest float
    assert tiny[3] > 0 and tiny[4] == 0
    least = fastcnn.tensor(np.float32([1e-45, -1e-45, 1e-40]))
    for name in ("expm1", "log1p", "tanh"):
        np.testing.assert_array_equal(function(name)(least).numpy(), least.numpy(), name)
