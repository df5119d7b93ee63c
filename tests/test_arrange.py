"""repeat, tile, flip, roll and moves of axes against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_trace, gradcheck, tensor

import fastcnn
from fastcnn import functional as F


def draw(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "int64", "bool"])
@pytest.mark.parametrize("times", [(2,), (3, 1), (1, 2, 3), (2, 1, 1, 1), (0, 1, 1), (1, 1, 1)])
def test_tile_and_repeat(times, dtype):
    x = tensor(draw((2, 1, 3)), dtype)
    exact = np.tile(np.asarray(x), times)
    y = F.tile(x, times)
    np.testing.assert_array_equal(np.asarray(y), exact)
    if len(times) >= 3:
        y = F.repeat(x, *times)
        np.testing.assert_array_equal(np.asarray(y), exact)
        np.testing.assert_array_equal(np.asarray(x.repeat(times)), exact)
    if y.numel():
        y.zero_()  # a copy, whatever the numbers
        assert np.asarray(x).any()


def test_five_axes_repeat():
    x = draw((2, 2, 2, 2, 2))
    np.testing.assert_array_equal(
        np.asarray(F.repeat(fastcnn.tensor(x), 1, 2, 1, 3, 1)), np.tile(x, (1, 2, 1, 3, 1))
    )


@pytest.mark.parametrize("axes", [(0,), (1, -1), (0, 1, 2), ()])
def test_flip(axes):
    x = draw((2, 3, 4))
    source = fastcnn.tensor(x)
    y = F.flip(source, axes)
    np.testing.assert_array_equal(np.asarray(y), np.flip(x, axes))
    y.zero_()
    assert np.asarray(source).any()
    np.testing.assert_array_equal(np.asarray(F.fliplr(source)), np.flip(x, 1))
    np.testing.assert_array_equal(np.asarray(F.flipud(source)), np.flip(x, 0))


@pytest.mark.parametrize(
    "arguments", [(1, 0), (-2, 1), (7, -1), ((1, 2), (0, 1)), ((1, 1), (0, 0)), (5,), (0, 0), (-1,)]
)
def test_roll_equals_torch(arguments):
    torch = pytest.importorskip("torch")
    for shape in ((2, 3, 4), (1, 5, 2), (0, 3, 2)):
        x = draw(shape)
        got = F.roll(fastcnn.tensor(x), *arguments)
        np.testing.assert_array_equal(np.asarray(got), torch.roll(torch.tensor(x), *arguments).numpy())


def test_moves_of_axes():
    x = draw((2, 3, 4, 5))
    t = fastcnn.tensor(x)
    for source, target in ((0, -1), (1, 0), ((0, 2), (3, 1)), ((-1, 0), (0, 1))):
        np.testing.assert_array_equal(
            np.asarray(F.movedim(t, source, target)), np.moveaxis(x, source, target)
        )
    np.testing.assert_array_equal(np.asarray(t.swapaxes(0, -1)), np.swapaxes(x, 0, -1))


def test_gradients():
    x = draw((2, 1, 3)) / 50
    for f in (
        lambda t: F.repeat(t, 2, 3, 2),
        lambda t: F.repeat(t, 2, 1, 1, 1),
        lambda t: F.flip(t, 0, 2),
        lambda t: F.roll(t, (1, 2), (0, 2)),
        lambda t: F.roll(t, 4),
        lambda t: F.movedim(t, 0, 2),
    ):
        gradcheck(lambda t, f=f: F.square(f(t)), x)

        def slope(t, f=f):
            with fastcnn.enable_grad():
                t = t if t.requires_grad else t.detach().requires_grad_()
                return fastcnn.grad(F.sum(F.exp(f(t))), t, create_graph=True)

        gradcheck(slope, x, rtol=1e-5)


def test_trace():
    def step(device):
        x = fastcnn.zeros(2, 3, 4, device=device, requires_grad=True)
        y = F.tile(F.roll(F.flip(x, 1), (1, 2), (0, 2)), (2, 1, 3))
        y.backward(fastcnn.ones(y.shape, device=device))

    assert_same_trace(step)


def test_errors():
    z = fastcnn.zeros
    with pytest.raises(
        ValueError, match=r"repeat: got 1 numbers for shape \(2, 3\), expected 2 or more; tile"
    ):
        F.repeat(z(2, 3), 2)
    with pytest.raises(ValueError, match=r"repeat: got \(-1,\), expected numbers >= 0"):
        F.repeat(z(2), -1)
    with pytest.raises(ValueError, match=r"flip: dim 1 appears twice in \(1, -1\)"):
        F.flip(z(2, 3), 1, -1)
    with pytest.raises(IndexError, match="flip: dim 2 is out of range, expected -2 to 1"):
        F.flip(z(2, 3), 2)
    with pytest.raises(ValueError, match="roll: got 2 shifts and no dims"):
        F.roll(z(2), (1, 2))
    with pytest.raises(ValueError, match="roll: got 1 shifts and 2 dims"):
        F.roll(z(2, 2), 1, (0, 1))
    with pytest.raises(ValueError, match=r"movedim: got source .* expected as many different axes"):
        F.movedim(z(2, 2), (0, 0), (0, 1))
