"""The output formula and padding by name, swept whole: every width, kernel, stride, dilation and pad in a box."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference

import fastcnn
from fastcnn import functional as F
from fastcnn import nn
from fastcnn._loader import _core

KERNELS = {k: fastcnn.tensor((np.arange(k) + 1.0).reshape(1, 1, k)) for k in range(1, 12)}


def formula(n: int, k: int, s: int, d: int, low: int, high: int) -> int:
    """features.md C1 and row 45."""
    return (n + low + high - d * (k - 1) - 1) // s + 1


@pytest.mark.parametrize("dilation", [1, 2])
def test_formula_is_the_actual_shape(dilation: int) -> None:
    """features.md row 45: all W <= 64, F <= 11, S <= 5, P <= 5; a kernel that does not fit is an error instead."""
    images = {n: fastcnn.zeros(1, 1, n, dtype="float64") for n in range(1, 65)}
    twins = {n: fastcnn.empty(1, 1, n, dtype="float64", device="meta") for n in range(1, 65)}
    meta = {k: fastcnn.empty(1, 1, k, dtype="float64", device="meta") for k in range(1, 12)}
    refused = 0
    for n, k, s, p in itertools.product(range(1, 65), range(1, 12), range(1, 6), range(6)):
        if dilation * (k - 1) + 1 > n + 2 * p:
            refused += 1
            if s == 1:
                with pytest.raises(ValueError, match="is larger than the padded input"):
                    F.conv1d(images[n], KERNELS[k], stride=s, padding=p, dilation=dilation)
            continue
        want = formula(n, k, s, dilation, p, p)
        assert want >= 1
        assert want == _core.conv_output_extent(n, k, s, dilation, p, p)
        assert F.conv1d(twins[n], meta[k], stride=s, padding=p, dilation=dilation).shape == (1, 1, want)
        if n % 7 == k % 7:  # the kernels themselves on a seventh of them
            assert F.conv1d(images[n], KERNELS[k], stride=s, padding=p, dilation=dilation).shape == (
                1,
                1,
                want,
            )
    assert refused > 100


def test_formula_per_axis_with_pads_per_side() -> None:
    """features.md T12: nothing couples the axes."""
    r = np.random.default_rng(12)
    for _ in range(300):
        n, k, s, d, low, high = (
            r.integers(a, b, 3) for a, b in ((6, 12), (1, 4), (1, 4), (1, 3), (0, 4), (0, 4))
        )
        want = tuple(formula(*map(int, axis)) for axis in zip(n, k, s, d, low, high))
        x = fastcnn.empty(2, 3, *map(int, n), device="meta")
        w = fastcnn.empty(5, 3, *map(int, k), device="meta")
        pads = tuple((int(a), int(b)) for a, b in zip(low, high))
        assert F.conv3d(x, w, stride=tuple(s), padding=pads, dilation=tuple(d)).shape == (2, 5, *want)
        assert want == tuple(reference.output_size(*map(int, a), p) for *a, p in zip(n, k, s, d, pads))


def naive_same(n: int, k: int, s: int, d: int) -> int:
    """The fewest cells of padding that give ceil(n / s) outputs, found by trying."""
    wanted = len(range(0, n, s))
    return next(
        total for total in itertools.count() if reference.output_size(n, k, s, d, (0, total)) >= wanted
    )


@pytest.mark.parametrize("name", ["same", "same_lower"])
def test_same_by_tensorflows_rule(name: str) -> None:
    """C2, C3: out = ceil(n / s) at any stride; the odd cell at the end, for same_lower at the beginning; by value."""
    r = np.random.default_rng(3)
    for n, k, s, d in itertools.product(range(1, 17), range(1, 7), range(1, 5), (1, 2)):
        total = naive_same(n, k, s, d)
        less, more = total // 2, total - total // 2
        pads = (less, more) if name == "same" else (more, less)
        assert _core.named_padding(name, n, k, s, d) == pads, (n, k, s, d)
        x = r.integers(-9, 10, (1, 2, n)).astype(np.float64)
        w = r.integers(-9, 10, (3, 2, k)).astype(np.float64)
        y = F.conv1d(fastcnn.tensor(x), fastcnn.tensor(w), stride=s, dilation=d, padding=name)
        assert y.shape == (1, 3, -(-n // s))
        padded = np.pad(x[0], ((0, 0), pads))
        for o, value in enumerate(np.moveaxis(np.asarray(y)[0], 1, 0)):
            seen = padded[:, o * s : o * s + d * (k - 1) + 1 : d]
            np.testing.assert_array_equal(value, np.einsum("ck,fck->f", seen, w))


def test_the_odd_cell_is_at_the_end() -> None:
    """C2's own example: x = 1 2 3 4, w = 0 1."""
    x, w = fastcnn.tensor([[[1.0, 2.0, 3.0, 4.0]]]), fastcnn.tensor([[[0.0, 1.0]]])
    assert np.asarray(F.conv1d(x, w, padding="same")).ravel().tolist() == [2.0, 3.0, 4.0, 0.0]
    assert np.asarray(F.conv1d(x, w, padding="same_lower")).ravel().tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_names_per_axis_in_every_mode(mode: str) -> None:
    """C4: pads of "same" are filled in the mode; axes have their own kernels and strides; layers agree."""
    r = np.random.default_rng(4)
    x, w = r.standard_normal((2, 3, 7, 9)), r.standard_normal((4, 3, 4, 3))
    for name in ("same", "same_lower", "valid"):
        stride, dilation = (2, 3), (1, 2)
        pads = tuple(_core.named_padding(name, *a) for a in zip((7, 9), (4, 3), stride, dilation))
        want = reference.conv_forward(x, w, None, stride, pads, dilation, 1, mode)
        keywords = dict(stride=stride, dilation=dilation, padding_mode=mode, padding=name)
        y = F.conv2d(fastcnn.tensor(x), fastcnn.tensor(w), **keywords)
        np.testing.assert_allclose(np.asarray(y), want, rtol=1e-12, atol=1e-12)
        layer = nn.Conv2d(3, 4, (4, 3), bias=False, dtype="float64", **keywords)
        layer.load_state_dict({"weight": w})
        np.testing.assert_array_equal(np.asarray(layer(fastcnn.tensor(x)).detach()), np.asarray(y))


def test_the_same_padding_follows_the_input() -> None:
    """A name is resolved for each call: pads depend on the width at stride 2."""
    w = fastcnn.tensor([[[1.0, 10.0, 100.0]]], dtype="float64")
    for n, pads in ((6, (0, 1)), (7, (1, 1)), (8, (0, 1))):
        x = np.arange(1.0, n + 1).reshape(1, 1, n)
        want = reference.conv_forward(x, np.asarray(w), None, (2,), (pads,), (1,))
        np.testing.assert_array_equal(
            np.asarray(F.conv1d(fastcnn.tensor(x), w, stride=2, padding="same")), want
        )
