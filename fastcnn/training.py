"""The training loop whose memory the estimator predicts, as functions that also serve custom loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import fastcnn
from fastcnn._loader import _core
from fastcnn.autograd import Tensor, no_grad

_BATCH = _core.CATEGORY["batch"]


def to_batch(array: np.ndarray, device: str) -> Tensor:
    """A copy of a NumPy batch on a device, counted as `batch` memory."""
    source = fastcnn.from_numpy(np.ascontiguousarray(array))
    return _core.to(source, source.dtype, device, False, _BATCH)


def train_step(
    model: Any,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    optimizer: Any,
    inputs: np.ndarray,
    targets: np.ndarray,
    device: str = "cpu",
) -> Tensor:
    """One step of the predicted form; returns the loss, detached.

    zero_grad frees the last step's gradients after the new batch has arrived, so both are alive for a moment; the
    estimator (fastcnn.memory.estimate) runs this very function.
    """
    x, y = to_batch(inputs, device), to_batch(targets, device)
    optimizer.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def evaluate(
    model: Any,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    device: str = "cpu",
) -> tuple[float, float]:
    """(mean loss, accuracy) of a classifier over batches, in eval mode and without gradients."""
    was_training = model.training
    model.eval()
    total = correct = count = 0.0
    try:
        with no_grad():
            for inputs, targets in batches:
                x, y = to_batch(inputs, device), to_batch(targets, device)
                scores = model(x)
                total += loss_fn(scores, y).item() * len(targets)
                correct += int((scores.numpy().argmax(1) == targets).sum())
                count += len(targets)
    finally:
        model.train(was_training)
    if not count:
        raise ValueError("evaluate: got no batches, expected at least one")
    return total / count, correct / count
