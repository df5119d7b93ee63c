"""The planar row: few filters, lanes are pixels. The tests of all rows run it, too; here are the edges of its own: runs
of outputs that end within a row, columns between rows, padding modes, layouts, fusion.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers import bits, isa, isas, threads, whole

import fastcnn
from fastcnn import functional as F
from fastcnn._loader import _core


@pytest.mark.parametrize("name", isas())
@pytest.mark.parametrize(
    ("x", "w", "padding", "dilation"),
    [
        ((3, 1, 28, 28), (6, 1, 5, 5), 2, 1),  # LeNet's first layer: four runs of 256 outputs
        ((2, 3, 9, 300), (5, 3, 3, 3), 1, 1),  # a row is longer than a run
        ((2, 2, 17, 1), (3, 2, 3, 1), (1, 0), 1),
        ((1, 4, 20, 21), (9, 4, 3, 2), (2, 1), (2, 3)),
        ((2, 2, 5, 5), (1, 2, 5, 5), 0, 1),  # one output
        ((1, 2, 3, 3), (2, 2, 3, 3), 3, 1),  # outputs that see padding only
    ],
)
def test_every_output_is_at_its_place(name, x, w, padding, dilation):
    rng = np.random.default_rng(1)
    xs, ws, bias = whole(rng, *x), whole(rng, *w), whole(rng, w[0])
    with isa(name):
        for layout in ("channels_last", "contiguous"):
            for b in (None, bias):
                got, want = (
                    F.conv2d(
                        xs.contiguous(layout),
                        ws,
                        b,
                        padding=padding,
                        dilation=dilation,
                        algo={"forward": algo},
                    ).numpy()
                    for algo in ("planar", "direct")
                )
                assert np.array_equal(got, want), (layout, b is not None)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_prologue_epilogue_and_padding_modes(mode: str) -> None:
    rng = np.random.default_rng(2)
    x, w, bias = whole(rng, 2, 3, 11, 13), whole(rng, 5, 3, 3, 3), whole(rng, 5)
    scale, shift, residual = whole(rng, 3), whole(rng, 3), whole(rng, 2, 5, 11, 13)
    g = _core.ConvGeometry((1, 1), (1, 1), (1, 1), (1, 1), 1, mode)
    for use in range(32):
        args = (
            bias if use & 1 else None, residual if use & 16 else None,
            scale if use & 2 else None, shift if use & 2 else None,
            "relu" if use & 4 else "copy", "relu" if use & 8 else "copy", g,
        )  # fmt: skip
        got, want = (
            _core.conv_forward_fused("conv2d", x, w, *args, _core.AlgoRequest(name, True, None)).numpy()
            for name in ("planar", "direct")
        )
        assert np.array_equal(got, want), use


def test_same_bits_for_any_number_of_threads() -> None:
    x, w = fastcnn.randn(7, 2, 19, 23), fastcnn.randn(6, 2, 5, 5)
    seen = set()
    for n in (1, 2, 3, 5, 16):
        with threads(n):
            seen.add(bits(F.conv2d(x, w, padding=2, algo={"forward": "planar"})))
    assert len(seen) == 1


def chosen(x: tuple[int, ...], w: tuple[int, ...], **geometry: object) -> str:
    rows = fastcnn.conv_algorithms(x, w, pass_="forward", **geometry)
    return next(row.name for row in rows if row.chosen)


def test_auto_takes_it_for_few_filters() -> None:
    """Where a vector has more lanes than there are filters."""
    for name in set(isas()) & {"avx2", "avx512"}:
        with isa(name):
            assert chosen((64, 1, 28, 28), (4, 1, 7, 7), padding=3) == "planar"
            assert (chosen((64, 1, 28, 28), (6, 1, 5, 5), padding=2) == "planar") == (name == "avx512")
            assert chosen((8, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3) != "planar"
            assert chosen((64, 1, 28, 28), (32, 1, 3, 3), padding=1) != "planar"
            assert chosen((8, 16, 64, 64), (3, 16, 3, 3), padding=1) != "planar"
            # one pixel fills a lane of a vector, and many filters vectors of their own
            assert chosen((1, 128, 1, 1), (1024, 128, 1, 1)) != "planar"
            assert chosen((8, 24, 1, 1), (96, 24, 1, 1)) != "planar"
            assert chosen((1, 128, 7, 7), (512, 128, 1, 1)) != "planar"
            assert chosen((1, 1, 1024, 1024), (4, 1, 7, 7), padding=3) != "planar"  # one task


@pytest.mark.parametrize("activation", ["copy", "relu"])
def test_a_residual_has_the_bits_of_an_addition(activation: str) -> None:
    x, w, bias, residual = (fastcnn.randn(*s) for s in ((2, 3, 9, 14), (5, 3, 3, 3), (5,), (2, 5, 9, 14)))
    g = _core.ConvGeometry((1, 1), (1, 1), (1, 1), (1, 1), 1, "zeros")
    request = _core.AlgoRequest("planar", True, None)
    fused = _core.conv_forward_fused(
        "conv2d", x, w, bias, residual, None, None, "copy", activation, g, request
    )
    apart = F.conv2d(x, w, bias, padding=1, algo={"forward": "planar"}) + residual
    assert bits(fused) == bits(F.relu(apart) if activation == "relu" else apart)


def test_images_far_larger_than_their_filters_say() -> None:
    """Padding makes planes of 2^64 cells: another row computes it."""
    x, w = fastcnn.ones(100, 1, 1, 1), fastcnn.ones(4, 1, 4, 4)
    assert F.conv2d(x, w, dilation=1431655765, padding="same").shape == (100, 4, 1, 1)
    with pytest.raises(ValueError, match="16 MiB"):
        F.conv2d(x, w, dilation=1431655765, padding="same", algo={"forward": "planar"})


@pytest.mark.parametrize(
    ("words", "w", "geometry"),
    [
        ("stride 1", (6, 1, 5, 5), {"stride": 2}),
        ("128 rows", (6, 64, 3, 3), {}),
        ("one group", (6, 1, 3, 3), {"groups": 2}),
    ],
)
def test_says_what_it_does_not_take(words, w, geometry):
    x = fastcnn.zeros(1, w[1] * geometry.get("groups", 1), 9, 9)
    with pytest.raises(ValueError, match=words):
        F.conv2d(x, fastcnn.zeros(w), algo={"forward": "planar"}, **geometry)
