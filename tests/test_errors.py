"""Bad input beyond convolution (tests/test_conv_errors.py has that): each case's type and text, nothing left behind.

A refused call leaves the memory counters and the random state as they were, and the next correct call works.
"""
# ruff: noqa: E501 - tables, one case a line

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn, optim
from fastcnn.grad_mode import is_grad_enabled


def z(*shape: int, **keywords: Any) -> Any:
    """Zeros."""
    return fastcnn.zeros(*shape, **keywords)


def leaf(*shape: int) -> Any:
    """Zeros that require a gradient."""
    return fastcnn.zeros(*shape, requires_grad=True)


def ints(values: Any) -> Any:
    """An int64 tensor."""
    return fastcnn.tensor(np.array(values, np.int64))


class Bad(NamedTuple):
    """call() raises kind with this text (a regular expression)."""

    name: str
    call: Callable[[], Any]
    kind: type[Exception]
    text: str


def twice() -> None:
    y = (leaf(2) * leaf(2)).sum()
    y.backward()
    y.backward()


def changed_after_saving() -> None:
    x, w = leaf(2), leaf(2)
    y = x * w
    with fastcnn.no_grad():
        w.add_(1.0)
    y.sum().backward()


def layer_norm_sizes(*sizes: int) -> Any:
    return F.layer_norm(z(2, 3), sizes)


POOL = [
    Bad("rank", lambda: F.max_pool2d(z(2, 3), 2), ValueError, r"max_pool2d: expected 3D .* or 4D .*, got shape \(2, 3\)"),
    Bad("kernel larger than the input", lambda: F.max_pool2d(z(1, 1, 3, 3), 5), ValueError,
        r"max_pool2d: kernel height \(5\) is larger than the padded input: got input 3 \+ padding 0; use kernel_size<=3"),
    Bad("kernel 0", lambda: F.max_pool2d(z(1, 1, 3, 3), 0), ValueError, "max_pool2d: kernel height is 0, expected at least 1"),
    Bad("stride 0", lambda: F.avg_pool1d(z(1, 1, 3), 2, 0), ValueError, "avg_pool1d: stride .* got 0 along width"),
    Bad("stride -1", lambda: F.avg_pool3d(z(1, 1, 3, 3, 3), 2, -1), ValueError, "avg_pool3d: stride .* got -1 along depth"),
    Bad("dilation 0", lambda: F.max_pool2d(z(1, 1, 3, 3), 2, dilation=0), ValueError,
        "max_pool2d: dilation along height is 0, expected at least 1"),
    Bad("padding", lambda: F.max_pool2d(z(1, 1, 3, 3), 2, padding=2), ValueError, "max_pool2d: pad .* got 2 .* expected 0 to 1"),
    Bad("negative padding", lambda: F.avg_pool2d(z(1, 1, 3, 3), 2, padding=-1), ValueError, "avg_pool2d: pad .* got -1 "),
    Bad("half a kernel", lambda: F.max_pool2d(z(1, 1, 3, 3), 1.5), TypeError,
        "max_pool2d: kernel_size is 1.5, expected an int or a tuple of 2 ints"),
    Bad("three numbers", lambda: F.max_pool2d(z(1, 1, 3, 3), (1, 2, 3)), ValueError,
        r"max_pool2d: kernel_size has 3 entries \(1, 2, 3\), expected an int or 2 ints"),
    Bad("bool image", lambda: F.max_pool2d(z(1, 1, 3, 3, dtype="bool"), 2), TypeError, "max_pool2d: got a bool tensor, expected a float"),
    Bad("integer image", lambda: F.avg_pool2d(z(1, 1, 3, 3, dtype="uint8"), 2), TypeError,
        r'avg_pool2d: this op takes float tensors, got uint8; convert with .to\("float32"\) \(and scale images'),
    Bad("divisor 0", lambda: F.avg_pool2d(z(1, 1, 3, 3), 2, divisor_override=0), ValueError, "avg_pool2d: divisor_override is 0, expected"),
    Bad("output -1", lambda: F.adaptive_avg_pool2d(z(1, 1, 3, 3), -1), ValueError,
        "adaptive_avg_pool2d: output_size along height is -1, expected 0 or more"),
    Bad("unpool shapes", lambda: F.max_unpool2d(z(1, 1, 3, 3), ints(np.zeros((1, 1, 2, 2))), 2), ValueError,
        r"max_unpool2d: indices have shape \(1, 1, 2, 2\), expected that of the input, \(1, 1, 3, 3\)"),
]  # fmt: skip

NORM = [
    Bad("rank", lambda: F.batch_norm(z(3), None, None, training=True), ValueError, r"batch_norm: input has shape \(3,\), expected \(N, C\)"),
    Bad("weight", lambda: F.batch_norm(z(2, 3), None, None, z(4), None, True), ValueError,
        r"batch_norm: weight has shape \(4,\), expected \(3,\), one entry per channel of input \(2, 3\)"),
    Bad("no statistics", lambda: F.batch_norm(z(2, 3), None, None), ValueError, "batch_norm: training=False needs running_mean .*, got None"),
    Bad("one value", lambda: F.batch_norm(z(1, 3), None, None, training=True), ValueError,
        r"batch_norm: one value per channel in training, got input \(1, 3\), expected N\*H\*W > 1 .*; use a larger batch or eval"),
    Bad("statistics", lambda: F.batch_norm(z(2, 3), z(4), z(4)), ValueError, r"batch_norm: running_mean has shape \(4,\), expected \(3,\)"),
    Bad("dtypes", lambda: F.batch_norm(z(2, 3), None, None, z(3, dtype="float64"), None, True), TypeError,
        r'batch_norm: dtypes differ, got float32 and float64, expected equal ones .*; convert with .to\("float32"\)'),
    Bad("integers", lambda: F.layer_norm(z(2, 3, dtype="int64"), (3,)), TypeError, "layer_norm: this op takes float tensors, got int64; convert"),
    Bad("groups", lambda: F.group_norm(z(2, 3, 4), 2), ValueError,
        r"group_norm: 2 groups do not divide the channels of input \(2, 3, 4\), expected num_channels % num_groups == 0"),
    Bad("groups 0", lambda: F.group_norm(z(2, 3, 4), 0), ValueError, "group_norm: 0 groups do not divide"),
    Bad("normalized_shape", lambda: layer_norm_sizes(4), ValueError,
        r"layer_norm: normalized_shape is \(4,\), expected the last axes of input \(2, 3\)"),
    Bad("no axes", lambda: layer_norm_sizes(), ValueError, r"layer_norm: normalized_shape is \(\), expected the last axes"),
    Bad("instance", lambda: F.instance_norm(z(2, 3)), ValueError, r"instance_norm: input has shape \(2, 3\), expected \(N, C, ...\)"),
    Bad("response", lambda: F.local_response_norm(z(2, 3, 4), 0), ValueError, "local_response_norm: size is 0, expected at least 1"),
    Bad("layer's rank", lambda: nn.BatchNorm2d(3)(z(2, 3)), ValueError, r"BatchNorm2d: input has shape \(2, 3\), expected \(N, C, H, W\)"),
    Bad("layer's groups", lambda: nn.GroupNorm(2, 3), ValueError, "GroupNorm: 2 groups do not divide 3 channels, expected"),
]  # fmt: skip

PRODUCT = [
    Bad("linear features", lambda: F.linear(z(2, 3), z(4, 5)), ValueError,
        r"linear: input has shape \(2, 3\), expected \(..., 5\) for weight \(4, 5\); flatten the axes behind the batch, or build"),
    Bad("32 biases for 16 outputs", lambda: F.linear(z(2, 3), z(16, 3), z(32)), ValueError,
        r"linear: bias has shape \(32,\), expected \(16,\): the layer has 16 output features"),
    Bad("linear dtypes", lambda: F.linear(z(2, 3), z(4, 3, dtype="float64")), TypeError, "linear: dtypes differ, got float32 and float64, expected"),
    Bad("linear devices", lambda: F.linear(z(2, 3), z(4, 3, device="meta")), ValueError,
        r'linear: tensors on different devices, got cpu and meta, expected one; move one with .to\("cpu"\)'),
    Bad("linear integers", lambda: F.linear(z(2, 3, dtype="uint8"), z(4, 3, dtype="uint8")), TypeError, "linear: this op takes float tensors, got uint8; convert"),
    Bad("bilinear", lambda: F.bilinear(z(2, 3), z(2, 4), z(5, 3, 3)), ValueError, r"bilinear: weight has shape \(5, 3, 3\), expected \(out_features, 3, 4\)"),
    Bad("mm", lambda: F.mm(z(2, 3), z(2, 3)), ValueError, r"mm: inner extents differ, got \(2, 3\) and \(2, 3\), expected .* \(3\) .* \(2\)"),
    Bad("bmm", lambda: F.bmm(z(2, 3, 4), z(3, 4, 5)), ValueError, "bmm: got batches of 2 and 3, expected equal ones"),
    Bad("dot", lambda: F.dot(z(2), z(3)), ValueError, r"dot: got \(2,\) and \(3,\), expected vectors of one length"),
    Bad("outer", lambda: F.outer(z(2, 2), z(3)), ValueError, r"outer: got shapes \(2, 2\) and \(3,\), expected 1 and 1 axes"),
    Bad("matmul", lambda: z(2, 3) @ z(4, 5), ValueError, r"matmul: inner extents differ, got \(2, 3\) and \(4, 5\), expected"),
    Bad("negative features", lambda: nn.Linear(-1, 4), ValueError, "Linear: got -1 and 4 features, expected numbers >= 0"),
]  # fmt: skip

LOSS = [
    Bad("class", lambda: F.cross_entropy(z(2, 3), ints([0, 3])), IndexError,
        r"cross_entropy: target 3 at position 1 is out of range, expected 0 to 2 \(3 classes\) or ignore_index -100"),
    Bad("float classes", lambda: F.cross_entropy(z(2, 3), z(2)), ValueError,
        r"cross_entropy: target probabilities have shape \(2,\), expected the input's \(2, 3\); class indices must be integers"),
    Bad("batch", lambda: F.cross_entropy(z(2, 3), ints([0, 1, 2])), ValueError, r"cross_entropy: target has shape \(3,\), expected \(2,\)"),
    Bad("weight", lambda: F.cross_entropy(z(2, 3), ints([0, 1]), z(2)), ValueError, r"cross_entropy: weight has shape \(2,\), expected \(3,\)"),
    Bad("reduction", lambda: F.cross_entropy(z(2, 3), ints([0, 1]), reduction="avg"), ValueError,
        "cross_entropy: reduction is 'avg', expected 'none', 'mean' or 'sum'"),
    Bad("smoothing", lambda: F.cross_entropy(z(2, 3), ints([0, 1]), label_smoothing=2.0), ValueError,
        "cross_entropy: label_smoothing is 2, expected a number from 0 to 1"),
    Bad("nll", lambda: F.nll_loss(z(2, 3), ints([0, -1])), IndexError, "nll_loss: target -1 at position 1 is out of range, expected 0 to 2"),
    Bad("mse shapes", lambda: F.mse_loss(z(2, 3), z(2, 4)), ValueError,
        r"mse_loss: input has shape \(2, 3\) and target \(2, 4\), expected equal shapes; reshape one"),
    Bad("mse dtypes", lambda: F.mse_loss(z(2), z(2, dtype="float64")), TypeError, "mse_loss: dtypes differ, got float32 and float64, expected"),
    Bad("huber", lambda: F.huber_loss(z(2), z(2), delta=0.0), ValueError, "huber_loss: delta is 0.0, expected a number > 0"),
    Bad("smooth", lambda: F.smooth_l1_loss(z(2), z(2), beta=-1.0), ValueError, "smooth_l1_loss: beta is -1.0, expected a number >= 0"),
]  # fmt: skip

RESIZE = [
    Bad("nothing", lambda: F.interpolate(z(1, 1, 4)), ValueError, "interpolate: got size None and scale_factor None, expected one of them"),
    Bad("both", lambda: F.interpolate(z(1, 1, 4), 8, 2.0), ValueError, "interpolate: got size 8 and scale_factor 2.0, expected one of them"),
    Bad("axes", lambda: F.interpolate(z(1, 1, 4), 8, mode="bilinear"), ValueError,
        r"interpolate: mode 'bilinear' takes 2 spatial axes, got shape \(1, 1, 4\)"),
    Bad("mode", lambda: F.interpolate(z(1, 1, 4), 8, mode="foo"), ValueError, "interpolate: mode is 'foo', expected one of nearest"),
    Bad("to nothing", lambda: F.interpolate(z(1, 1, 4), 0), ValueError, r"interpolate: from \(4,\) to \(0,\), expected extents of at least 1"),
    Bad("numbers", lambda: F.interpolate(z(1, 1, 4, 4), (1, 2, 3)), ValueError, "interpolate: size has 3 entries .*, expected one number or 2"),
    Bad("integers", lambda: F.interpolate(z(1, 1, 4, dtype="int64"), 8, mode="linear"), TypeError, "interpolate: this op takes float .*, got int64"),
    Bad("corners", lambda: F.interpolate(z(1, 1, 4), 8, align_corners=True), ValueError, "interpolate: align_corners .* 'nearest'; leave it out"),
    Bad("shuffle", lambda: F.pixel_shuffle(z(1, 3, 2, 2), 2), ValueError, "pixel_shuffle: 3 channels with .* 2, expected a multiple of 4"),
    Bad("pad numbers", lambda: F.pad(z(1, 1, 3), (1,)), ValueError, r"pad: got 1 numbers for shape \(1, 1, 3\), expected a pair for each"),
    Bad("pad mode", lambda: F.pad(z(1, 1, 3), (1, 1), mode="foo"), ValueError, "pad: mode is 'foo', expected constant"),
    Bad("reflect", lambda: F.pad(z(1, 1, 3), (3, 0), mode="reflect"), ValueError, r"pad: reflect padding \(3, 0\) .* expected at most 2"),
    Bad("crop", lambda: F.pad(z(1, 1, 3), (-2, -2)), ValueError, r"pad: cropping .* got \(1, 1, -1\), expected extents >= 0"),
]  # fmt: skip

SHAPE = [
    Bad("cat nothing", lambda: F.cat([]), ValueError, "cat: got no tensors, expected at least one"),
    Bad("cat shapes", lambda: F.cat([z(2, 3), z(3, 4)], 0), ValueError,
        r"cat: shapes differ, got \(2, 3\) and \(3, 4\), expected equal extents on every axis but 0"),
    Bad("cat axis", lambda: F.cat([z(2, 3), z(2, 3)], 2), IndexError, "cat: dim 2 is out of range, expected -2 to 1"),
    Bad("cat dtypes", lambda: F.cat([z(2), z(2, dtype="float64")]), TypeError, "cat: dtypes differ, got float32 and float64, expected"),
    Bad("cat numbers", lambda: F.cat([z(2), 3]), TypeError, "cat: got a int among the parts, expected tensors"),
    Bad("cat devices", lambda: F.cat([z(2), z(2, device="meta")]), ValueError, "cat: tensors on different devices, got cpu and meta, expected one; move"),
    Bad("stack", lambda: F.stack([z(2), z(3)]), ValueError, r"stack: got shapes \(2,\) and \(3,\), expected equal ones"),
    Bad("reshape count", lambda: z(2, 3).reshape(4, 2), ValueError,
        r"reshape: shape \(4, 2\) has 8 elements, got a tensor of 6, expected as many; one extent may be -1"),
    Bad("reshape -1 -1", lambda: z(2, 3).reshape(-1, -1), ValueError, r"reshape: only one axis can be -1, got \(-1, -1\)"),
    Bad("reshape -1", lambda: z(2, 3).reshape(-1, 4), ValueError,
        r"reshape: cannot infer -1 in \(-1, 4\), got a tensor of 6 elements, expected a multiple of 4"),
    Bad("reshape -2", lambda: z(2, 3).reshape(-2, 3), ValueError, r"reshape: negative extent in \(-2, 3\), expected 0 or more, or one -1"),
    Bad("reshape halves", lambda: z(2, 3).reshape(2.5), TypeError, r"reshape: got \(2.5,\), expected ints as extents"),
    Bad("reshape above 2^63", lambda: z(2, 3).reshape(2**32, 2**32), ValueError, r"tensor: shape \(.*\) has more than 2\^63 elements"),
    Bad("flatten", lambda: z(2, 3, 4).flatten(2, 1), ValueError, r"flatten: got start_dim 2 and end_dim 1 for .*, expected two axes from -3 to 2"),
    Bad("permute count", lambda: z(2, 3).permute(0), ValueError, r"permute: got 1 axes, expected 2 for shape \(2, 3\); name each axis once"),
    Bad("permute twice", lambda: z(2, 3).permute(0, 0), ValueError, r"permute: axis 0 is named twice, got \(0, 0\), expected each of 2 axes once"),
    Bad("transpose", lambda: z(2, 3).transpose(0, 2), IndexError, r"transpose: dim 2 is out of range for shape \(2, 3\), expected -2 to 1"),
    Bad("squeeze", lambda: z(2).squeeze(3), IndexError, r"squeeze: dim 3 is out of range for shape \(2,\), expected -1 to 0"),
    Bad("squeeze half", lambda: z(2).squeeze((0.5,)), TypeError, "squeeze: dim is 0.5, expected an int"),
    Bad("unsqueeze", lambda: z(2).unsqueeze(3), IndexError, "unsqueeze: dim 3 out of range, expected -2 to 1"),
    Bad("expand", lambda: z(2, 3).expand(2, 4), ValueError, "expand: axis 1 has 3 elements, got 4, expected 3"),
    Bad("split", lambda: z(5).split([2, 2]), ValueError, r"split: got sizes \[2, 2\] for axis 0 of \(5,\), expected a sum of 5"),
    Bad("chunk", lambda: z(5).chunk(0), ValueError, "chunk: got 0 chunks, expected at least 1"),
    Bad("narrow", lambda: z(5).narrow(0, 3, 4), ValueError, "narrow: got start 3 and length 4 for an axis of 5 elements, expected"),
    Bad("repeat", lambda: z(2, 3).repeat(2), ValueError, r"repeat: got 1 numbers for shape \(2, 3\), expected 2 or more; tile takes fewer"),
    Bad("add", lambda: z(2, 3) + z(4), ValueError, r"add: shapes do not broadcast, got \(2, 3\) and \(4,\), expected equal extents or 1 on axis -1"),
    Bad("add text", lambda: z(2) + "a", TypeError, "add: got Tensor and str, expected tensors .*; make tensors with fastcnn.tensor"),
    Bad("add_ grows", lambda: z(2).add_(z(2, 2)), ValueError, r"add: in-place result has shape \(2, 2\), expected the target's \(2,\)"),
    Bad("exp of integers", lambda: F.exp(z(2, dtype="int64")), TypeError, "exp: this op takes float tensors, got int64; convert"),
    Bad("empty max", lambda: F.max(z(0)), ValueError, r"max: nothing to take the max of, got shape \(0,\), expected at least one element"),
    Bad("sum axis", lambda: z(2).sum(1), IndexError, "sum: axis out of range, got 1, expected -1 to 0"),
    Bad("sum axis twice", lambda: z(2, 2).sum((0, 0)), ValueError, r"sum: dim 0 appears twice in \(0, 0\)"),
    Bad("mean of integers", lambda: z(2, dtype="int64").mean(), TypeError, "mean: this op takes float tensors, got int64; convert"),
    Bad("norm's p", lambda: z(2).norm("fro"), TypeError, "norm: p is 'fro', expected a number; 2 is the Euclidean"),
    Bad("norm of integers", lambda: z(2, dtype="int64").norm(), TypeError, "norm: this op takes float tensors, got int64; convert"),
    Bad("softmax axis", lambda: F.softmax(z(2), 1), IndexError, r"softmax: dim 1 is out of range for shape \(2,\), expected -1 to 0"),
]  # fmt: skip

INDEX = [
    Bad("position", lambda: z(3)[5], IndexError, r"index: 5 is out of range for axis 0 of shape \(3,\)"),
    Bad("too many", lambda: z(3)[0, 0], IndexError, r"index: got 2 indices for shape \(3,\), expected at most 1"),
    Bad("half", lambda: z(3)[1.5], TypeError, "index: got float, expected ints, slices"),
    Bad("tensor", lambda: z(3)[ints([0, 7])], IndexError, "index: index 7 is out of range for axis 0 with 3 elements, expected -3 to 2"),
    Bad("float tensor", lambda: z(3)[z(1)], TypeError, "index: got a float32 tensor, expected int64, int32 or bool; convert"),
    Bad("mask", lambda: z(3)[fastcnn.tensor([True, False])], IndexError, r"index: mask has shape \(2,\), expected \(3,\)"),
    Bad("write shape", lambda: z(3).__setitem__(slice(0, 2), z(3)), ValueError, r"setitem: .*got \(3,\) and \(2,\), expected"),
    Bad("write halves", lambda: z(3, dtype="int64").__setitem__(0, 1.5), TypeError, "setitem: the number does not fit .*, got 1.5 and int64, expected an integer"),
    Bad("index_select", lambda: F.index_select(z(3, 3), 0, ints([3])), IndexError, "index_select: index 3 is out of range .*, expected -3 to 2"),
    Bad("gather", lambda: F.gather(z(3, 3), 0, ints([0])), ValueError, r"gather: index has shape \(1,\), expected 2 axes like \(3, 3\)"),
    Bad("scatter", lambda: F.scatter(z(3, 3), 0, ints([[5]]), z(1, 1)), IndexError, "scatter: index 5 is out of range for dim 0 with 3 .*, expected 0 to 2"),
    Bad("masked_fill", lambda: F.masked_fill(z(3), z(3), 0.0), TypeError, "masked_fill: mask is float32, expected a bool tensor; compare first"),
    Bad("take", lambda: F.take(z(3), ints([3])), IndexError, "take: index 3 is out of range .*, expected -3 to 2"),
    Bad("topk", lambda: F.topk(z(3), 4), ValueError, r"topk: k is 4, expected at most the 3 elements of dim 0 of shape \(3,\)"),
    Bad("where", lambda: F.where(z(3), z(3), z(3)), TypeError, "where: condition is float32, expected bool; compare first"),
    Bad("one_hot", lambda: F.one_hot(ints([0, 5]), 3), IndexError, "one_hot: index 5 is out of range .*, expected 0 to 2"),
]  # fmt: skip

DROPOUT = [
    Bad(f"{name} {p}", lambda name=name, p=p: getattr(F, name)(z(2, 3, 4, 4), p, True), ValueError,
        rf"{name}: p is {p}, expected a probability of dropping from 0 to 1")
    for name in ("dropout", "alpha_dropout", "drop_path", "dropout2d", "feature_alpha_dropout")
    for p in (1.5, -0.1, float("nan"), float("inf"))
] + [
    Bad("layer", lambda: nn.Dropout(1.5), ValueError, "Dropout: p is 1.5, expected a probability of dropping from 0 to 1"),
    Bad("integers", lambda: F.dropout(z(2, dtype="int64"), 0.5), TypeError, "dropout: got a int64 tensor, expected a float dtype; convert"),
    Bad("gaussian", lambda: F.gaussian_dropout(z(2), 1.0), ValueError, "gaussian_dropout: p is 1, expected p < 1"),
    Bad("rank", lambda: F.dropout2d(z(2), 0.5), ValueError, r"dropout2d: input has shape \(2,\), expected \(N, C, ...\)"),
]  # fmt: skip

OPTIM = [
    Bad("lr", lambda: optim.SGD([leaf(2)], lr=-1.0), ValueError, "SGD: lr is -1.0, expected >= 0"),
    Bad("lr nan", lambda: optim.Adam([leaf(2)], lr=float("nan")), ValueError, "Adam: lr is nan, expected >= 0"),
    Bad("lr text", lambda: optim.Adam([leaf(2)], lr="a"), TypeError, "Adam: lr is 'a', expected a number"),
    Bad("nothing", lambda: optim.SGD([], lr=1.0), ValueError, r"SGD: got no parameters; pass model.parameters\(\)"),
    Bad("numbers", lambda: optim.SGD([3], lr=1.0), TypeError, "SGD: got a int among the parameters, expected tensors"),
    Bad("one tensor", lambda: optim.SGD(leaf(2), lr=1.0), TypeError, r"SGD: got a single Tensor, expected an iterable .*; pass model.parameters\(\)"),
    Bad("twice", lambda: (lambda p: optim.SGD([p, p], lr=1.0))(leaf(2)), ValueError, r"SGD: a parameter of shape \(2,\) appears twice, expected"),
    Bad("computed", lambda: optim.SGD([leaf(2) * 2], lr=1.0), ValueError, r"SGD: got a tensor that was computed, expected leaves; use .detach"),
    Bad("momentum", lambda: optim.SGD([leaf(2)], lr=1.0, momentum=-1.0), ValueError, "SGD: momentum is -1.0, expected >= 0"),
    Bad("nesterov", lambda: optim.SGD([leaf(2)], lr=1.0, nesterov=True), ValueError, "SGD: nesterov got momentum 0.0 .*, expected momentum > 0"),
    Bad("betas", lambda: optim.Adam([leaf(2)], betas=(1.0, 0.9)), ValueError, r"Adam: betas is \(1.0, 0.9\), expected >= 0 and < 1"),
    Bad("one beta", lambda: optim.Adam([leaf(2)], betas=0.9), TypeError, "Adam: betas is 0.9, expected two numbers, such as"),
    Bad("three betas", lambda: optim.AdamW([leaf(2)], betas=(0.9, 0.9, 0.9)), TypeError, "AdamW: betas is .*, expected two numbers"),
    Bad("group", lambda: optim.Adam([{"lr": 0.1}]), ValueError, r"Adam: got a group with \['lr'\], expected one with 'params'; add"),
    Bad("no state", lambda: optim.Adam([leaf(2)]).load_state_dict({}), ValueError,
        r"Adam: the state is \[\], expected a mapping with 'state' and 'param_groups'; pass what an optimizer's state_dict"),
    Bad("state's shape", lambda: optim.Adam([leaf(2)]).load_state_dict(optim.Adam([leaf(3)]).state_dict()), ValueError,
        r"Adam: exp_avg of parameter 0 has shape \(3,\), expected \(2,\)"),
    Bad("state's count", lambda: optim.Adam([leaf(2)]).load_state_dict(optim.Adam([leaf(2), leaf(2)]).state_dict()), ValueError,
        r"Adam: the state has groups of \[2\] parameters, expected \[1\]"),
]  # fmt: skip

MODULE = [
    Bad("missing", lambda: nn.Linear(2, 3).load_state_dict({}), ValueError,
        r"load_state_dict: 2 of the entries do not fit Linear; nothing was loaded; strict=False .*\n  weight: missing in the state"),
    Bad("unexpected", lambda: nn.Linear(2, 3).load_state_dict({**nn.Linear(2, 3).state_dict(), "x": z(1)}), ValueError,
        r"load_state_dict: 1 of .*\n  x: unexpected, the model has no such entry"),
    Bad("shapes", lambda: nn.Linear(2, 3).load_state_dict(nn.Linear(2, 4).state_dict()), ValueError,
        r"load_state_dict: 2 of .*\n  weight: has shape \(4, 2\), expected \(3, 2\)\n  bias: bias has 4 entries, layer has 3"),
    Bad("no mapping", lambda: nn.Linear(2, 3).load_state_dict(3), TypeError, "load_state_dict: got int, expected a mapping of names to arrays"),
    Bad("kernel 0", lambda: nn.Conv2d(3, 4, 0), ValueError, r"Conv2d: kernel_size is \(0, 0\), expected every entry >= 1"),
    Bad("groups", lambda: nn.Conv2d(3, 4, 1, groups=2), ValueError, "Conv2d: in_channels must be divisible by groups, got in_channels 3 and groups 2"),
]  # fmt: skip

GRADIENT = [
    Bad("backward twice", twice, RuntimeError, "backward of .*: the graph was freed by an earlier backward, expected one pass; .*retain_graph=True"),
    Bad("not a number", lambda: (leaf(2) * 2).backward(), ValueError,
        r"backward: got a tensor of shape \(2,\) without a gradient, expected one element; pass gradient= or reduce it first"),
    Bad("no graph", lambda: z(2).sum().backward(), ValueError, "backward: the tensor does not require a gradient, expected one computed from"),
    Bad("gradient's shape", lambda: (leaf(2) * 2).backward(z(3)), ValueError, r"backward: gradient is float32 \(3,\), expected float32 \(2,\)"),
    Bad("gradient's dtype", lambda: (leaf(2) * 2).backward(z(2, dtype="float64")), ValueError, r"backward: gradient is float64 .*, expected float32"),
    Bad("gradient's device", lambda: (leaf(2) * 2).backward(z(2, device="meta")), ValueError, r"backward: gradient is on meta, expected cpu; move"),
    Bad("gradient's type", lambda: (leaf(2) * 2).backward(1.0), TypeError, r"backward: gradient is a float, expected a tensor .*; wrap it"),
    Bad("saved and changed", changed_after_saving, ValueError, r"backward of _Mul: a saved tensor of shape \(2,\) was changed in place, got version 2, expected 1; change a .clone\(\)"),
    Bad("numpy", lambda: leaf(2).numpy(), ValueError, r"numpy: the tensor requires a gradient; use .detach\(\).numpy\(\)"),
    Bad("in place", lambda: leaf(2).add_(1.0), ValueError, r"add_: in-place on a tensor that requires a gradient; wrap it in no_grad\(\) or use add"),
    Bad("integer leaf", lambda: z(2, dtype="int64", requires_grad=True), TypeError, "requires_grad: got a int64 tensor, expected a float dtype; convert"),
]  # fmt: skip

MAKING = [
    Bad("device", lambda: z(2, device="tpu"), ValueError, "device: unknown device, got 'tpu', expected cpu, cuda"),
    Bad("twin", lambda: z(2, device="meta:foo"), ValueError, "device: unknown device, got 'meta:foo', expected"),
    Bad("device number", lambda: z(2, device=3), TypeError, "empty: device is 3, expected a name"),
    Bad("dtype", lambda: z(2, dtype="float8"), TypeError, "dtype: got 'float8', expected float32, float64"),
    Bad("negative", lambda: z(-1), ValueError, r"empty: negative extent, got shape \(-1,\), expected 0 or more"),
    Bad("half", lambda: z(2.5), TypeError, r"empty: shape is \(2.5,\), expected ints"),
    Bad("ragged", lambda: fastcnn.tensor([[1, 2], [3]]), ValueError, "tensor: the nested lists have unequal lengths, expected a rectangular shape; pad them first"),
    Bad("text", lambda: fastcnn.tensor("abc"), TypeError, "tensor: got a NumPy array of <U3, expected one of float32"),
    Bad("item", lambda: z(2).item(), ValueError, r"item: got a tensor of shape \(2,\), expected one element"),
    Bad("numpy of meta", lambda: z(2, device="meta").numpy(), TypeError, r'numpy: the tensor is on meta, expected cpu; use .to\("cpu"\)'),
    Bad("threads 0", lambda: fastcnn.set_num_threads(0), ValueError, "set_num_threads: wrong number of threads, got 0, expected 1 to 1024"),
    Bad("threads 2^70", lambda: fastcnn.set_num_threads(2**70), ValueError, "set_num_threads: wrong number of threads, got 1180591620717411303424"),
    Bad("threads half", lambda: fastcnn.set_num_threads(1.5), TypeError, "set_num_threads: n is 1.5, expected an int from 1 to 1024"),
    Bad("seed", lambda: fastcnn.manual_seed("a"), TypeError, "manual_seed: got str, expected an int"),
    Bad("random state", lambda: fastcnn.set_rng_state(ints([3])), ValueError, r"set_rng_state: got int64 of shape \(1,\), expected uint8"),
    Bad("arange", lambda: fastcnn.arange(0, 5, 0), ValueError, "arange: got 0 to 5 in steps of 0, expected"),
    Bad("randint", lambda: fastcnn.randint(5, 5, (2,)), ValueError, "randint: got low 5 and high 5, expected low < high"),
]  # fmt: skip

#: Family: its cases, and a call that is right.
FAMILIES: dict[str, tuple[list[Bad], Callable[[], Any]]] = {
    "pool": (POOL, lambda: F.max_pool2d(z(1, 1, 4, 4), 2)),
    "norm": (NORM, lambda: F.batch_norm(z(2, 3), None, None, training=True)),
    "product": (PRODUCT, lambda: F.linear(z(2, 3), z(16, 3), z(16))),
    "loss": (LOSS, lambda: F.cross_entropy(z(2, 3), ints([0, 2]))),
    "resize": (RESIZE, lambda: F.interpolate(z(1, 1, 4), 8)),
    "shape": (SHAPE, lambda: F.cat([z(2, 3), z(2, 3)], 1).reshape(-1).sum(0)),
    "index": (INDEX, lambda: z(3)[ints([0, 2])]),
    "dropout": (DROPOUT, lambda: F.dropout(z(4), 0.5, True, seed=1)),
    "optim": (OPTIM, lambda: optim.Adam([leaf(2)]).step()),
    "module": (MODULE, lambda: nn.Linear(2, 3).load_state_dict({"weight": z(3, 2), "bias": z(3)})),
    "gradient": (GRADIENT, lambda: (leaf(2) * 2).sum().backward()),
    "making": (MAKING, lambda: z(2, 3)),
}


@pytest.fixture(scope="module", autouse=True)
def _no_garbage_of_others():
    """Memory is counted below, and cycles that other tests left may die at any time."""
    gc.collect()


@pytest.mark.parametrize(
    ("family", "bad"),
    [
        pytest.param(name, bad, id=f"{name}-{bad.name}")
        for name, (bads, _) in FAMILIES.items()
        for bad in bads
    ],
)
def test_text_and_nothing_left_behind(family: str, bad: Bad) -> None:
    # Parameters draw their initial values before load_state_dict sees them.
    draws = family in ("module", "product")
    live, state, threads = (
        memory.allocated_bytes(),
        np.asarray(fastcnn.get_rng_state()).copy(),
        fastcnn.get_num_threads(),
    )
    with pytest.raises(bad.kind) as caught:
        bad.call()
    message = str(caught.value)
    assert type(caught.value) is bad.kind
    assert re.match(bad.text, message), message
    assert "incompatible function arguments" not in message
    caught = None  # its frames hold tensors
    assert memory.allocated_bytes() == live
    if not draws:
        np.testing.assert_array_equal(np.asarray(fastcnn.get_rng_state()), state)
    assert is_grad_enabled() and fastcnn.get_num_threads() == threads
    FAMILIES[family][1]()


# ---- files ----


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_cut_and_corrupt_files_load_nothing(kind: str, tmp_path) -> None:
    path = tmp_path / f"w.{kind}"
    model = nn.Linear(3, 2)
    fastcnn.save(path, model.state_dict())
    whole = path.read_bytes()
    before = {k: np.asarray(v).copy() for k, v in model.state_dict().items()}
    live = memory.allocated_bytes()
    broken = [whole[:n] for n in (0, 1, 7, len(whole) // 2, len(whole) - 1)] + [b"\xff" * len(whole)]
    for content in broken:
        path.write_bytes(content)
        with pytest.raises((ValueError, EOFError), match=re.escape(path.name)):
            model.load_state_dict(fastcnn.load(path))
        assert memory.allocated_bytes() == live
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(np.asarray(value), before[key])
    path.write_bytes(whole)
    model.load_state_dict(fastcnn.load(path))


def test_paths_that_cannot_be_written_or_read(tmp_path) -> None:
    state = nn.Linear(3, 2).state_dict()
    missing = tmp_path / "no" / "such" / "w.safetensors"
    with pytest.raises(OSError, match=r"no/such"):
        fastcnn.save(missing, state)
    with pytest.raises(OSError, match=r"no/such"):
        fastcnn.load(missing)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match=r"folder\.npz"):
        fastcnn.save(tmp_path / "folder.npz", state)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.npz"]  # no temporary file is left
    fastcnn.save(tmp_path / "w.npz", state)
