"""A call of every public differentiable function, small and in float64, away from kinks: {name: [Case, ...]}.

`tests/test_gradients.py` differentiates each of them and names the functions that have no entry here. Arrays are
differentiated; everything else is passed as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastcnn
from fastcnn import functional as F

_rng = np.random.default_rng(20)


class Case(NamedTuple):
    """fn(*inputs) is a tensor or a tuple of tensors."""

    fn: Callable[..., Any]
    inputs: tuple[Any, ...]


def normal(*shape: int) -> np.ndarray:
    """Values of both signs."""
    return _rng.standard_normal(shape)


def distinct(*shape: int) -> np.ndarray:
    """Values that differ by at least 0.01, in random order: no maximum changes its place."""
    count = int(np.prod(shape))
    return (0.01 * (_rng.permutation(count) - count / 2)).reshape(shape)


def positive(*shape: int) -> np.ndarray:
    """0.3 to 2.3."""
    return 0.3 + 2 * _rng.random(shape)


def unit(*shape: int) -> np.ndarray:
    """0.1 to 0.9: probabilities."""
    return 0.1 + 0.8 * _rng.random(shape)


def integers(values: Any) -> Any:
    """An int64 tensor: indices, labels."""
    return fastcnn.tensor(np.array(values, np.int64))


def case(fn: Callable[..., Any], *inputs: Any) -> list[Case]:
    """One call."""
    return [Case(fn, inputs)]


def call(name: str, *more: Any, **keywords: Any) -> Callable[..., Any]:
    """The function of that name with further arguments."""
    function = getattr(F, name)
    return lambda x: function(x, *more, **keywords)


def constant(array: np.ndarray) -> Any:
    """A tensor that is not differentiated."""
    return fastcnn.tensor(array)


CASES: dict[str, list[Case]] = {}

# ---- pointwise ----
for _name in (
    "abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "neg", "round", "sign", "sin", "square", "celu", "elu",
    "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu",
    "relu6", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink",
):  # fmt: skip
    CASES[_name] = case(getattr(F, _name), 3 * normal(3, 5))
for _name in ["log", "log1p", "reciprocal", "rsqrt", "sqrt"]:
    CASES[_name] = case(getattr(F, _name), positive(3, 4))
for _name in ["add", "div", "maximum", "minimum", "mul", "sub"]:
    _f = getattr(F, _name)
    CASES[_name] = [
        Case(_f, (normal(3, 1, 4), positive(2, 1))),
        Case(lambda x, f=_f: f(x, 1.5), (positive(4),)),
        Case(lambda x, f=_f: f(-1.5, x), (positive(4),)),
    ]
CASES["pow"] = [
    Case(F.pow, (positive(3, 1), normal(1, 4))),
    Case(lambda x: F.pow(x, 2), (normal(4),)),
    Case(lambda x: F.pow(x, 3), (normal(4),)),
    Case(lambda x: F.pow(x, -0.5), (positive(4),)),
    Case(lambda x: F.pow(2.5, x), (normal(4),)),
]
CASES["clamp"] = case(lambda x: F.clamp(x, -0.7, 0.9), normal(4, 4))
CASES["threshold"] = case(lambda x: F.threshold(x, 0.2, -3.0), normal(4, 3))
CASES["gelu"] += case(lambda x: F.gelu(x, approximate="tanh"), normal(7))
CASES["where"] = [
    Case(lambda a, b: F.where(fastcnn.tensor([True, False, True]), a, b), (normal(2, 3), normal(3))),
    Case(lambda a: F.where(fastcnn.tensor([[True], [False]]), a, 4.0), (normal(3),)),
]
CASES["crelu"] = case(F.crelu, normal(2, 3, 2))
CASES["glu"] = case(F.glu, normal(3, 4))
CASES["maxout"] = case(lambda x: F.maxout(x, 3), normal(2, 6, 2))
CASES["prelu"] = [Case(F.prelu, (normal(2, 3, 4), unit(3))), Case(F.prelu, (normal(5), unit(1)))]
CASES["rrelu"] = [
    Case(F.rrelu, (normal(4, 5),)),
    Case(lambda x: F.rrelu(x, training=True, seed=1), (normal(4, 5),)),
]
for _name in ["log_softmax", "softmax", "softmin"]:
    CASES[_name] = case(call(_name, 1), normal(2, 4, 3))

# ---- shape ----
CASES["expand"] = case(lambda x: F.expand(x, 2, 3, 4), normal(3, 1))
CASES["flatten"] = case(lambda x: F.flatten(F.permute(x, 2, 0, 1), 1), normal(2, 3, 2))
CASES["permute"] = case(lambda x: F.permute(x, 2, 0, 1), normal(2, 3, 4))
CASES["reshape"] = case(lambda x: F.reshape(F.transpose(x, 0, 1), 4, -1), normal(2, 6))
CASES["squeeze"] = case(F.squeeze, normal(2, 1, 3))
CASES["transpose"] = case(lambda x: F.transpose(x, 0, -1), normal(2, 3, 2))
CASES["unsqueeze"] = case(lambda x: F.unsqueeze(x, 1), normal(2, 3))
CASES["cat"] = case(lambda a, b: F.cat([a, b, a], 1), normal(2, 1), normal(2, 3))
CASES["concat"] = case(lambda a, b: F.concat([a, b]), normal(2, 3), normal(1, 3))
CASES["stack"] = case(lambda a, b: F.stack([a, b], 1), normal(2, 3), normal(2, 3))
CASES["chunk"] = case(lambda x: F.chunk(x, 2, 1), normal(2, 5))
CASES["split"] = case(lambda x: F.split(x, [1, 3], 1)[1], normal(2, 4))
CASES["unbind"] = case(lambda x: F.unbind(x, 1), normal(2, 3))
CASES["narrow"] = case(lambda x: F.narrow(x, 0, 1, 2), normal(4, 2))
CASES["flip"] = case(lambda x: F.flip(x, (0, 2)), normal(2, 2, 3))
CASES["fliplr"] = case(F.fliplr, normal(2, 3))
CASES["flipud"] = case(F.flipud, normal(3, 2))
CASES["movedim"] = case(lambda x: F.movedim(x, 0, 2), normal(2, 3, 2))
CASES["repeat"] = case(lambda x: F.repeat(x, 2, 1, 3), normal(2, 2))
CASES["tile"] = case(lambda x: F.tile(x, (2,)), normal(2, 2))
CASES["roll"] = case(lambda x: F.roll(x, (1, -1), (0, 1)), normal(3, 4))
CASES["swapaxes"] = case(lambda x: F.swapaxes(x, 0, 1), normal(2, 3))
CASES["tril"] = case(F.tril, normal(3, 4))
CASES["triu"] = case(lambda x: F.triu(x, 1), normal(2, 3, 3))

# ---- indexing and sorting ----
CASES["getitem"] = [
    Case(lambda x: F.getitem(x, (slice(None, None, -2), None, 1)), (normal(5, 3),)),
    Case(lambda x: F.getitem(x, (integers([2, 0, 2]), slice(1, 3))), (normal(3, 4),)),
    Case(lambda x: F.getitem(x, fastcnn.tensor([True, False, True])), (normal(3, 2),)),
]
CASES["index_select"] = case(lambda x: F.index_select(x, 1, integers([2, 0, 2])), normal(2, 3))
CASES["select"] = case(lambda x: F.select(x, 1, 2), normal(2, 3))
CASES["take"] = case(lambda x: F.take(x, integers([[5, 0], [5, 1]])), normal(2, 3))
CASES["index_put"] = [
    Case(lambda x, v: F.index_put(x, [integers([0, 2])], v), (normal(3, 2), normal(2, 2))),
    Case(lambda x, v: F.index_put(x, [integers([1, 1])], v, True), (normal(3, 2), normal(2, 2))),
]
CASES["index_add"] = case(
    lambda x, s: F.index_add(x, 0, integers([1, 0, 1]), s, alpha=2), normal(3, 2), normal(3, 2)
)
CASES["masked_fill"] = case(lambda x: F.masked_fill(x, fastcnn.tensor([True, False]), 3.0), normal(3, 2))
CASES["masked_select"] = case(
    lambda x: F.masked_select(x, fastcnn.tensor([[True, False], [True, True]])), normal(2, 2)
)
CASES["gather"] = case(lambda x: F.gather(x, 1, integers([[2, 2, 0], [1, 0, 1]])), normal(2, 3))
CASES["take_along_dim"] = case(lambda x: F.take_along_dim(x, integers([[2], [0]]), 1), normal(2, 3))
CASES["scatter"] = case(
    lambda x, s: F.scatter(x, 1, integers([[2, 0], [1, 2]]), s), normal(2, 3), normal(2, 2)
)
CASES["scatter_add"] = case(
    lambda x, s: F.scatter_add(x, 1, integers([[2, 2], [1, 0]]), s), normal(2, 3), normal(2, 2)
)
CASES["sort"] = case(lambda x: F.sort(x, 1, descending=True)[0], normal(3, 5))
CASES["msort"] = case(F.msort, normal(4, 2))
CASES["topk"] = case(lambda x: F.topk(x, 2, 1)[0], normal(3, 5))
CASES["cumsum"] = case(lambda x: F.cumsum(x, 1), normal(2, 4))

# ---- reductions ----
for _name in ["amax", "amin", "mean", "norm", "prod", "std", "sum", "var"]:
    _f = getattr(F, _name)
    CASES[_name] = [
        Case(_f, (normal(3, 4),)),
        Case(lambda x, f=_f: f(x, dim=(0, -1), keepdim=True), (normal(2, 3, 4),)),
        Case(lambda x, f=_f: f(x, dim=1), (normal(2, 3, 2),)),
    ]
for _p in (1.0, 3.0, 0.5, float("inf"), float("-inf")):
    CASES["norm"] += case(lambda x, p=_p: F.norm(x, p, 1), normal(3, 4))
CASES["prod"] += case(lambda x: F.prod(x, 1), np.array([[0.0, 2, 3], [0, 0, 4], [1, 2, 3]]))
for _name in ["max", "min"]:
    _f = getattr(F, _name)
    CASES[_name] = [
        Case(_f, (normal(3, 4),)),
        Case(lambda x, f=_f: f(x, 1)[0], (normal(3, 4),)),
        Case(lambda x, f=_f: f(x, -2, True)[0], (normal(3, 4, 2),)),
        Case(_f, (normal(3, 4), normal(4))),
    ]
CASES["logsumexp"] = case(lambda x: F.logsumexp(x, (0, 2)), normal(2, 3, 2))

# ---- products ----
CASES["linear"] = case(F.linear, normal(2, 3, 4), normal(5, 4), normal(5))
CASES["bilinear"] = case(F.bilinear, normal(4, 2), normal(4, 3), normal(5, 2, 3), normal(5))
CASES["matmul"] = case(F.matmul, normal(2, 1, 3, 4), normal(2, 4, 2))
CASES["mm"] = case(F.mm, normal(2, 3), normal(3, 4))
CASES["bmm"] = case(F.bmm, normal(2, 2, 3), normal(2, 3, 2))
CASES["mv"] = case(F.mv, normal(2, 3), normal(3))
CASES["dot"] = case(F.dot, normal(4), normal(4))
CASES["outer"] = case(F.outer, normal(2), normal(3))

# ---- convolution ----
CASES["conv1d"] = case(
    lambda x, w, b: F.conv1d(x, w, b, 2, 2, 2), normal(2, 3, 9), normal(4, 3, 3), normal(4)
)
CASES["conv2d"] = [
    Case(
        lambda x, w, b: F.conv2d(x, w, b, 2, 1, groups=2), (normal(2, 4, 5, 4), normal(6, 2, 3, 3), normal(6))
    ),
    Case(lambda x, w: F.conv2d(x, w, padding="same", dilation=2), (normal(1, 2, 5, 6), normal(3, 2, 2, 3))),
    Case(lambda x, w: F.conv2d(x, w, groups=3), (normal(1, 3, 4, 5), normal(3, 1, 2, 2))),
]
CASES["conv3d"] = case(
    lambda x, w, b: F.conv3d(x, w, b, (1, 2, 1), 1), normal(1, 2, 3, 4, 3), normal(3, 2, 2, 3, 2), normal(3)
)
CASES["conv_transpose1d"] = case(
    lambda x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1), normal(2, 3, 4), normal(3, 2, 3), normal(2)
)
CASES["conv_transpose2d"] = case(
    lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 1), 1, groups=2),
    normal(1, 4, 3, 4), normal(4, 1, 3, 2), normal(2),
)  # fmt: skip
CASES["conv_transpose3d"] = case(
    lambda x, w: F.conv_transpose3d(x, w, None, 2), normal(1, 2, 2, 2, 3), normal(2, 2, 2, 1, 2)
)

# ---- pooling, padding, resizing ----
for _axes, _size in ((1, (2, 3, 7)), (2, (2, 2, 5, 6)), (3, (1, 2, 4, 3, 4))):
    CASES[f"max_pool{_axes}d"] = [
        Case(call(f"max_pool{_axes}d", 2), (distinct(*_size),)),
        Case(call(f"max_pool{_axes}d", 3, 1, 1, ceil_mode=True), (distinct(*_size),)),
        Case(call(f"max_pool{_axes}d", 2, relu=True), (distinct(*_size) - 7.3,)),
    ]
    CASES[f"avg_pool{_axes}d"] = [
        Case(call(f"avg_pool{_axes}d", 2), (distinct(*_size),)),
        Case(call(f"avg_pool{_axes}d", 3, 2, 1, True, False), (distinct(*_size),)),
    ]
    CASES[f"adaptive_max_pool{_axes}d"] = case(call(f"adaptive_max_pool{_axes}d", 2), distinct(*_size))
    CASES[f"adaptive_avg_pool{_axes}d"] = case(call(f"adaptive_avg_pool{_axes}d", 2), distinct(*_size))
    CASES[f"lp_pool{_axes}d"] = case(call(f"lp_pool{_axes}d", 3.0, 2), normal(*_size))
    _half = (*_size[:2], *(n // 2 for n in _size[2:]))
    _, _found = getattr(F, f"max_pool{_axes}d")(constant(distinct(*_size)), 2, return_indices=True)
    CASES[f"max_unpool{_axes}d"] = case(
        call(f"max_unpool{_axes}d", _found, 2, output_size=_size[2:]), normal(*_half)
    )
for _axes, _size in ((2, (2, 2, 5, 6)), (3, (1, 2, 4, 5, 4))):
    CASES[f"fractional_max_pool{_axes}d"] = case(
        call(f"fractional_max_pool{_axes}d", 2, 2, _random_samples=constant(unit(*_size[:2], _axes))),
        distinct(*_size),
    )
CASES["global_avg_pool"] = case(F.global_avg_pool, normal(2, 3, 2, 2))
CASES["global_max_pool"] = case(F.global_max_pool, distinct(2, 3, 2, 2))
CASES["pad"] = [
    Case(call("pad", (1, -1, 0, 2)), (normal(2, 3, 4),)),
    *(
        Case(call("pad", (2, 1), mode=mode), (normal(2, 3, 4),))
        for mode in ("reflect", "replicate", "circular")
    ),
]
CASES["interpolate"] = [
    Case(call("interpolate", 7), (normal(1, 2, 4),)),
    Case(call("interpolate", (3, 7), mode="bilinear"), (normal(1, 2, 4, 5),)),
    Case(call("interpolate", (6, 3), mode="bicubic", align_corners=True), (normal(1, 2, 4, 5),)),
]
CASES["upsample"] = case(call("upsample", scale_factor=2), normal(1, 2, 2, 3))
CASES["pixel_shuffle"] = case(call("pixel_shuffle", 2), normal(1, 4, 2, 3))
CASES["pixel_unshuffle"] = case(call("pixel_unshuffle", 2), normal(1, 1, 4, 2))
CASES["channel_shuffle"] = case(call("channel_shuffle", 2), normal(1, 4, 3))

# ---- dropout: the mask is a function of the seed ----
for _name in ["alpha_dropout", "dropout", "gaussian_dropout", "drop_path"]:
    CASES[_name] = case(call(_name, 0.4, True, seed=5), normal(6, 7))
CASES["dropout1d"] = case(lambda x: F.dropout1d(x, 0.4, seed=5), normal(3, 4, 2))
CASES["dropout2d"] = case(lambda x: F.dropout2d(x, 0.4, seed=5), normal(3, 4, 2, 2))
CASES["dropout3d"] = case(lambda x: F.dropout3d(x, 0.4, seed=5), normal(3, 4, 1, 2, 2))
CASES["feature_alpha_dropout"] = case(
    lambda x: F.feature_alpha_dropout(x, 0.4, True, seed=5), normal(3, 4, 2, 2)
)
CASES["drop_connect"] = case(
    lambda x, w, b: F.drop_connect(x, w, b, 0.4, seed=5), normal(4, 3), normal(5, 3), normal(5)
)

# ---- normalisation ----
CASES["batch_norm"] = [
    Case(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (normal(3, 4, 2, 3), positive(4), normal(4))
    ),
    Case(
        lambda x, w, b: F.batch_norm(
            x, fastcnn.tensor(np.array([0.1, -0.2])), fastcnn.tensor(np.array([0.8, 1.7])), w, b
        ),
        (normal(3, 2, 4), positive(2), normal(2)),
    ),
]
CASES["group_norm"] = case(lambda x, w, b: F.group_norm(x, 2, w, b), normal(2, 4, 3), positive(4), normal(4))
CASES["instance_norm"] = case(
    lambda x, w, b: F.instance_norm(x, weight=w, bias=b), normal(2, 3, 4, 2), positive(3), normal(3)
)
CASES["layer_norm"] = case(
    lambda x, w, b: F.layer_norm(x, (3, 4), w, b), normal(2, 3, 4), positive(3, 4), normal(3, 4)
)
CASES["rms_norm"] = case(lambda x, w: F.rms_norm(x, (4,), w, 1e-5), normal(3, 4), positive(4))
CASES["local_response_norm"] = case(lambda x: F.local_response_norm(x, 3, 0.5), normal(2, 5, 3))

# ---- losses ----
_signs = fastcnn.tensor(np.array([1.0, -1.0, 1.0]))
CASES["cross_entropy"] = [
    Case(lambda x: F.cross_entropy(x, integers([2, 0, -100]), label_smoothing=0.1), (normal(3, 4),)),
    Case(
        call("cross_entropy", integers([[1, 3], [0, 2]]), constant(np.array([0.5, 2, 1, 1.5]))),
        (normal(2, 4, 2),),
    ),
    Case(call("cross_entropy", constant(np.full((2, 3), 1 / 3))), (normal(2, 3),)),
]  # fmt: skip
CASES["nll_loss"] = case(lambda x: F.nll_loss(x, integers([1, 0])), normal(2, 3))
CASES["binary_cross_entropy"] = case(call("binary_cross_entropy", constant(unit(3, 2))), unit(3, 2))
CASES["binary_cross_entropy_with_logits"] = case(
    call("binary_cross_entropy_with_logits", constant(unit(3, 2))), normal(3, 2)
)
for _name in ["huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss"]:
    CASES[_name] = [
        Case(getattr(F, _name), (2 * normal(4, 3), 2 * normal(4, 3))),
        Case(call(_name, constant(2 * normal(5)), reduction="none"), (2 * normal(5),)),
    ]
CASES["kl_div"] = case(call("kl_div", constant(unit(3, 2))), normal(3, 2))
CASES["sigmoid_focal_loss"] = case(lambda x: F.sigmoid_focal_loss(x, fastcnn.tensor(np.eye(3))), normal(3, 3))
CASES["hinge_embedding_loss"] = case(lambda x: F.hinge_embedding_loss(x, _signs), normal(3))
CASES["soft_margin_loss"] = case(lambda x: F.soft_margin_loss(x, _signs), normal(3))
CASES["margin_ranking_loss"] = case(
    lambda a, b: F.margin_ranking_loss(a, b, _signs, 0.3), normal(3), normal(3)
)
CASES["cosine_embedding_loss"] = case(
    lambda a, b: F.cosine_embedding_loss(a, b, _signs, -0.9), normal(3, 4), normal(3, 4)
)

# ---- nothing to differentiate: why, and a call whose result must not pretend otherwise ----
_x = np.array([[1.0, -2.0, 3.0], [0.0, 5.0, -1.0]])
NOT_DIFFERENTIABLE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{
        name: ("a bool result", call(name, 0.5))
        for name in ["eq", "ge", "gt", "le", "logical_and", "logical_or", "logical_xor", "lt", "ne"]
    },
    **{
        name: ("a bool result", getattr(F, name))
        for name in ["all", "any", "isfinite", "isinf", "isnan", "logical_not"]
    },
    **{
        name: ("positions or counts", getattr(F, name))
        for name in ["argmax", "argmin", "argsort", "count_nonzero", "nonzero"]
    },
    "one_hot": ("takes integers", lambda x: F.one_hot(integers([0, 2]), 3)),
    "setitem": (
        "in place, refused where a gradient would be lost; index_put has one",
        lambda x: F.setitem(x.detach(), 0, 1.0),
    ),
}
SAMPLE = _x
