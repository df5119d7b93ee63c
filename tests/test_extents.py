"""Any extents work, op by op as in torch: empty batches, no channels, single elements, NaN and infinities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F

torch = pytest.importorskip("torch")

SHAPES = [(0, 4, 6, 6), (2, 4, 6, 6), (1, 1, 1, 1), (3, 0, 6, 6), (1, 4, 1, 1)]
#: f(library's functional, array -> tensor, x); None where the op has no meaning for the shape.
CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "conv2d": lambda f, t, x: f.conv2d(x, t(np.ones((3, x.shape[1], 1, 1)))) if x.shape[1] else None,
    "conv_transpose2d": lambda f, t, x: (
        f.conv_transpose2d(x, t(np.ones((x.shape[1], 2, 2, 2)))) if x.shape[1] else None
    ),
    "max_pool2d": lambda f, t, x: f.max_pool2d(x, 1),
    "avg_pool2d": lambda f, t, x: f.avg_pool2d(x, 1),
    "adaptive_avg_pool2d": lambda f, t, x: f.adaptive_avg_pool2d(x, 1),
    "lp_pool2d": lambda f, t, x: f.lp_pool2d(x, 2, 1),
    "batch_norm": lambda f, t, x: f.batch_norm(x, t(np.zeros(x.shape[1])), t(np.ones(x.shape[1]))),
    "group_norm": lambda f, t, x: f.group_norm(x, 1) if x.shape[1] and x.shape[0] and x.shape != (1, 1, 1, 1) else None,
    "layer_norm": lambda f, t, x: f.layer_norm(x, (x.shape[-1],)),
    "local_response_norm": lambda f, t, x: f.local_response_norm(x, 2),
    "interpolate": lambda f, t, x: f.interpolate(x, scale_factor=2),
    "pad": lambda f, t, x: f.pad(x, (1, 1)),
    "softmax": lambda f, t, x: f.softmax(x, 1),
    "log_softmax": lambda f, t, x: f.log_softmax(x, -1),
    "linear": lambda f, t, x: f.linear(x, t(np.ones((2, x.shape[-1])))),
    "mse_loss": lambda f, t, x: f.mse_loss(x, x * 0),
    "l1_loss": lambda f, t, x: f.l1_loss(x, x * 0, reduction="sum"),
    "huber_loss": lambda f, t, x: f.huber_loss(x, x * 0, reduction="none"),
    "dropout": lambda f, t, x: f.dropout(x, 0.5, False),
    "pixel_shuffle": lambda f, t, x: f.pixel_shuffle(x, 2) if x.shape[1] == 4 else None,
    "relu6": lambda f, t, x: f.relu6(x),
    "silu": lambda f, t, x: f.silu(x),
}  # fmt: skip
#: torch refuses an input without channels here; ours gives the empty result of the right shape (docs/differences.md).
REFUSED_BY_TORCH = {"max_pool2d", "avg_pool2d", "lp_pool2d", "interpolate", "conv_transpose2d"}


@pytest.mark.parametrize("special", [False, True], ids=["finite", "NaN and inf"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_any_extent_works_and_values_are_torchs(name: str, shape: tuple[int, ...], special: bool) -> None:
    array = np.random.default_rng(0).standard_normal(shape)
    if special:
        array.flat[:1], array.flat[-1:] = np.nan, np.inf
    call = CALLS[name]
    ours = call(F, lambda a: fastcnn.tensor(a), x := fastcnn.tensor(array, requires_grad=True))
    if ours is None:
        pytest.skip("the op has no meaning for this shape")
    if name in REFUSED_BY_TORCH and not shape[1]:
        assert ours.shape[:2] == shape[:2] and ours.numel() == 0
    else:
        theirs = call(torch.nn.functional, torch.tensor, y := torch.tensor(array, requires_grad=True))
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
        if theirs.numel():  # torch's pixel_shuffle cannot differentiate an empty tensor
            theirs.sum().backward()
    ours.sum().backward()
    assert x.grad.shape == shape
    if not special and x.numel():
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-10)
