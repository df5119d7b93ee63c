"""What is timed, written once for both libraries: they have the same names and argument orders.

`lib` offers ``F``, ``nn``, ``SGD``, ``Adam``, ``tensor(array, grad, layout)``, ``no_grad()``, ``layouts``,
``optimizers`` (ways to run one) and ``model(name)``.
Each function returns a call without arguments. Needs NumPy only, so that a rival's process can import it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]


def normal(shape: Any, seed: int = 0) -> np.ndarray:
    """Standard normal numbers: no denormals, no zeros that a clever kernel could skip."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)


def pairs_to_ints(padding: Any) -> Any:
    """Symmetric (low, high) pairs as one number per axis; None for asymmetric ones."""
    return tuple(low for low, high in padding) if all(low == high for low, high in padding) else None


def _forward(lib: Any, function: Callable[[Any], Any], x: Any) -> Call:
    def call() -> Any:
        with lib.no_grad():
            return function(x)

    return call


def _backward(lib: Any, function: Callable[[Any], Any], x: Any, leaves: tuple[Any, ...]) -> Call:
    """Backward alone, through a graph that is kept."""
    y = function(x)
    dy = lib.like(y, normal(tuple(y.shape), 1))

    def call() -> None:
        for leaf in leaves:
            leaf.grad = None
        y.backward(dy, retain_graph=True)

    return call


def _both(function: Callable[[Any], Any], dy: Any, x: Any, leaves: tuple[Any, ...]) -> Call:
    def call() -> None:
        for leaf in leaves:
            leaf.grad = None
        function(x).backward(dy)

    return call


def pointwise(lib: Any, job: dict[str, Any], layout: str) -> Call:
    """One op on an image batch (N, C, H, W) or, for linear layers and losses, on rows (N, C)."""
    x = lib.tensor(normal(job["shape"]), job["pass"] != "forward", layout)
    F, op = lib.F, job["op"]
    leaves = [x]
    if op in ("max_pool2d", "avg_pool2d"):
        pool, window = getattr(F, op), (job["kernel"], job["stride"], job["padding"])
        function = lambda t: pool(t, *window)  # noqa: E731
    elif op == "dropout":
        function = lambda t: F.dropout(t, 0.5, True)  # noqa: E731
    elif op == "batch_norm":
        channels = job["shape"][1]
        weight, bias = (lib.tensor(normal(channels, s), job["pass"] != "forward", None) for s in (2, 3))
        mean, var = (lib.tensor(np.full(channels, v, np.float32), False, None) for v in (0, 1))
        leaves += [weight, bias]
        function = lambda t: F.batch_norm(t, mean, var, weight, bias, True, 0.1, 1e-5)  # noqa: E731
    elif op == "group_norm":
        function = lambda t: F.group_norm(t, min(32, job["shape"][1]))  # noqa: E731
    elif op == "instance_norm":
        function = F.instance_norm
    elif op in ("softmax", "log_softmax"):
        function = lambda t: getattr(F, op)(t, job["dim"])  # noqa: E731
    elif op == "layer_norm":
        size = job["shape"][-1]
        weight, bias = (lib.tensor(normal(size, s), job["pass"] != "forward", None) for s in (2, 3))
        leaves += [weight, bias]
        function = lambda t: F.layer_norm(t, (size,), weight, bias)  # noqa: E731
    elif op == "to_nchw":
        x = lib.tensor(normal(job["shape"]), False, "nhwc")
        function = lambda t: t.contiguous()  # noqa: E731
    elif op in ("relu", "sigmoid", "tanh", "silu", "gelu"):
        function = getattr(F, op)
    elif op == "linear":
        weight = lib.tensor(normal((job["out"], job["shape"][1]), 2), job["pass"] != "forward", None)
        leaves.append(weight)
        function = lambda t: F.linear(t, weight)  # noqa: E731
    elif op == "cross_entropy":
        target = lib.integers(np.arange(job["shape"][0]) % job["shape"][1])
        function = lambda t: F.cross_entropy(t, target)  # noqa: E731
    else:
        raise ValueError(f"bench: unknown op {op!r}")
    if job["pass"] == "forward":
        return _forward(lib, function, x)
    if job["pass"] == "backward":
        return _backward(lib, function, x, tuple(leaves))
    with lib.no_grad():
        y = function(x)
    return _both(function, lib.like(y, normal(tuple(y.shape), 1)), x, tuple(leaves))


def optimizer(lib: Any, job: dict[str, Any], variant: str) -> Call:
    """One step over parameters of the given shapes, whose gradients stay."""
    parameters = [lib.tensor(normal(shape), True, None) for shape in job["shapes"]]
    for p in parameters:
        p.grad = lib.tensor(normal(tuple(p.shape), 1), False, None)
    settings = {"fused": True} if variant == "fused" else {}
    return getattr(lib, job["op"])(parameters, **job["settings"], **settings).step  # type: ignore[no-any-return]


def model(lib: Any, job: dict[str, Any], layout: str) -> Call:
    """A training step (forward, loss, backward, SGD with momentum) or inference of a model of the zoo."""
    net = lib.model(job["model"], layout, **job.get("arguments", {}))
    x = lib.tensor(normal(job["shape"]), False, layout)
    if job["mode"] == "infer":
        net.eval()
        return _forward(lib, net, x)
    net.train()
    optimizer = lib.SGD(net.parameters(), lr=0.01, momentum=0.9)
    loss_of = lib.nn.CrossEntropyLoss()
    with lib.no_grad():
        shape = tuple(net(x).shape)
    target = lib.integers(
        np.arange(shape[0] * int(np.prod(shape[2:]))).reshape(shape[0], *shape[2:]) % shape[1]
    )

    def step() -> None:
        optimizer.zero_grad()
        loss = loss_of(net(x), target)
        loss.backward()
        optimizer.step()

    return step


def prepare(lib: Any, job: dict[str, Any]) -> dict[str, Call]:
    """{variant: call} for a job: one variant per memory layout of the library, for convolutions also per algorithm."""
    if job["kind"] == "conv":
        return lib.conv(job)
    if job["kind"] == "optimizer":
        return {variant: optimizer(lib, job, variant) for variant in lib.optimizers}
    make = model if job["kind"] == "model" else pointwise
    layouts = [job["layout"]] if "layout" in job else lib.layouts
    return {layout: make(lib, job, layout) for layout in layouts}
