#!/usr/bin/env python3
"""Should batch norm and activation be applied by the next convolution on load? Bytes first, then the clock.

    python scripts/fusion.py [--json FILE] [--turns 15]

The block is MobileNet-v2's 24 > 144 > depthwise 3x3 > 24 at 56x56, N = 8, forward and backward on one thread, in three
designs (docs/fusion.md): (a) what Sequential recognises, batch norm and activation in one pass; (b) a pending tail that
the next convolution applies on load, forward and again for its weight's gradient; (c) none. (a) and (c) run as they
are. Of (b) its parts run: the same convolution with and without the tail on load, and the pass that it saves.
About two minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from results import stamp

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models, nn, optim
from fastcnn._loader import _core
from fastcnn.bench.ours import copy_speed
from fastcnn.models.mobilenet import InvertedResidual

N, SIDE, NARROW, WIDE = 8, 56, 24, 144
UNIT = 4 * N * SIDE * SIDE * WIDE  # bytes of a wide tensor
#: Wide tensors that a design reads and writes; the narrow ones are a sixth of one and the same in all designs.
#: Design, then forward: expand, norm 1, depthwise, norm 2, project; backward in the same order.
MOVED = {
    "a": ((1, 3, 2, 3, 1), (2, 5, 4, 5, 2)),
    "b": ((1, 1, 2, 1, 1), (4, 2, 6, 2, 2)),
    "c": ((1, 5, 2, 5, 1), (2, 8, 4, 8, 2)),
}


class Separate(nn.Module):
    """The block's layers, each called as a function of its own."""

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Any) -> Any:
        (conv1, norm1, _), (conv2, norm2, _), conv3, norm3 = self.block.conv
        y = F.relu6(norm1(conv1(x)))
        y = F.relu6(norm2(conv2(y)))
        return x + norm3(conv3(y))


def images(channels: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal((N, channels, SIDE, SIDE), dtype=np.float32)
    return fastcnn.tensor(values).contiguous("channels_last").detach()


def step(model: Any, x: Any, dy: Any) -> Callable[[], None]:
    x = x.detach().requires_grad_()
    parameters = list(model.parameters())

    def run() -> None:
        x.grad = None
        for p in parameters:
            p.grad = None
        model(x).backward(dy)

    return run


def parts() -> dict[str, Callable[[], Any]]:
    """What (a) and (b) do differently at the depthwise layer and at the projection, by given statistics."""
    x, dy_wide, dy_narrow = images(WIDE, 0), images(WIDE, 1), images(NARROW, 2)
    scale, shift = (
        fastcnn.tensor(np.random.default_rng(s).standard_normal(WIDE, dtype=np.float32)) for s in (3, 4)
    )
    zeros, ones = fastcnn.zeros(WIDE), fastcnn.ones(WIDE)
    auto = _core.AlgoRequest("auto", True, None)
    calls: dict[str, Callable[[], Any]] = {
        "norm": lambda: _core.batch_norm_forward(
            x, scale, shift, zeros, ones, False, 0.1, 1e-5, "relu", None
        )[0]
    }
    for name, shape, dy in (
        ("depthwise", (WIDE, 1, 3, 3), dy_wide),
        ("project", (NARROW, WIDE, 1, 1), dy_narrow),
    ):
        pad, groups = shape[2] // 2, WIDE // shape[1]
        geometry = _core.ConvGeometry((1, 1), (1, 1), (pad, pad), (pad, pad), groups, "zeros")
        w = fastcnn.tensor(np.random.default_rng(5).standard_normal(shape, dtype=np.float32))

        def forward(w: Any = w, g: Any = geometry) -> Any:
            return _core.conv_forward("conv2d", x, w, None, g, auto)

        def forward_on_load(w: Any = w, g: Any = geometry) -> Any:
            return _core.conv_forward_fused("conv2d", x, w, None, None, scale, shift, "relu", "copy", g, auto)

        def weight(shape: Any = shape, dy: Any = dy, g: Any = geometry) -> Any:
            return _core.conv_backward_weight("conv2d", x, shape, dy, g, auto)

        def weight_on_load(shape: Any = shape, dy: Any = dy, g: Any = geometry) -> Any:
            return _core.conv_backward_weight_fused("conv2d", x, shape, dy, scale, shift, "relu", g, auto)

        calls |= {
            f"{name} forward": forward, f"{name} forward on load": forward_on_load,
            f"{name} weight": weight, f"{name} weight on load": weight_on_load,
        }  # fmt: skip
    return calls


def interleaved(calls: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Median milliseconds of each, one call of each in a turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(turns):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: round(1e3 * statistics.median(t), 3) for name, t in times.items()}


def tails(name: str) -> int:
    """Bytes of the batch norms' outputs in a model that only one convolution reads, by way of an activation."""
    total = 0
    model = models.build(name)

    def count(module: Any, args: Any, output: Any) -> None:
        nonlocal total
        total += 4 * math.prod(output.shape)

    units = [m for k, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and _one_reader(name, k)]
    handles = [m.register_forward_hook(count) for m in units]
    with fastcnn.no_grad():
        model(fastcnn.zeros(N, 3, 224, 224))
    for handle in handles:
        handle.remove()
    return total


def _one_reader(model: str, path: str) -> bool:
    if model == "resnet18":  # the first norm of each block; others are added to, or pooled
        return path.startswith("layer") and path.endswith("bn1")
    inside = path.split(".conv.")[-1]  # the third norm of a block has no activation, the last layer is pooled
    return (path.endswith(".1") and inside in ("0.1", "1.1")) or path == "features.0.1"


def training_step(name: str) -> Callable[[], None]:
    model = models.build(name)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, target = fastcnn.randn(N, 3, 224, 224).contiguous("channels_last"), fastcnn.tensor(np.arange(N))

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()

    return run


def saved_bytes(model: Any) -> int:
    """What the block keeps for its backward pass, at the peak of a step."""
    report = memory.estimate(model, (N, NARROW, SIDE, SIDE), loss=lambda y, t: y.sum(), device="cpu")
    return int(report.by_category().get("saved", 0))


def measure(turns: int) -> dict[str, Any]:
    fastcnn.set_num_threads(1)
    fastcnn.manual_seed(0)
    block = InvertedResidual(NARROW, NARROW, 1, 6)
    x, dy = images(NARROW, 6), images(NARROW, 7)
    copy, flops = copy_speed(64), _core.measure_flops(0.2)
    predicted = {
        design: {"moved_MB": round((sum(f) + sum(b)) * UNIT / 1e6), "forward": sum(f), "backward": sum(b)}
        for design, (f, b) in MOVED.items()
    }
    products = 6.0 * N * SIDE * SIDE * (2 * NARROW * WIDE + 9 * WIDE)
    saved = (sum(map(sum, MOVED["a"])) - sum(map(sum, MOVED["b"]))) * UNIT
    steps = interleaved({"a": step(block, x, dy), "c": step(Separate(block), x, dy)}, turns)
    pieces = interleaved(parts(), turns)
    gain = {}
    for layer in ("depthwise", "project"):
        on_load = pieces[f"{layer} forward on load"] - pieces[f"{layer} forward"]
        again = pieces[f"{layer} weight on load"] - pieces[f"{layer} weight"]
        gain[layer] = {
            "pass_saved": pieces["norm"], "forward_costs": round(on_load, 3), "weight_costs": round(again, 3),
            "gain": round(pieces["norm"] - on_load - again, 3),
        }  # fmt: skip
    networks = {}
    for name in ("resnet18", "mobilenet_v2"):
        ms = interleaved({name: training_step(name)}, 3)[name]
        # As in the block, half of what lies between (a) and (b) for each tail: 3 times its bytes.
        bytes_ = saved // (2 * UNIT) * tails(name)
        networks[name] = {
            "step_ms": ms, "bytes_less": bytes_, "at_most": round(bytes_ / copy * 1e3 / ms, 4)
        }  # fmt: skip
    return {
        **stamp(),
        "cpu": _core.device_info("cpu")["name"],
        "copy_GBs": round(copy / 1e9, 1),
        "peak_GFLOPs": round(flops / 1e9),
        "products_GFLOP": round(products / 1e9, 2),
        "predicted_gain_ms": round(saved / copy * 1e3, 2),
        "moved": predicted,
        "saved_bytes": {"a": saved_bytes(block), "c": saved_bytes(Separate(block))},
        "step_ms": steps,
        "parts_ms": pieces,
        "gain_ms": gain,
        "networks": networks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--turns", type=int, default=15)
    args = parser.parse_args()
    result = measure(args.turns)
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
