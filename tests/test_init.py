"""Initial values: formulas of the standard deviations and bounds, torch's names, one stream."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastcnn
from fastcnn import init, nn


def weight(*shape: int) -> fastcnn.Tensor:
    return fastcnn.empty(*shape, dtype="float64")


def std_of(fn: object, *shape: int, **arguments: object) -> float:
    return float(np.asarray(fn(weight(*shape), **arguments)).std())


@pytest.mark.parametrize(
    ("name", "arguments", "variance"),
    [
        ("xavier_uniform_", {}, 2 / (300 + 500)),
        ("xavier_normal_", {}, 2 / (300 + 500)),
        ("xavier_normal_", {"mode": "fan_in", "gain": 2.0}, 4 / 300),
        ("kaiming_uniform_", {"nonlinearity": "relu"}, 2 / 300),
        ("he_normal_", {"mode": "fan_out"}, 2 / 500),
        ("he_uniform_", {"a": math.sqrt(5)}, 2 / 6 / 300),
        ("variance_scaling_", {"scale": 2.0, "mode": "FAN_IN", "distribution": "uniform"}, 2 / 300),
        ("variance_scaling_", {"scale": 2.0, "mode": "fan_avg", "distribution": "normal"}, 2 / 400),
        ("variance_scaling_", {"scale": 2.0, "distribution": "truncated"}, 2 / 300),
        ("variance_scaling_", {"scale": 2.0, "distribution": "truncated_tf1"}, 1.3 * 2 / 300 * 0.87962566**2),
    ],
)
def test_variance(name: str, arguments: dict[str, object], variance: float) -> None:
    got = std_of(getattr(init, name), 500, 300, **arguments) ** 2
    assert got == pytest.approx(variance, rel=0.02)


def test_fan_of_a_grouped_convolution() -> None:
    layer = nn.Conv2d(6, 8, (3, 2), groups=2)
    assert init.fan(layer.weight) == (3 * 6, 8 * 6)
    with pytest.raises(ValueError, match="at least 2 axes"):
        init.fan(weight(3))


def test_layers_start_as_torch_does() -> None:
    """Weight and bias are U(-b, b), b = 1 / sqrt(fan_in)."""
    layer = nn.Conv2d(8, 64, 3, groups=2, dtype="float64")
    bound = 1 / math.sqrt(4 * 9)
    for t in (layer.weight, layer.bias):
        values = np.asarray(t.detach())
        assert np.abs(values).max() <= bound and np.abs(values).max() > 0.9 * bound
    assert np.asarray(layer.weight.detach()).std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (1.0, 1.5), (3.0, 20.0), (-9.0, -4.0)])
def test_truncated_normal(low: float, high: float) -> None:
    fastcnn.manual_seed(0)
    values = np.asarray(init.trunc_normal_(weight(20_000), 0.5, 2.0, low, high))
    assert values.min() >= low and values.max() <= high
    grid = np.linspace(low, high, 20_001)
    density = np.exp(-(((grid - 0.5) / 2.0) ** 2) / 2)
    mean = (grid * density).sum() / density.sum()
    spread = math.sqrt((grid**2 * density).sum() / density.sum() - mean**2)
    assert values.mean() == pytest.approx(mean, abs=5 * spread / math.sqrt(20_000))
    assert values.std() == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gain_equals_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)


def test_patterns_equal_torch() -> None:
    torch = pytest.importorskip("torch")
    for shape, groups in (((4, 4, 3), 1), ((6, 2, 3, 4), 3), ((2, 5, 3, 3, 3), 1)):
        theirs = torch.nn.init.dirac_(torch.empty(shape), groups)
        np.testing.assert_array_equal(np.asarray(init.dirac_(weight(*shape), groups)), theirs.numpy())
    np.testing.assert_array_equal(np.asarray(init.eye_(weight(3, 5))), np.eye(3, 5))
    assert init.constant_(weight(2), 3.5).tolist() == [3.5, 3.5]
    assert init.ones_(weight(1)).tolist() == [1.0] and init.zeros_(weight(1)).tolist() == [0.0]


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 3, 2, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    m = np.asarray(init.orthogonal_(weight(*shape), gain=2.0)).reshape(shape[0], -1)
    product = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_sparse() -> None:
    values = np.asarray(init.sparse_(weight(10, 40), 0.25))
    assert ((values == 0).sum(axis=0) == 3).all()


def test_same_seed_same_values_and_nothing_on_meta() -> None:
    fastcnn.manual_seed(3)
    a = np.asarray(init.normal_(weight(50)))
    b = np.asarray(init.normal_(weight(50)))
    fastcnn.manual_seed(3)
    init.uniform_(fastcnn.empty(50, device="meta"))
    assert (np.asarray(init.normal_(weight(50))) == a).all() and (a != b).any()


def test_errors() -> None:
    with pytest.raises(ValueError, match="mode is 'both', expected one of fan_in, fan_out, fan_avg"):
        init.kaiming_normal_(weight(3, 3), mode="both")
    with pytest.raises(ValueError, match="nonlinearity is 'swish'"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="std is -1"):
        init.normal_(weight(3), std=-1)
    with pytest.raises(ValueError, match="distribution is 'cauchy'"):
        init.variance_scaling_(weight(3, 3), distribution="cauchy")
    with pytest.raises(ValueError, match="expected a matrix"):
        init.eye_(weight(3))
