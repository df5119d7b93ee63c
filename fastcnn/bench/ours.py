"""Our side of a race."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

import fastcnn
from fastcnn import functional as F
from fastcnn import nn, optim
from fastcnn._loader import _core
from fastcnn.bench import jobs, protocol
from fastcnn.bench.spec import ConvSpec, parse

_AXES = {1: "1d", 2: "2d", 3: "3d"}


class Ours:
    """The adapter that ``jobs`` wants."""

    name = "fastcnn"
    layouts, optimizers = ("nhwc",), ("step",)
    F, nn, SGD, Adam = F, nn, optim.SGD, optim.Adam
    no_grad = staticmethod(fastcnn.no_grad)

    def start(self, threads: int) -> dict[str, Any]:
        fastcnn.set_num_threads(threads)
        cpu = _core.device_info("cpu")["name"]
        return {"library": f"fastcnn {fastcnn.__version__}", "isa": _core.isa(), "cpu": cpu}

    def tensor(self, array: np.ndarray, grad: bool, layout: str | None) -> Any:
        t = fastcnn.tensor(array)
        if layout == "nhwc":
            t = t.contiguous("channels_last").detach() if t.ndim > 2 else t
        return t.requires_grad_() if grad else t

    def integers(self, array: np.ndarray) -> Any:
        return fastcnn.tensor(array.astype(np.int64))

    def like(self, y: Any, array: np.ndarray) -> Any:
        return self.tensor(array, False, "nhwc")

    def model(self, name: str, layout: str, **arguments: Any) -> Any:
        from fastcnn import models

        fastcnn.manual_seed(0)
        return models.build(name, **arguments)

    def prepare(self, job: dict[str, Any]) -> dict[str, Any]:
        calls = jobs.prepare(self, job)
        if job["kind"] == "model" and job["mode"] == "infer" and "layout" not in job:
            calls["nhwc, replayed"] = self.replayed(job)
        return calls

    def replayed(self, job: dict[str, Any]) -> Any:
        """Inference as a careful user has it."""
        x = self.tensor(jobs.normal(job["shape"]), False, "nhwc")
        fast = fastcnn.Replay(self.model(job["model"], "nhwc", **job.get("arguments", {})).eval())
        return lambda: fast(x)

    def conv(self, job: dict[str, Any]) -> dict[str, Any]:
        spec = parse(job["problem"])
        x, w, dy = _operands(self, spec)
        if job["algo"] == "ladder":
            from fastcnn.bench import ladder

            return ladder.calls(spec, job["pass"], x, w, dy, job["threads"])
        return {algo: conv_call(spec, job["pass"], x, w, dy, algo) for algo in algorithms(spec, job)}

    def extra(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        if command == "peak":
            return {"flops": _core.measure_flops(request["seconds"])}
        if command == "copy":
            return {"bytes": copy_speed()}
        if command == "check":
            return check(self, request["job"])
        raise ValueError(f"bench: unknown command {command!r}")


def _operands(lib: Ours, spec: ConvSpec) -> tuple[Any, Any, Any]:
    arrays = (jobs.normal(s, i) for i, s in enumerate((spec.x_shape, spec.w_shape, spec.y_shape)))
    x, w, dy = (lib.tensor(a, False, "nhwc" if i != 1 else None) for i, a in enumerate(arrays))
    return x, w, dy


def rows(spec: ConvSpec, pass_: str) -> list[Any]:
    """Every algorithm's verdict on the problem."""
    return fastcnn.conv_algorithms(
        spec.x_shape, spec.w_shape, spec.stride, spec.padding, spec.dilation, spec.groups, pass_=pass_
    )


def algorithms(spec: ConvSpec, job: dict[str, Any]) -> list[str]:
    """The variants of a job: "auto", a name, or with "all" each one that can run."""
    wanted = job.get("algo", "auto")
    return [r.name for r in rows(spec, job["pass"]) if r.reason is None] if wanted == "all" else [wanted]


def conv_call(spec: ConvSpec, pass_: str, x: Any, w: Any, dy: Any, algo: str) -> Any:
    """One pass of a convolution as a call. The weights count as new on every call, as in training."""
    geometry = (spec.stride, spec.padding, spec.dilation, spec.groups)
    axes = _AXES[len(spec.size)]
    function = getattr(F, f"conv{axes}")
    if pass_ == "forward":

        def forward() -> Any:
            w._bump()
            with fastcnn.no_grad():
                return function(x, w, None, *geometry, algo=algo)

        return forward
    gradient = getattr(nn.grad, f"conv{axes}_{pass_.removeprefix('backward_')}")

    def backward() -> Any:
        w._bump()
        with fastcnn.no_grad():
            if pass_ == "backward_input":
                return gradient(spec.x_shape, w, dy, *geometry, algo=algo)
            return gradient(x, spec.w_shape, dy, *geometry, algo=algo)

    return backward


def copy_speed(megabytes: int = 256) -> float:
    """Bytes per second (read plus written) of a copy between two warm blocks, on all threads; the best of five."""
    source = fastcnn.ones(megabytes * 1_000_000 // 4)
    target = fastcnn.empty(source.numel())
    target.copy_(source)
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - start)
    return 2.0 * source.nbytes / best


def check(lib: Ours, job: dict[str, Any]) -> dict[str, Any]:
    """Is the convolution right? At full size, for every variant of the job.

    Forward: 200 output elements against float64 sums. Gradients: <y, dy> = <x, dx> = <w, dw> in float64. Both errors
    are given as a share of what rounding may explain, 8 eps sqrt(terms) times the sum of absolute values; Winograd is
    allowed 6 times that.
    """
    spec = parse(job["problem"])
    x, w, dy = _operands(lib, spec)
    arrays = [np.asarray(t) for t in (x, w, dy)]
    worst = {}
    for algo in algorithms(spec, job):
        allowed = 6.0 if algo in ("auto", "winograd") else 1.0
        out = np.asarray(conv_call(spec, job["pass"], x, w, dy, algo)())
        if job["pass"] == "forward":
            share = _sampled(spec, arrays[0], arrays[1], out)
        else:
            partner = arrays[0] if job["pass"] == "backward_input" else arrays[1]
            with fastcnn.no_grad():
                y = np.asarray(
                    conv_call(spec, "forward", x, w, dy, "im2col" if algo != "direct" else "direct")()
                )
            left, right = _inner(y, arrays[2]), _inner(partner, out)
            scale = float(
                np.sqrt(np.square(y, dtype=np.float64).sum() * np.square(arrays[2], dtype=np.float64).sum())
            )
            share = abs(left - right) / (8 * 2.0**-24 * scale)
        worst[algo] = share / allowed
    return {"worst": max(worst.values()), "shares": worst}


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.einsum("i,i->", a.ravel().astype(np.float64), b.ravel().astype(np.float64)))


def _sampled(spec: ConvSpec, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> float:
    rng = np.random.Generator(np.random.PCG64(5))
    per_group, filters = spec.C // spec.groups, spec.K // spec.groups
    worst = 0.0
    for _ in range(200):
        n, k = int(rng.integers(spec.N)), int(rng.integers(spec.K))
        at = tuple(int(rng.integers(o)) for o in spec.out)
        channels = slice(k // filters * per_group, (k // filters + 1) * per_group)
        inside, taps = [], []
        for o, i, kernel, s, (low, _), d in zip(
            at, spec.size, spec.kernel, spec.stride, spec.padding, spec.dilation
        ):
            where = o * s - low + d * np.arange(kernel)
            good = (where >= 0) & (where < i)
            inside.append(where[good])
            taps.append(np.arange(kernel)[good])
        patch = x[n, channels][np.ix_(range(per_group), *inside)].astype(np.float64)
        filter_ = w[k][np.ix_(range(per_group), *taps)].astype(np.float64)
        products = patch * filter_
        allowed = 8 * 2.0**-24 * math.sqrt(max(products.size, 1)) * float(abs(products).sum()) + 1e-30
        worst = max(worst, abs(float(products.sum()) - float(y[(n, k, *at)])) / allowed)
    return worst


if __name__ == "__main__":
    protocol.serve(Ours())
