"""The training loop whose memory the estimator predicts, as functions that also serve custom loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

import fastcnn
from fastcnn._loader import _core
from fastcnn.autograd import Tensor, no_grad

_BATCH = _core.CATEGORY["batch"]


def to_batch(array: Any, device: str, dtype: str | None = None) -> Any:
    """A copy of a batch (an array, a tensor or a tuple of them) on a device, counted as `batch` memory."""
    if isinstance(array, (tuple, list)):
        return tuple(to_batch(a, device, dtype) for a in array)
    source = array if isinstance(array, Tensor) else fastcnn.from_numpy(array)
    kind = dtype if dtype is not None and source.dtype.startswith(("float", "bfloat")) else source.dtype
    return _core.to(source, kind, device, False, _BATCH)


def train_step(
    model: Any,
    loss_fn: Callable[..., Tensor],
    optimizer: Any,
    inputs: np.ndarray | tuple[np.ndarray, ...],
    targets: np.ndarray | tuple[np.ndarray, ...] | None,
    device: str = "cpu",
    dtype: str | None = None,
) -> Tensor:
    """One step of the predicted form; returns the loss, detached.

    zero_grad frees the last step's gradients after the new batch has arrived, so both are alive for a moment; the
    estimator (fastcnn.memory.estimate) runs this very function.

    Args:
        inputs: the batch; a tuple for a model with several inputs.
        targets: the second argument of `loss_fn`; None: it takes the output alone.
        dtype: converts float arrays.
    """
    x = to_batch(inputs, device, dtype)
    y = None if targets is None else to_batch(targets, device, dtype)
    optimizer.zero_grad()
    output = model(*x) if isinstance(x, tuple) else model(x)
    loss = loss_fn(output) if y is None else loss_fn(output, y)
    del output
    loss.backward()
    optimizer.step()
    return loss.detach()


def accumulate_step(
    model: Any, loss_fn: Callable[..., Tensor], optimizer: Any, inputs: Any, targets: Any, micro_batch: int,
    device: str = "cpu", dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`train_step` in parts: gradients of micro-batches are added up before the one step of the optimizer.

    The gradients are those of the whole batch within rounding if the loss is a mean over samples, as the losses of
    fastcnn.functional are by default, and the model treats samples apart (batch norm in training does not). Memory is
    that of one micro-batch; :func:`fastcnn.memory.plan` predicts it.

    Args:
        inputs, targets: NumPy batches, samples first; inputs may be a tuple; targets None: the loss takes the output
            alone.
        micro_batch: samples at a time; the last part may be smaller.

    Returns:
        The mean loss of the batch, detached.

    Raises:
        ValueError: micro_batch below 1, an empty batch, or targets that are not one to a sample.
    """
    several = isinstance(inputs, tuple)
    count = len(inputs[0] if several else inputs)
    if micro_batch < 1 or count < 1:
        raise ValueError(
            f"accumulate_step: got micro_batch={micro_batch} and {count} samples, expected at least 1 of each"
        )
    if targets is not None and (np.ndim(targets) == 0 or len(targets) != count):
        raise ValueError(
            f"accumulate_step: targets have shape {np.shape(targets)}, expected {count} first, one to a sample"
        )
    optimizer.zero_grad()
    total = None
    for start in range(0, count, micro_batch):
        part = slice(start, start + micro_batch)
        x = tuple(a[part] for a in inputs) if several else inputs[part]
        share = min(micro_batch, count - start) / count
        loss = _backward(model, loss_fn, x, None if targets is None else targets[part], share, device, dtype)
        total = loss if total is None else total + loss
        del loss
    optimizer.step()
    return total


def _backward(
    model: Any, loss_fn: Any, inputs: Any, targets: Any, share: float, device: str, dtype: str | None
) -> Tensor:
    """Gradients of one micro-batch, weighted by its share; its memory is freed on return."""
    x = to_batch(inputs, device, dtype)
    output = model(*x) if isinstance(x, tuple) else model(x)
    loss = (loss_fn(output) if targets is None else loss_fn(output, to_batch(targets, device))) * share
    del output
    loss.backward()
    return loss.detach()


def eval_step(
    model: Any, loss_fn: Callable[..., Tensor] | None, inputs: Any, targets: Any, device: str = "cpu",
    dtype: str | None = None,
) -> tuple[Tensor | None, Any]:  # fmt: skip
    """(loss or None, output) of one batch without gradients, in the model's present mode."""
    with no_grad():
        x = to_batch(inputs, device, dtype)
        y = None if targets is None else to_batch(targets, device, dtype)
        output = model(*x) if isinstance(x, tuple) else model(x)
        if loss_fn is None:
            return None, output
        return (loss_fn(output) if y is None else loss_fn(output, y)), output


class Mean:
    """What is read after each batch: sums of loss and correct answers. The estimator passes one that reads nothing."""

    def __init__(self) -> None:
        self.total = self.correct = 0.0
        self.count = 0

    def __call__(self, loss: Tensor, targets: np.ndarray, scores: Tensor | None = None) -> None:
        self.total += loss.item() * len(targets)
        self.count += len(targets)
        if scores is not None:
            self.correct += int((scores.numpy().argmax(1) == targets).sum())


def train_epoch(
    model: Any, loss_fn: Callable[..., Tensor], optimizer: Any, batches: Iterable[tuple[Any, Any]],
    device: str = "cpu", after_step: Callable[[], None] | None = None, read: Callable[..., None] | None = None,
) -> float:  # fmt: skip
    """Trains on every batch; returns the mean loss (NaN if there is no batch).

    Args:
        batches: (inputs, targets) arrays.
        after_step: called after each step (a schedule's ``step``).
        read: called with (loss, targets) after each step instead of :class:`Mean`.
    """
    mean = Mean()
    for inputs, targets in batches:
        (read or mean)(train_step(model, loss_fn, optimizer, inputs, targets, device), targets)
        if after_step is not None:
            after_step()
    return mean.total / mean.count if mean.count else float("nan")


def evaluate(
    model: Any,
    loss_fn: Callable[..., Tensor],
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    device: str = "cpu",
    read: Callable[..., None] | None = None,
) -> tuple[float, float]:
    """(mean loss, accuracy) of a classifier over batches, in eval mode and without gradients."""
    was_training = model.training
    model.eval()
    mean = Mean()
    some = False
    try:
        for inputs, targets in batches:
            some = True
            _read(read or mean, targets, *eval_step(model, loss_fn, inputs, targets, device))
    finally:
        model.train(was_training)
    if not some:
        raise ValueError("evaluate: got no batches, expected at least one")
    return (mean.total / mean.count, mean.correct / mean.count) if mean.count else (float("nan"),) * 2


def _read(read: Callable[..., None], targets: Any, loss: Any, output: Any) -> None:
    read(loss, targets, output)


class Epoch(NamedTuple):
    """What :func:`fit` saw of one epoch; NaN where there was nothing to see."""

    train_loss: float
    #: of the held-out batches
    loss: float
    accuracy: float


def fit(
    model: Any, loss_fn: Any, optimizer: Any, train: Any, held_out: Any = None, *, epochs: int = 1,
    test_loss: Any = None, device: str = "cpu", after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[Epoch], Any] | None = None,
) -> list[Epoch]:  # fmt: skip
    """Trains for some epochs, each followed by :func:`evaluate`; refuses before its first step what would not fit.

    Args:
        train, held_out: :class:`fastcnn.data.Batches`.
        test_loss: the loss of the evaluation, default `loss_fn`.
        after_step: called after each step (a schedule's ``step``).
        after_epoch: called with each :class:`Epoch`; True ends the training.

    Raises:
        OutOfMemoryError: the training would pass ``memory.set_limit`` or the device's memory; nothing has run. The text
            has the table of the peak and the three cheapest changes that make a step fit.
    """
    from fastcnn.memory.checking import refuse_what_does_not_fit
    from fastcnn.memory.planning import ways

    if epochs < 1:
        raise ValueError(f"fit: epochs is {epochs}, expected at least 1")
    report = predict_training(model, loss_fn, optimizer, train, held_out, test_loss, device)

    def fixes(allowed: int) -> Any:
        batch = min(train.batch_size, len(train.inputs))
        target = (batch, *np.shape(train.targets)[1:]), str(np.asarray(train.targets).dtype)
        options = {"loss": loss_fn, "dtype": None, "device": device, "train": True, "target": target}
        shape = (batch, *np.shape(train.inputs)[1:])
        return ways(model, shape, optimizer, options, allowed, report.peak_bytes)

    refuse_what_does_not_fit(report, None, fixes)
    history: list[Epoch] = []
    for _ in range(epochs):
        model.train()
        seen = train_epoch(model, loss_fn, optimizer, train, device, after_step), float("nan"), float("nan")
        if held_out is not None:
            seen = seen[0], *evaluate(model, test_loss or loss_fn, held_out, device)
        history.append(Epoch(*seen))
        if after_epoch is not None and after_epoch(history[-1]) is True:
            break
    return history


def predict_training(
    model: Any, loss_fn: Any, optimizer: Any, train: Any, held_out: Any = None, test_loss: Any = None,
    device: str | None = None,
) -> Any:  # fmt: skip
    """The memory of a whole training, as a :class:`fastcnn.memory.Report`: epochs of :func:`train_epoch`, and
    :func:`evaluate` after each.

    Two epochs run on the meta twin. Of batches of one size that follow each other two are run: with the last, smaller
    one and the way back to the first, that is every step of another kind that the training has.

    Args:
        train, held_out: :class:`fastcnn.data.Batches`; only shapes and dtypes are looked at.
        test_loss: the loss of the evaluation, default `loss_fn`.
    """
    from fastcnn import memory

    def read(*ignored: Any) -> None:
        """A twin's losses have no values."""

    def epoch(model: Any, optimizer: Any, losses: Any) -> None:
        where = device if device is not None else "cpu"
        train_epoch(model, losses[0], optimizer, shapes_of(train), where, read=read)
        if held_out is not None:
            evaluate(model, losses[1], shapes_of(held_out), where, read=read)

    losses = loss_fn, loss_fn if test_loss is None else test_loss
    return memory.estimate_step(epoch, model, optimizer, losses, device=device)


def shapes_of(batches: Any) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Stand-ins, without memory, for the batches of one pass, runs of equal ones cut to two."""

    def like(array: np.ndarray, count: int) -> np.ndarray:
        return np.broadcast_to(np.zeros((), array.dtype), (count, *array.shape[1:]))

    full, rest = divmod(len(batches.inputs), batches.batch_size)
    sizes = [batches.batch_size] * min(full, 2) + ([rest] if rest and not batches.drop_last else [])
    for count in sizes:
        yield like(batches.inputs, count), like(batches.targets, count)
