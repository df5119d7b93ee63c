"""PyTorch's side of a race. Run as a script: it must not import fastcnn.

Arguments: ``eager`` (as installed), ``tuned`` (the driver also sets malloc's thresholds and huge pages) or ``bf16``
(autocast).
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jobs
import numpy as np
import protocol
import torch
import torch.nn.functional as F


class Torch:
    """The adapter that ``jobs`` wants."""

    layouts, optimizers = ("nchw", "nhwc"), ("step", "fused")
    F, nn, SGD, Adam = F, torch.nn, torch.optim.SGD, torch.optim.Adam

    def __init__(self, mode: str) -> None:
        self.name, self.mode = f"torch-{mode}", mode

    def start(self, threads: int) -> dict[str, Any]:
        torch.set_num_threads(threads)
        return {"library": f"torch {torch.__version__} ({self.mode})"}

    @contextlib.contextmanager
    def no_grad(self) -> Any:
        with torch.inference_mode():
            yield

    def tensor(self, array: np.ndarray, grad: bool, layout: str | None) -> Any:
        t = torch.from_numpy(array)
        if layout == "nhwc" and t.ndim in (4, 5):
            t = t.contiguous(memory_format=torch.channels_last if t.ndim == 4 else torch.channels_last_3d)
        return t.requires_grad_() if grad else t

    def integers(self, array: np.ndarray) -> Any:
        return torch.from_numpy(array.astype(np.int64))

    def like(self, y: Any, array: np.ndarray) -> Any:
        t = torch.from_numpy(array)
        if y.ndim == 4 and y.is_contiguous(memory_format=torch.channels_last):
            t = t.contiguous(memory_format=torch.channels_last)
        return t

    def model(self, name: str, layout: str, **arguments: Any) -> Any:
        torch.manual_seed(0)
        net = zoo().build(name, **arguments)
        if layout == "nhwc" and not any(isinstance(m, torch.nn.Conv3d) for m in net.modules()):
            net = net.to(memory_format=torch.channels_last)
        return net

    def prepare(self, job: dict[str, Any]) -> dict[str, Any]:
        calls = jobs.prepare(self, job)
        if job["kind"] == "model" and job["mode"] == "infer" and "layout" not in job:
            calls.update({f"{layout}, frozen": self.frozen(job, layout) for layout in self.layouts})
        if self.mode != "bf16":
            return calls

        def cast(call: Any) -> Any:
            def inside() -> Any:
                with torch.autocast("cpu", torch.bfloat16):
                    return call()

            return inside

        return {name: cast(call) for name, call in calls.items()}

    def frozen(self, job: dict[str, Any], layout: str) -> Any:
        """Inference as a careful user has it: traced, batch norm folded; contiguous also with oneDNN's own weights.

        (With channels-last tensors those conversions make it slower.)
        """
        net = self.model(job["model"], layout, **job.get("arguments", {})).eval()
        x = self.tensor(jobs.normal(job["shape"]), False, layout)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(net, x)
            net = torch.jit.freeze(traced) if layout == "nhwc" else torch.jit.optimize_for_inference(traced)

        def call() -> Any:
            with self.no_grad():
                return net(x)

        return call

    def conv(self, job: dict[str, Any]) -> dict[str, Any]:
        shape = job["shapes"]
        padding = jobs.pairs_to_ints(shape["padding"])
        if padding is None:
            raise ValueError("torch has no asymmetric padding in a convolution")
        calls = {}
        for layout in self.layouts:
            x, w, dy = (
                self.tensor(jobs.normal(shape[k], i), False, layout) for i, k in enumerate(("x", "w", "y"))
            )
            if self.mode == "bf16":
                x, w, dy = x.bfloat16(), w.bfloat16(), dy.bfloat16()
            calls[layout] = _conv(shape, job["pass"], padding, x, w, dy)
        return calls

    def extra(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(f"bench: torch's side has no command {command!r}")


def _conv(shape: dict[str, Any], pass_: str, padding: Any, x: Any, w: Any, dy: Any) -> Any:
    stride, dilation, groups = shape["stride"], shape["dilation"], shape["groups"]
    axes = len(stride)
    if pass_ == "forward":
        function = getattr(F, f"conv{axes}d")

        def forward() -> Any:
            with torch.inference_mode():
                return function(x, w, None, stride, padding, dilation, groups)

        return forward
    mask = [pass_ == "backward_input", pass_ == "backward_weight", False]
    gradient = torch.ops.aten.convolution_backward

    def backward() -> Any:
        with torch.inference_mode():
            return gradient(dy, x, w, None, stride, padding, dilation, False, [0] * axes, groups, mask)

    return backward


def _conv_norm(conv: Any, norm: Any, x: Any, activation: str | None = None, residual: Any = None) -> Any:
    """As torchvision writes it: in place."""
    y = norm(conv(x))
    if residual is not None:
        y += residual
    if activation is None:
        return y
    return F.relu(y, inplace=True) if activation == "relu" else F.relu6(y, inplace=True)


def _add_to(x: Any, block: Any) -> Any:
    return x + block(x)


def _relu_pool(pool: Any, x: Any) -> Any:
    return pool(F.relu(x, inplace=True))


def zoo() -> Any:
    """fastcnn/models, read with torch in fastcnn's place: the architectures are written in torch's names."""
    if "fastcnn.models" in sys.modules:
        return sys.modules["fastcnn.models"]
    functional = types.ModuleType("fastcnn.functional")
    functional.__dict__.update({k: getattr(F, k) for k in dir(F)})
    functional.cat = torch.cat  # type: ignore[attr-defined]
    parts = {"functional": functional, "nn": torch.nn, "init": torch.nn.init}
    package = types.ModuleType("fastcnn")
    package.__path__ = [str(Path(__file__).parents[1])]  # type: ignore[attr-defined]
    sys.modules["fastcnn"] = package
    for name, module in parts.items():
        setattr(package, name, module)
        sys.modules[f"fastcnn.{name}"] = module
    autograd = types.ModuleType("fastcnn.autograd")
    autograd.Tensor = torch.Tensor  # type: ignore[attr-defined]
    sys.modules["fastcnn.autograd"] = autograd
    fusion = types.ModuleType("fastcnn.nn.fusion")
    for function in (_conv_norm, _add_to, _relu_pool):
        setattr(fusion, function.__name__[1:], function)
    sys.modules[fusion.__name__] = fusion
    assert importlib.util.find_spec("fastcnn.models") is not None
    return importlib.import_module("fastcnn.models")


if __name__ == "__main__":
    protocol.serve(Torch(sys.argv[1] if len(sys.argv) > 1 else "eager"))
