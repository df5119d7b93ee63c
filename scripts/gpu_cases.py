"""What is timed on a GPU: one case or a few for each family of kernels, with the bytes and multiply-adds they need.

`python scripts/gpu_cases.py --write` computes the time that an H200 should take for each, from its ceilings, and keeps
it in benchmarks/results/cuda_predicted.json: written down before anything was measured. scripts/gpu_check.py measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PREDICTED = ROOT / "benchmarks" / "results" / "cuda_predicted.json"
#: H200: bytes/s of a copy as published measurements have it (4.8e12 nominal), float32 FLOP/s of its data sheet (67e12)
#: less a tenth for clocks under load, 16-bit FLOP/s of mma.sync as published (63 % of 790e12), of tf32 half as many, of
#: three products of tf32 a third of that, the seconds of a launch.
CEILINGS = {
    "copy_bytes_per_s": 4.3e12,
    "fp32_flops_per_s": 60e12,
    "mma_flops_per_s": 497e12,
    "tf32_flops_per_s": 248e12,
    "tf32x3_flops_per_s": 83e12,
    "launch_s": 3e-6,
}


class Case(NamedTuple):
    """One op on one problem. ours(fastcnn, functional, tensors) and theirs(torch, functional, tensors) run it."""

    name: str
    family: str
    shapes: tuple[tuple[int, ...], ...]  # of the operands, random normal float32
    bytes: float  # that must be read and written once
    flops: float
    share: float  # of the ceiling that the kernel as it stands is expected to reach
    launches: int
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    #: further operands: shapes, and what the int64 numbers in them stay below
    indices: tuple[tuple[tuple[int, ...], int], ...] = ()
    dtype: str = "float32"  # that float operands are rounded to; arithmetic is float32 all the same
    precision: str = "fp32"  # fastcnn.set_precision


def _elements(*shapes: tuple[int, ...]) -> float:
    total = 0.0
    for shape in shapes:
        count = 1.0
        for extent in shape:
            count *= extent
        total += count
    return total


def _conv(
    name: str, n: int, c: int, k: int, size: int, taps: int, stride: int, groups: int, share: float, *,
    algo: str = "auto", more: float = 0, launches: int = 1, dtype: str = "float32", pass_: str = "forward",
    precision: str = "fp32",
) -> Case:  # fmt: skip
    """`more`: bytes of the workspace that a preferred algorithm writes and reads. torch has tf32 where we do."""
    x, w = (n, c, size, size), (k, c // groups, taps, taps)
    out = (size + 2 * (taps // 2) - taps) // stride + 1
    y = (n, k, out, out)
    setting = {"padding": taps // 2, "stride": stride, "groups": groups}

    def ours(fc: Any, F: Any, t: Any) -> Any:
        before = fc.get_precision()
        fc.set_precision(precision)
        try:
            with fc.prefer_algo(algo):
                if pass_ == "forward":
                    return F.conv2d(*t, **setting)
                first = t[0] if pass_ == "backward_weight" else (t[1].shape[0], *x[1:])
                if pass_ == "backward_weight":
                    return fc.nn.grad.conv2d_weight(first, w, t[1], **setting)
                return fc.nn.grad.conv2d_input(first, t[0], t[1], **setting)
        finally:
            fc.set_precision(before)

    def theirs(torch: Any, F: Any, t: Any) -> Any:
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        if pass_ == "forward":
            return F.conv2d(*t, **setting)
        if pass_ == "backward_weight":
            return torch.nn.grad.conv2d_weight(t[0], w, t[1], **setting)
        return torch.nn.grad.conv2d_input(x, t[0], t[1], **setting)

    operands = {"forward": (x, w), "backward_input": (w, y), "backward_weight": (x, y)}[pass_]
    size_of = 4 if dtype == "float32" else 2
    return Case(
        name, "convolution", operands, size_of * _elements(x, w, y) + more,
        2 * _elements(y) * (c // groups) * taps * taps, share, launches, ours, theirs, dtype=dtype,
        precision=precision,
    )  # fmt: skip


_MAP = (64, 64, 56, 56)
_COUNT = _elements(_MAP)
_LOGITS, _ROWS = (4096, 1000), (50_176, 256)
_OF_LOGITS, _OF_ROWS = _elements(_LOGITS), _elements(_ROWS)
CASES: tuple[Case, ...] = (
    Case("copy", "copy", (_MAP,), 8 * _COUNT, 0, 0.9, 1,
         lambda fc, F, t: t[0].clone(), lambda torch, F, t: t[0].clone()),
    Case("relu", "pointwise", (_MAP,), 8 * _COUNT, 0, 0.9, 1,
         lambda fc, F, t: F.relu(t[0]), lambda torch, F, t: F.relu(t[0])),
    Case("add", "pointwise", (_MAP, _MAP), 12 * _COUNT, 0, 0.9, 1,
         lambda fc, F, t: t[0] + t[1], lambda torch, F, t: t[0] + t[1]),
    Case("gelu", "pointwise", (_MAP,), 8 * _COUNT, 0, 0.8, 1,
         lambda fc, F, t: F.gelu(t[0]), lambda torch, F, t: F.gelu(t[0])),
    Case("sum", "reduction", (_MAP,), 4 * _COUNT, 0, 0.4, 2,
         lambda fc, F, t: F.sum(t[0]), lambda torch, F, t: t[0].sum()),
    Case("max_pool 3x3/2", "pooling", (_MAP,), 5 * _COUNT, 0, 0.5, 1,
         lambda fc, F, t: F.max_pool2d(t[0], 3, 2, 1), lambda torch, F, t: F.max_pool2d(t[0], 3, 2, 1)),
    Case("avg_pool 2x2", "pooling", (_MAP,), 5 * _COUNT, 0, 0.6, 1,
         lambda fc, F, t: F.avg_pool2d(t[0], 2), lambda torch, F, t: F.avg_pool2d(t[0], 2)),
    Case("to channels_last", "layout", (_MAP,), 8 * _COUNT, 0, 0.8, 1,
         lambda fc, F, t: t[0].contiguous("channels_last"),
         lambda torch, F, t: t[0].contiguous().clone(memory_format=torch.channels_last)),
    Case("dropout", "dropout", (_MAP,), 8 * _COUNT, 0, 0.7, 1,
         lambda fc, F, t: F.dropout(t[0], 0.5), lambda torch, F, t: F.dropout(t[0], 0.5)),
    Case("batch_norm training", "norm", (_MAP, (64,), (64,)), 12 * _COUNT, 0, 0.5, 3,
         lambda fc, F, t: F.batch_norm(t[0], None, None, t[1], t[2], training=True),
         lambda torch, F, t: F.batch_norm(t[0], None, None, t[1], t[2], training=True)),
    Case("group_norm", "norm", (_MAP, (64,), (64,)), 12 * _COUNT, 0, 0.5, 2,
         lambda fc, F, t: F.group_norm(t[0], 8, t[1], t[2]),
         lambda torch, F, t: F.group_norm(t[0], 8, t[1], t[2])),
    Case("layer_norm", "norm", (_ROWS, (256,), (256,)), 8 * _OF_ROWS, 0, 0.6, 1,
         lambda fc, F, t: F.layer_norm(t[0], (256,), t[1], t[2]),
         lambda torch, F, t: F.layer_norm(t[0], (256,), t[1], t[2])),
    Case("softmax", "softmax", (_LOGITS,), 8 * _OF_LOGITS, 0, 0.5, 1,
         lambda fc, F, t: F.softmax(t[0], 1), lambda torch, F, t: F.softmax(t[0], 1)),
    Case("cross_entropy", "loss", (_LOGITS,), 4 * _OF_LOGITS, 0, 0.4, 2,
         lambda fc, F, t: F.cross_entropy(*t), lambda torch, F, t: F.cross_entropy(*t), (((4096,), 1000),)),
    Case("mse_loss", "loss", (_MAP, _MAP), 8 * _COUNT, 0, 0.5, 2,
         lambda fc, F, t: F.mse_loss(*t), lambda torch, F, t: F.mse_loss(*t)),
    # Axis after axis: the intermediate is written and read again.
    Case("nearest x2", "resize", (_MAP,), 20 * _COUNT, 0, 0.4, 2,
         lambda fc, F, t: F.interpolate(t[0], scale_factor=2),
         lambda torch, F, t: F.interpolate(t[0], scale_factor=2)),
    Case("bilinear x2", "resize", (_MAP,), 20 * _COUNT, 0, 0.35, 2,
         lambda fc, F, t: F.interpolate(t[0], scale_factor=2, mode="bilinear"),
         lambda torch, F, t: F.interpolate(t[0], scale_factor=2, mode="bilinear")),
    Case("pad reflect", "resize", (_MAP,), 8 * _COUNT, 0, 0.4, 2,
         lambda fc, F, t: F.pad(t[0], (1, 1, 1, 1), "reflect"),
         lambda torch, F, t: F.pad(t[0], (1, 1, 1, 1), "reflect")),
    Case("max_unpool 2x2", "pooling", ((64, 64, 28, 28),), 7 * _COUNT, 0, 0.3, 3,
         lambda fc, F, t: F.max_unpool2d(*t, 2), lambda torch, F, t: F.max_unpool2d(*t, 2),
         (((64, 64, 28, 28), 56 * 56),)),
    Case("index_select rows", "indexing", (_ROWS,), 8 * _OF_ROWS, 0, 0.6, 2,
         lambda fc, F, t: F.index_select(t[0], 0, t[1]), lambda torch, F, t: t[0].index_select(0, t[1]),
         (((50_176,), 50_176),)),
    # 24 bytes of each position 6 times: a tile's sort and merges of 25 tiles.
    Case("index_add rows", "indexing", (_ROWS, _ROWS), 16 * _OF_ROWS, 0, 0.4, 8,
         lambda fc, F, t: F.index_add(t[0], 0, t[2], t[1]), lambda torch, F, t: t[0].index_add(0, t[2], t[1]),
         (((50_176,), 50_176),)),
    Case("gather", "indexing", (_LOGITS,), 16 * _OF_LOGITS, 0, 0.5, 1,
         lambda fc, F, t: F.gather(t[0], 1, t[1]), lambda torch, F, t: t[0].gather(1, t[1]),
         ((_LOGITS, 1000),)),
    Case("cumsum", "scan", ((4096, 4096),), 8 * 4096.0**2, 0, 0.3, 1,
         lambda fc, F, t: F.cumsum(t[0], 1), lambda torch, F, t: t[0].cumsum(1)),
    # A block sorts a row of 1000 in 55 steps in shared memory.
    Case("sort rows of 1000", "sort", (_LOGITS,), 16 * _OF_LOGITS, 0, 0.05, 2,
         lambda fc, F, t: F.sort(t[0], 1)[0], lambda torch, F, t: t[0].sort(1)[0]),
    Case("topk 5 of 1000", "sort", (_LOGITS,), 4 * _OF_LOGITS, 0, 0.02, 2,
         lambda fc, F, t: F.topk(t[0], 5, 1)[0], lambda torch, F, t: t[0].topk(5, 1)[0]),
    Case("linear 4096", "gemm", ((4096, 4096), (4096, 4096)), 12 * 4096.0**2, 2 * 4096.0**3, 0.25, 1,
         lambda fc, F, t: F.linear(*t), lambda torch, F, t: F.linear(*t)),
    _conv("conv 3x3 64>64 @56", 64, 64, 64, 56, 3, 1, 1, 0.4),
    _conv("conv 3x3 64>64 @56 im2col", 64, 64, 64, 56, 3, 1, 1, 0.4, algo="im2col", more=8 * 576 * _COUNT / 64,
          launches=15),
    _conv("conv 1x1 256>64 @56", 64, 256, 64, 56, 1, 1, 1, 0.4),
    _conv("conv 3x3/2 128>128 @56", 64, 128, 128, 56, 3, 2, 1, 0.4),
    _conv("conv 7x7/2 3>64 @224", 64, 3, 64, 224, 7, 2, 1, 0.3),
    _conv("conv 3x3 128>128 @28 float16", 64, 128, 128, 28, 3, 1, 1, 0.6, dtype="float16", launches=2),
    _conv("conv 3x3 128>128 @28 bfloat16", 64, 128, 128, 28, 3, 1, 1, 0.6, dtype="bfloat16", launches=2),
    _conv("conv 3x3 128>128 @28 float16 backward_input", 64, 128, 128, 28, 3, 1, 1, 0.6, dtype="float16", launches=2,
          pass_="backward_input"),
    _conv("conv 3x3/2 128>128 @56 float16 backward_input", 64, 128, 128, 56, 3, 2, 1, 0.4, dtype="float16", launches=5,
          pass_="backward_input"),
    _conv("conv 3x3 128>128 @28 float16 backward_weight", 64, 128, 128, 28, 3, 1, 1, 0.5, dtype="float16", launches=2,
          pass_="backward_weight"),
    _conv("conv 1x1 256>96 @56 float16", 64, 256, 96, 56, 1, 1, 1, 0.5, dtype="float16", launches=2),
    _conv("conv 3x3 128>128 @28 tf32", 64, 128, 128, 28, 3, 1, 1, 0.5, precision="tf32", launches=2),
    _conv("conv 3x3 128>128 @28 tf32x3", 64, 128, 128, 28, 3, 1, 1, 0.5, precision="tf32x3", launches=2),
    _conv("conv 3x3 128>128 @28 tf32x3 backward_input", 64, 128, 128, 28, 3, 1, 1, 0.5, precision="tf32x3",
          launches=2, pass_="backward_input"),
    _conv("conv 3x3 128>128 @28 tf32 backward_weight", 64, 128, 128, 28, 3, 1, 1, 0.4, precision="tf32", launches=2,
          pass_="backward_weight"),
    _conv("conv 3x3 128>128 @28 tf32x3 backward_weight", 64, 128, 128, 28, 3, 1, 1, 0.4, precision="tf32x3",
          launches=2, pass_="backward_weight"),
    _conv("depthwise 3x3 144 @56", 64, 144, 144, 56, 3, 1, 144, 0.25),
)  # fmt: skip


def predicted(case: Case) -> dict[str, Any]:
    """Seconds by the larger of the two floors, and by the share of it that is expected."""
    units = case.precision if case.dtype == "float32" else "mma"
    floors = {
        "memory": case.bytes / CEILINGS["copy_bytes_per_s"],
        "arithmetic": case.flops / CEILINGS[f"{units}_flops_per_s"],
    }
    bound = max(floors, key=lambda k: floors[k])
    launches = case.launches * CEILINGS["launch_s"]
    return {
        "family": case.family,
        "bound": bound,
        "bytes": case.bytes,
        "flops": case.flops,
        "floor_us": round(1e6 * (floors[bound] + launches), 2),
        "expected_us": round(1e6 * (floors[bound] / case.share + launches), 2),
        "share": case.share,
    }


def table() -> dict[str, Any]:
    return {"card": "h200", "ceilings": CEILINGS, "cases": {c.name: predicted(c) for c in CASES}}


def text() -> str:
    """The file: one line per case."""
    found = table()
    rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in found["cases"].items())
    return (
        f'{{\n "card": {json.dumps(found["card"])},\n "ceilings": {json.dumps(found["ceilings"])},\n'
        f' "cases": {{\n{rows}\n }}\n}}\n'
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"keep the predictions in {PREDICTED.name}")
    if parser.parse_args().write:
        PREDICTED.write_text(text())
    sys.stdout.write(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
