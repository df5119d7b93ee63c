"""``inplace=True`` of activations: it saves memory where it may, and never costs a gradient."""

from __future__ import annotations

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn

NAMES = ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "silu", "hardswish")


def leaf(*shape: int, seed: int = 0) -> fastcnn.Tensor:
    return fastcnn.tensor(3 * np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize("name", NAMES)
def test_same_values_and_gradients(name: str):
    found = []
    for inplace in (False, True):
        x = leaf(4, 5)
        y = getattr(F, name)(x * 2, inplace=inplace)
        (y * y).sum().backward()
        found.append((y.detach().numpy().copy(), x.grad.numpy().copy()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh"])
def test_takes_the_memory_of_a_computed_tensor(name: str):
    x = leaf(1000)
    h = x * 2
    address = h.data_ptr()
    y = getattr(F, name)(h, inplace=True)
    assert y is h
    assert y.data_ptr() == address


def test_memory_that_something_else_needs_is_left_alone():
    x = leaf(8)
    h = F.sigmoid(x)  # saves its output
    before = h.detach().numpy().copy()
    y = F.relu(h - 0.5, inplace=True) + F.relu(h, inplace=True)
    np.testing.assert_array_equal(h.detach().numpy(), before)
    y.sum().backward()
    s = 1 / (1 + np.exp(-x.detach().numpy()))
    np.testing.assert_allclose(x.grad.numpy(), (1.0 * (s > 0.5) + 1) * s * (1 - s), rtol=1e-12)


def test_views_keep_their_values():
    x = leaf(2, 6)
    h = x * 1.0
    view = F.reshape(h, (12,))
    F.relu(h, inplace=True)
    np.testing.assert_array_equal(view.detach().numpy().reshape(2, 6), x.detach().numpy())


def test_without_gradients_the_input_is_overwritten():
    x = fastcnn.tensor([-1.0, 2.0])
    assert F.silu(x, inplace=True) is x
    with fastcnn.no_grad():
        p = leaf(3)
        assert F.relu(p, inplace=True) is p


def test_a_leaf_that_requires_a_gradient_is_an_error():
    with pytest.raises(
        ValueError, match="relu: inplace=True on a leaf that requires a gradient; use inplace=False"
    ):
        F.relu(leaf(3), inplace=True)


def test_second_use_of_the_changed_tensor_is_part_of_the_graph():
    x = leaf(5)
    h = x * 1.0
    F.relu(h, inplace=True)
    (h * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 3.0 * (x.detach().numpy() > 0))


def test_it_saves_memory():
    def peak(inplace: bool) -> int:
        x = leaf(100_000)
        with memory.track() as t:
            nn.ReLU(inplace=inplace)(x * 2)
        return t.peak_bytes

    assert peak(False) - peak(True) >= 800_000
