"""Losses. Names, defaults and reductions ("none", "mean", "sum") follow PyTorch; each is one kernel each way."""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor

__all__ = ["cross_entropy", "nll_loss"]


def _no_legacy(op: str, size_average: Any, reduce: Any) -> None:
    if size_average is not None or reduce is not None:
        raise TypeError(
            f"{op}: size_average and reduce were dropped by PyTorch too; use reduction='none'|'mean'|'sum'"
        )


class _CrossEntropy(Function):
    """Saves the logits and one number per position (log sum exp), which is what the softmax costs less a row.

    Keeping the softmax instead would be a second tensor of the logits' size beside logits that the caller mostly holds
    anyway (to print the accuracy).
    """

    @staticmethod
    def forward(ctx: Context, x: Tensor, target: Tensor, options: Any) -> Tensor:
        loss, saved = _core.cross_entropy_forward(x, target, options)
        ctx.options = options
        ctx.save_for_backward(x, target, saved)
        return loss

    @staticmethod
    def backward(ctx: Context, dloss: Tensor) -> Any:
        x, target, saved = ctx.saved_tensors
        need_x, need_target = ctx.needs_input_grad[:2]
        return *_core.cross_entropy_backward(x, target, saved, dloss, ctx.options, need_x, need_target), None


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100,
    reduce: None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Softmax and negative log likelihood in one: -log softmax(input)[target].

    Args:
        input: logits (C,), (N, C) or (N, C, d1, ...).
        target: class indices (int64, int32 or uint8) of input's shape without the class axis, or probabilities of
            input's shape and dtype. A class of probability 0 adds nothing, even if its logit is -inf.
        weight: (C,) factor of each class.
        ignore_index: positions with this index count nowhere and get no gradient.
        reduction: "mean" divides by the sum of the weights of the targets that count (with probabilities by the number
            of positions); nothing counted, or an empty batch, gives NaN.
        label_smoothing: this share of each target is spread evenly over all classes (Szegedy et al. 2016).

    Raises:
        IndexError: a class index outside 0 .. C-1, with its value and place.
        ValueError, TypeError: shapes or dtypes that do not fit.
    """
    _no_legacy("cross_entropy", size_average, reduce)
    options = _core.CrossEntropyOptions(weight, int(ignore_index), reduction, float(label_smoothing), False)
    return _CrossEntropy.apply(input, target, options)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100,
    reduce: None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-input[target] for log probabilities (C,), (N, C) or (N, C, d1, ...); arguments as in :func:`cross_entropy`."""
    _no_legacy("nll_loss", size_average, reduce)
    options = _core.CrossEntropyOptions(weight, int(ignore_index), reduction, 0.0, True)
    return _CrossEntropy.apply(input, target, options)
