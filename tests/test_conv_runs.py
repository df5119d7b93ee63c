"""backward_input of few channels, added up from runs of taps and channels (csrc/cpu/conv_im2col_runs.cpp)."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import bits, isa, isas, threads, whole

import fastcnn
from fastcnn import functional as F


def input_gradient(x: fastcnn.Tensor, w: fastcnn.Tensor, algo: str, layout: str, **geometry) -> np.ndarray:
    x = x.contiguous(layout).detach()
    x.requires_grad = True
    y = F.conv2d(x, w, algo={"forward": "direct", "backward_input": algo}, **geometry)
    grad = np.random.default_rng(3).integers(-3, 4, y.shape).astype(np.float32)
    y.backward(fastcnn.from_numpy(grad).contiguous(layout))
    return x.grad.numpy()


# All of them are cheaper by runs; the columns of a run fill one to four vectors of the widest instruction set.
PROBLEMS = [
    ((3, 6, 14, 14), (16, 6, 5, 5), {}),  # LeNet's second layer
    ((2, 12, 14, 14), (24, 12, 5, 5), {"padding": 2}),
    ((2, 3, 17, 21), (8, 3, 3, 3), {"padding": 1}),
    ((2, 3, 33, 40), (32, 3, 3, 3), {"padding": 1, "stride": 2}),
    ((2, 3, 33, 40), (16, 3, 3, 3), {"padding": (0, 1), "stride": (3, 2)}),
    ((1, 5, 31, 18), (16, 5, 4, 5), {"dilation": (3, 1)}),
    ((1, 6, 12, 90), (16, 6, 2, 7), {"padding": (1, 0)}),  # fewer lines in a block than in an image
]


@pytest.mark.parametrize("name", isas())
@pytest.mark.parametrize(("x", "w", "geometry"), PROBLEMS, ids=str)
def test_input_gradient_is_directs(name, x, w, geometry):
    rng = np.random.default_rng(1)
    xs, ws = whole(rng, *x), whole(rng, *w)
    with isa(name):
        for layout in ("channels_last", "contiguous"):
            got, want = (input_gradient(xs, ws, algo, layout, **geometry) for algo in ("im2col", "direct"))
            assert np.array_equal(got, want), layout


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_input_gradient_of_other_padding_modes(mode: str) -> None:
    rng = np.random.default_rng(2)
    x, w = whole(rng, 2, 6, 10, 11), whole(rng, 16, 6, 5, 5)
    got, want = (
        input_gradient(x, w, algo, "channels_last", padding=2, padding_mode=mode)
        for algo in ("im2col", "direct")
    )
    assert np.array_equal(got, want)


def test_same_bits_for_any_number_of_threads() -> None:
    x, w = fastcnn.randn(5, 6, 14, 14), fastcnn.randn(16, 6, 5, 5)
    grad = fastcnn.randn(5, 16, 10, 10)
    seen = set()
    for n in (1, 2, 3, 5, 16):
        with threads(n):
            x.grad, x.requires_grad = None, True
            F.conv2d(x, w, algo={"backward_input": "im2col"}).backward(grad)
            seen.add(bits(x.grad))
    assert len(seen) == 1
