"""Losses. Names, defaults and reductions ("none", "mean", "sum") follow PyTorch; each is one kernel each way."""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy",
    "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss", "nll_loss",
    "sigmoid_focal_loss", "smooth_l1_loss", "soft_margin_loss",
]  # fmt: skip


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


# ---- one prediction against one target ------------------------------------------------------------------------------


class _Pointwise(Function):
    """Saves prediction and target."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, target: Tensor, op: str, options: Any) -> Tensor:
        ctx.call = op, options
        ctx.save_for_backward(x, target)
        return _core.pointwise_loss_forward(op, x, target, options)

    @staticmethod
    def backward(ctx: Context, dloss: Tensor) -> Any:
        x, target = ctx.saved_tensors
        op, options = ctx.call
        need_x, need_target = ctx.needs_input_grad[:2]
        return *_core.pointwise_loss_backward(op, x, target, dloss, options, need_x, need_target), None, None


def _pointwise(
    op: str, kind: str, x: Tensor, target: Tensor, reduction: str, p0: float = 0.0, p1: float = 0.0,
    weight: Tensor | None = None, pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    batch = reduction == "batchmean"
    options = _core.PointwiseLossOptions(
        op, kind, "mean" if batch else reduction, float(p0), float(p1), batch, weight, pos_weight
    )
    return _Pointwise.apply(x, target, op, options)


def mse_loss(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(input - target)^2.

    Args:
        input, target: equal shapes (an error otherwise: broadcasting (N, 1) against (N,) is a classic mistake).
        weight: a factor per element, broadcast; the mean still divides by the number of elements.
    """
    _no_legacy("mse_loss", size_average, reduce)
    return _pointwise("mse_loss", "mse", input, target, reduction, weight=weight)


def l1_loss(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """|input - target|, gradient 0 where equal; arguments as in :func:`mse_loss`."""
    _no_legacy("l1_loss", size_average, reduce)
    return _pointwise("l1_loss", "l1", input, target, reduction, weight=weight)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """d^2 / (2 beta) for d = |input - target| < beta, else d - beta/2 (Girshick 2015); beta 0 is l1."""
    _no_legacy("smooth_l1_loss", size_average, reduce)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta is {beta}, expected a number >= 0")
    return _pointwise("smooth_l1_loss", "smooth_l1", input, target, reduction, beta)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d^2 / 2 for d = |input - target| <= delta, else delta * (d - delta/2) (Huber 1964)."""
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta}, expected a number > 0")
    return _pointwise("huber_loss", "huber", input, target, reduction, delta, weight=weight)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, reduce: None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-(t log p + (1 - t) log(1 - p)) for probabilities p; logarithms are cut off at -100, p outside [0, 1] gives NaN.

    Prefer :func:`binary_cross_entropy_with_logits`, which does not lose p near 0 and 1.
    """
    _no_legacy("binary_cross_entropy", size_average, reduce)
    return _pointwise("binary_cross_entropy", "bce", input, target, reduction, weight=weight)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, reduce: None = None,
    reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """binary_cross_entropy(sigmoid(input), target), without overflow.

    Args:
        weight: a factor per element, broadcast to input.
        pos_weight: a factor of the positive term, broadcast to input (one per class for (N, C)).
    """
    _no_legacy("binary_cross_entropy_with_logits", size_average, reduce)
    return _pointwise(
        "binary_cross_entropy_with_logits",
        "bce_logits",
        input,
        target,
        reduction,
        weight=weight,
        pos_weight=pos_weight,
    )


def sigmoid_focal_loss(
    input: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> Tensor:
    """alpha_t (1 - p_t)^gamma * binary cross entropy with logits (Lin et al. 2017; names of torchvision).

    p_t is the probability of the true side, alpha_t = alpha for positives and 1 - alpha for negatives; a negative alpha
    leaves the factor out.
    """
    if not gamma >= 0:
        raise ValueError(f"sigmoid_focal_loss: gamma is {gamma}, expected a number >= 0")
    return _pointwise("sigmoid_focal_loss", "focal", input, target, reduction, alpha, gamma)


def kl_div(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target * (log(target) - input) for log probabilities `input`; 0 where target is 0.

    reduction "batchmean" divides the sum by the batch, which is the Kullback-Leibler divergence; "mean" divides by the
    number of elements. log_target: target holds log probabilities too.
    """
    _no_legacy("kl_div", size_average, reduce)
    return _pointwise("kl_div", "kl_div_log" if log_target else "kl_div", input, target, reduction)


# ---- made of other ops ----------------------------------------------------------------------------------------------


def _reduced(op: str, loss: Tensor, reduction: str) -> Tensor:
    from fastcnn import functional as F

    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{op}: reduction is {reduction!r}, expected 'none', 'mean' or 'sum'")
    return F.mean(loss) if reduction == "mean" else F.sum(loss)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: None = None, reduce: None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """x where target is 1, max(0, margin - x) where it is -1."""
    from fastcnn import functional as F

    _no_legacy("hinge_embedding_loss", size_average, reduce)
    near = F.where(F.ne(target, -1.0), input, 0.0)
    far = F.where(F.ne(target, 1.0), F.clamp(margin - input, min=0.0), 0.0)
    return _reduced("hinge_embedding_loss", near + far, reduction)


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean"
) -> Tensor:
    """log(1 + e^(-target * input)) for targets 1 and -1."""
    from fastcnn import functional as F

    _no_legacy("soft_margin_loss", size_average, reduce)
    return _reduced("soft_margin_loss", -F.logsigmoid(target * input), reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: None = None,
    reduce: None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, -target * (input1 - input2) + margin); target 1 ranks input1 higher, -1 input2."""
    from fastcnn import functional as F

    _no_legacy("margin_ranking_loss", size_average, reduce)
    return _reduced("margin_ranking_loss", F.clamp(margin - target * (input1 - input2), min=0.0), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: None = None,
    reduce: None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1.

    Args:
        input1, input2: (N, D) or (D,).
        target: (N,) or (), of 1 and -1, in the inputs' dtype.
    """
    from fastcnn import functional as F

    _no_legacy("cosine_embedding_loss", size_average, reduce)
    epsilon = 1e-12
    dot = F.sum(input1 * input2, -1)
    sizes = (F.sum(F.square(input1), -1) + epsilon) * (F.sum(F.square(input2), -1) + epsilon)
    cosine = dot * F.rsqrt(sizes)
    loss = F.where(F.eq(target, 1.0), 1.0 - cosine, F.clamp(cosine - margin, min=0.0))
    return _reduced("cosine_embedding_loss", loss, reduction)
