"""F.pad and the padding layers against NumPy and torch, gradients of any order, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import assert_same_trace, gradcheck

import fastcnn
from fastcnn import functional as F
from fastcnn import nn

NUMPY = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("amounts", [(1, 2), (0, 3, 2, 0), (1, 1, 2, 2, 0, 1)])
def test_equals_numpy(mode: str, amounts: tuple[int, ...]):
    x = values(2, 3, *(4, 5, 6)[: len(amounts) // 2])
    pairs = [(0, 0)] * (x.ndim - len(amounts) // 2) + [
        amounts[i : i + 2] for i in range(len(amounts) - 2, -1, -2)
    ]
    for source in (x, x.astype(np.float32), np.asfortranarray(x), x[::-1, :, ::-1]):
        y = F.pad(fastcnn.from_numpy(source), amounts, mode)
        np.testing.assert_array_equal(y.numpy(), np.pad(source, pairs, NUMPY[mode]))


def test_constant_of_any_rank_dtype_and_value():
    for shape in ((3,), (2, 3), (2, 1, 2, 1, 2, 3)):
        x = np.arange(np.prod(shape)).reshape(shape)
        y = F.pad(fastcnn.from_numpy(x), (2, 1), value=7)
        np.testing.assert_array_equal(
            y.numpy(), np.pad(x, [(0, 0)] * (x.ndim - 1) + [(2, 1)], constant_values=7)
        )
    assert F.pad(fastcnn.ones(2, 2), ()).shape == (2, 2)
    assert F.pad(fastcnn.ones(0, 2), (1, 1)).shape == (0, 4)
    assert F.pad(fastcnn.ones(3, 0), (1, 1)).tolist() == [[0.0, 0.0]] * 3


def test_negative_numbers_crop():
    x = values(2, 3, 6, 7)
    np.testing.assert_array_equal(F.pad(fastcnn.tensor(x), (-1, -2, 1, -1)).numpy(),
                                  np.pad(x[:, :, :-1, 1:-2], [(0, 0), (0, 0), (1, 0), (0, 0)]))  # fmt: skip
    cropped = F.pad(fastcnn.tensor(x), (2, -1), "reflect").numpy()
    np.testing.assert_array_equal(cropped, np.pad(x[..., :-1], [(0, 0)] * 3 + [(2, 0)], "reflect"))


def test_memory_order_is_kept():
    x = fastcnn.tensor(values(2, 3, 4, 5)).contiguous("channels_last")
    for mode in NUMPY:
        assert F.pad(x, (1, 1, 1, 1), mode).is_channels_last()
    assert F.pad(fastcnn.tensor(values(2, 3, 4, 5)), (1, 1)).is_contiguous()


def test_infinities_and_nan_pass():
    x = np.array([[[np.inf, -np.inf, np.nan, 1.0]]])
    for mode in NUMPY:
        y = F.pad(fastcnn.tensor(x), (1, 1), mode).numpy()
        np.testing.assert_array_equal(y, np.pad(x, [(0, 0), (0, 0), (1, 1)], NUMPY[mode]))


@pytest.mark.parametrize("mode", NUMPY)
def test_gradients(mode: str):
    x = values(2, 2, 4, 5)
    gradcheck(lambda t: F.pad(t, (2, 1, 1, 3), mode), x)
    gradcheck(lambda t: F.pad(t, (2, -1, -1, 2), mode), x)
    t = fastcnn.tensor(x, requires_grad=True)
    y = F.pad(t, (2, 1, 1, 2), mode)
    (g,) = fastcnn.grad((y * y * y).sum(), t, create_graph=True)
    (gg,) = fastcnn.grad(g.sum(), t)
    counts = fastcnn.grad(F.pad(t, (2, 1, 1, 2), mode).sum(), t)[0].numpy()
    np.testing.assert_allclose(gg.numpy(), 6 * x * counts, rtol=1e-12)


@pytest.mark.parametrize("mode", NUMPY)
def test_trace_is_that_of_the_twin(mode: str):
    def step(device: str) -> None:
        x = fastcnn.ones(2, 3, 5, 5, device=device, requires_grad=True)
        F.pad(x, (1, 2, 2, 1), mode).sum().backward()

    assert_same_trace(step)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.pad(x, (1,)), r"pad: got 1 numbers for shape \(2, 3, 4, 5\), expected a pair"),
        (lambda x: F.pad(x, (1,) * 10), "expected a pair for each of up to 4 axes"),
        (lambda x: F.pad(x, (1, 1), "mirror"), "mode is 'mirror', expected constant, reflect, replicate or circular"),
        (lambda x: F.pad(x, (5, 0), "reflect"), r"reflect padding \(5, 0\) of axis 3 with 5 elements"),
        (lambda x: F.pad(x, (0, 6), "circular"), "expected at most 5"),
        (lambda x: F.pad(x, (1, 1), "reflect", 3.0), "value is 3.0 with mode 'reflect', expected None"),
        (lambda x: F.pad(x, (-3, -3)), "leaves nothing"),
        (lambda x: nn.ZeroPad2d((1, 2)), "ZeroPad2d: padding is .* expected an int or 4 ints"),
        (lambda x: nn.ReflectionPad1d(1)(x), r"ReflectionPad1d: expected 2D or 3D input, got shape \(2, 3, 4, 5\)"),
    ],
)  # fmt: skip
def test_errors(call, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call(fastcnn.ones(2, 3, 4, 5))


KINDS = ("Constant", "Zero", "Reflection", "Replication", "Circular")


@pytest.mark.parametrize(("kind", "axes"), list(itertools.product(KINDS, (1, 2, 3))))
def test_layers_are_torchs(kind: str, axes: int):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    name = f"{kind}Pad{axes}d"
    extra = (2.5,) if kind == "Constant" else ()
    for padding in (1, tuple(range(1, 2 * axes + 1))[: 2 * axes] if axes == 1 else (1, 0) * axes):
        ours, theirs = getattr(nn, name)(padding, *extra), getattr(torch.nn, name)(padding, *extra)
        assert repr(ours) == repr(theirs)
        x = values(2, 3, *(4, 5, 6)[:axes])
        np.testing.assert_array_equal(ours(fastcnn.tensor(x)).numpy(), theirs(torch.from_numpy(x)).numpy())
