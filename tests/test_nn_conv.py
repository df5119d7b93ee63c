"""Convolution layers: torch's outputs and gradients through the constructors, forms of padding, constructor errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import nn


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (3, 4, 3), {"stride": 2, "padding": 1}, (2, 3, 9)),
    ("Conv1d", (3, 4, 2), {"padding": "same", "dilation": 2, "padding_mode": "reflect"}, (2, 3, 9)),
    ("Conv2d", (4, 6, (3, 2)), {"groups": 2, "dilation": (1, 2), "bias": False}, (2, 4, 7, 6)),
    ("Conv2d", (4, 4, 3), {"padding": (1, 2), "padding_mode": "circular"}, (2, 4, 5, 6)),
    ("Conv2d", (4, 4, 3), {"padding": 1, "padding_mode": "replicate", "groups": 4}, (4, 5, 6)),
    ("Conv3d", (2, 3, (1, 2, 3)), {"stride": (1, 2, 1), "padding": "valid"}, (2, 2, 3, 4, 5)),
    ("ConvTranspose1d", (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (2, 3, 5)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "groups": 2, "dilation": 2}, (2, 4, 3, 4)),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2, "bias": False}, (2, 2, 2, 3, 2)),
]


@pytest.mark.parametrize(("name", "sizes", "arguments", "shape"), CASES)
def test_equals_torch(name: str, sizes: Any, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    ours = getattr(nn, name)(*sizes, **arguments, dtype="float64")
    theirs = getattr(torch.nn, name)(*sizes, **arguments, dtype=torch.float64)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = draw(*shape)
    a, b = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    np.testing.assert_allclose(np.asarray(y.detach()), z.detach().numpy(), rtol=1e-11, atol=1e-11)
    g = draw(*y.shape)
    y.backward(fastcnn.tensor(g))
    z.backward(torch.tensor(g))
    np.testing.assert_allclose(np.asarray(a.grad), b.grad.numpy(), rtol=1e-10, atol=1e-10)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(np.asarray(p.grad), q.grad.numpy(), rtol=1e-10, atol=1e-10)


def test_same_at_any_stride_and_pairs() -> None:
    assert nn.Conv2d(1, 1, 3, stride=2, padding="same")(fastcnn.zeros(1, 1, 7, 8)).shape == (1, 1, 4, 4)
    assert nn.Conv2d(1, 1, 3, padding=((0, 1), (2, 0)))(fastcnn.zeros(1, 1, 5, 5)).shape == (1, 1, 4, 5)
    assert nn.ConvTranspose2d(1, 1, 3, stride=2, padding="same")(fastcnn.zeros(1, 1, 4, 5)).shape == (
        1,
        1,
        8,
        10,
    )


def test_the_lectures_example() -> None:
    """[28, 28, 1], pad 1, 16 filters 3x3 -> 28x28x16; the slide's bias of 32 entries cannot fit."""
    layer = nn.Conv2d(1, 16, 3, padding=1)
    assert layer(fastcnn.zeros(2, 1, 28, 28)).shape == (2, 16, 28, 28)
    with pytest.raises(ValueError, match="bias has 32 entries, layer has 16 filters"):
        layer.load_state_dict({**layer.state_dict(), "bias": np.ones(32)})


def test_algo_and_workspace_limit() -> None:
    x = fastcnn.tensor(draw(1, 3, 6, 6), dtype="float32")
    layer = nn.Conv2d(3, 4, 3, algo="direct", workspace_limit=0)
    assert repr(layer) == "Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), algo='direct', workspace_limit=0)"
    plain = nn.Conv2d(3, 4, 3)
    plain.load_state_dict(layer.state_dict())
    np.testing.assert_allclose(
        np.asarray(layer(x).detach()), np.asarray(plain(x).detach()), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="in 0"):
        nn.Sequential(nn.Conv2d(3, 4, 3, algo="no_such"))(x)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kernel_size": 0}, r"kernel_size is \(0, 0\), expected every entry >= 1"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size has 3 entries"),
        ({"stride": 0}, r"stride is \(0, 0\)"),
        ({"dilation": -1}, r"dilation is \(-1, -1\)"),
        ({"padding": -1}, r"padding is \(-1, -1\), expected every entry >= 0"),
        ({"padding": "full"}, "padding is 'full', expected one of"),
        ({"padding": ((1, 1), (1, 2, 3))}, "expected 2"),
        ({"groups": 0}, "groups must be a positive integer, got 0"),
        ({"groups": 4}, "in_channels must be divisible by groups, got in_channels 6 and groups 4"),
        ({"groups": 3}, "out_channels must be divisible by groups, got out_channels 8 and groups 3"),
        ({"padding_mode": "mirror"}, "padding_mode is 'mirror'"),
    ],
)
def test_constructor_errors(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        nn.Conv2d(6, 8, **{"kernel_size": 3, **arguments})


def test_transposed_layers_pad_with_zeros_only() -> None:
    with pytest.raises(ValueError, match="ConvTranspose2d: padding_mode is 'reflect', expected 'zeros'"):
        nn.ConvTranspose2d(2, 2, 3, padding_mode="reflect")
