"""Results too large for the caches are written past them (csrc/cpu/stream.h): the same bits as in smaller pieces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers import isa, isas, tensor

import fastcnn
from fastcnn import Tensor
from fastcnn import functional as F

# Two samples are above the threshold of 64 MiB, one is below. Rows of 33 channels begin anywhere, 64 on lines.
SHAPES = {"aligned": (2, 64, 512, 264), "odd": (2, 33, 1024, 250)}
OPS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "add": lambda x: x + x,
    "add a number": lambda x: x + 1.5,
    "copy": lambda x: x.clone(),
    "max pool": lambda x: F.max_pool2d(x, 2, 2),
    "avg pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "group norm": lambda x: F.group_norm(x, x.shape[1]),
    "layer norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
    "silu": F.silu,
}


def gradient(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    x = x.detach().requires_grad_()
    y = f(x)
    y.backward(fastcnn.ones(*y.shape).contiguous("channels_last"))
    return np.asarray(y.detach()), np.asarray(x.grad)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_large_results_have_the_bits_of_small_ones(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    x = tensor(values, "float32").contiguous("channels_last").detach()
    halves = [tensor(v[None], "float32").contiguous("channels_last").detach() for v in values]
    assert x.nbytes >= 64 << 20 > halves[0].nbytes
    for name in isas():
        with isa(name):
            for op, f in OPS.items():
                whole = gradient(f, x)
                for i, half in enumerate(halves):
                    for got, want in zip(whole, gradient(f, half)):
                        assert np.array_equal(got[i : i + 1], want), f"{op} on {name}, sample {i}"


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_large_dropout_has_the_bits_of_a_small_one(layout: str) -> None:
    """A sample's draws depend on its index only, so the first sample alone is dropped alike."""
    values = np.ones(SHAPES["aligned"], np.float32)
    for name in isas():
        with isa(name):
            results = []
            for part in (values, values[:1]):
                x = tensor(part, "float32")
                x = x.contiguous("channels_last").detach() if layout == "channels_last" else x
                fastcnn.manual_seed(7)
                results.append(np.asarray(F.dropout(x, 0.25))[:1])
            assert np.array_equal(*results), name
            assert abs(np.mean(results[0] == 0) - 0.25) < 1e-3
