"""The jobs of each ``fastcnn bench`` command: convolutions, memory-bound ops, whole models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastcnn.bench.sets import Layer

PASSES = ("forward", "backward_input", "backward_weight")


def conv_jobs(layers: list[Layer], passes: tuple[str, ...], algo: str) -> Iterator[dict[str, Any]]:
    """One job per layer and pass; the first layer of a network needs no gradient of its input."""
    for layer in layers:
        spec = layer.spec
        shapes = {
            "x": spec.x_shape, "w": spec.w_shape, "y": spec.y_shape, "stride": spec.stride, "padding": spec.padding,
            "dilation": spec.dilation, "groups": spec.groups,
        }  # fmt: skip
        for pass_ in passes:
            if pass_ == "backward_input" and layer.first:
                continue
            yield {
                "kind": "conv", "problem": str(spec), "shapes": shapes, "pass": pass_, "algo": algo,
                "name": spec.name or str(spec), "flops": spec.flops, "bytes": spec.bytes,
            }  # fmt: skip


def _elements(shape: tuple[int, ...]) -> float:
    count = 1.0
    for n in shape:
        count *= n
    return count


def _pool_moves(op: str, pass_: str, stride: int) -> float:
    """The input or its gradient, and the output's; a max pool's backward reads a byte for each output, too."""
    return 1 + (1.25 if op == "max_pool2d" and pass_ == "backward" else 1) / stride**2


_BIG, _SMALL = (32, 64, 112, 112), (4, 64, 56, 56)
# group -> rows of (op, pass, settings, tensors of x's size that must move: read or written)
_OPS: dict[str, list[tuple[str, str, dict[str, Any], float]]] = {
    "pool": [
        (op, pass_, dict(kernel=k, stride=s, padding=p), _pool_moves(op, pass_, s))
        for op in ("max_pool2d", "avg_pool2d")
        for k, s, p in ((2, 2, 0), (3, 2, 1))
        for pass_ in ("forward", "backward")
    ],
    "dropout": [("dropout", "forward", {}, 2), ("dropout", "backward", {}, 2)],
    "norm": [
        ("batch_norm", "forward", {}, 3),
        ("batch_norm", "both", {}, 8),
        ("group_norm", "both", {}, 8),
        ("instance_norm", "both", {}, 8),
        ("layer_norm", "forward", {"size": 1024}, 2),
        ("layer_norm", "both", {"size": 1024}, 7),
    ],
    "softmax": [
        (op, pass_, dict(dim=dim), 2 if pass_ == "forward" else 3)
        for op in ("softmax", "log_softmax")
        for dim in (1, -1)
        for pass_ in ("forward", "backward")
    ],
    "relu": [("relu", "forward", {}, 2), ("relu", "backward", {}, 3)],
    "activation": [
        (op, pass_, {}, 2 if pass_ == "forward" else 3)
        for op in ("sigmoid", "tanh", "silu", "gelu")
        for pass_ in ("forward", "backward")
    ],
    "layout": [("to_nchw", "forward", {}, 2)],
}


def op_jobs(group: str, quick: bool) -> Iterator[dict[str, Any]]:
    """Jobs of a memory-bound family, or of all ("ops"), on (32, 64, 112, 112), with --quick on (4, 64, 56, 56)."""
    if group == "ops":
        for name in (*_OPS, "linear", "optimizer"):
            yield from op_jobs(name, quick)
        return
    shape = _SMALL if quick else _BIG
    if group == "linear":
        for rows, size, out in ((64, 3136, 128), (8, 25088, 4096), (256, 512, 1000)):
            for pass_, times in (("forward", 1), ("both", 3)):
                yield {
                    "kind": "op", "op": "linear", "shape": (rows, size), "out": out, "pass": pass_,
                    "name": f"linear {rows}x{size}>{out}", "flops": 2.0 * rows * size * out * times,
                }  # fmt: skip
        for rows, classes in ((256, 1000), (64, 10)):
            for pass_, moved in (("forward", 1), ("both", 3)):
                yield {
                    "kind": "op", "op": "cross_entropy", "shape": (rows, classes), "pass": pass_,
                    "name": f"cross_entropy {rows}x{classes}", "bytes": 4.0 * moved * rows * classes,
                }  # fmt: skip
        return
    if group == "optimizer":
        from fastcnn import device, models

        with device("meta"):
            shapes = [p.shape for p in models.build("resnet18").parameters()]
        for op, settings, moved in (("SGD", {"momentum": 0.9}, 5), ("Adam", {}, 7)):
            yield {
                "kind": "optimizer", "op": op, "settings": {"lr": 1e-3, **settings}, "pass": "step",
                "shapes": shapes, "name": f"{op} resnet18",
                "bytes": 4.0 * moved * sum(map(_elements, shapes)),
            }  # fmt: skip
        return
    for op, pass_, settings, moved in _OPS[group]:
        window = " {kernel}x{kernel}s{stride}p{padding}".format(**settings) if "kernel" in settings else ""
        if "dim" in settings:
            window = f" dim {settings['dim']}"
        if "size" in settings:  # rows of a matrix with as many elements
            shape = (int(_elements(shape)) // settings["size"], settings["size"])
        yield {
            "kind": "op", "op": op, "shape": shape, "pass": pass_, **settings, "name": f"{op}{window}",
            "bytes": 4.0 * moved * _elements(shape),
        }  # fmt: skip


#: name -> (batch in training, extra arguments of the model, image): the networks of the speed table
MODELS: dict[str, tuple[int, dict[str, Any], tuple[int, ...] | None]] = {
    "resnet18": (8, {}, None),
    "vgg11": (64, {"image_size": 32, "num_classes": 10}, (3, 32, 32)),
    "mobilenet_v2": (8, {}, None),
    "mnist_cnn": (64, {}, None),
}


def model_jobs(names: list[str], batch: int | None, modes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Training steps (forward, cross-entropy, backward, SGD with momentum) and inference at N = 1 and 8."""
    from fastcnn import models

    for name in names:
        if name not in models.CATALOGUE:
            models.build(name)  # raises, naming what there is
        usual, arguments, image = MODELS.get(name, (8, {}, None))
        image = image or models.CATALOGUE[name].sample_shape
        for mode in modes:
            for n in (batch,) if batch is not None else (usual,) if mode == "train" else (1, 8):
                yield {
                    "kind": "model", "model": name, "mode": mode, "shape": (n, *image), "arguments": arguments,
                    "name": f"{name} {'x'.join(map(str, image[1:]))} N={n}",
                }  # fmt: skip
