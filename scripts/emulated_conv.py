"""What each of CUDA's convolution rows takes on the emulated card, and how far it is from float64.

    python scripts/emulated_conv.py --json benchmarks/results/emulated_conv.json      (FASTCNN_CORE is the build)

A 3x3 convolution of 64 channels to 64 on 56 x 56 pixels, one image, every pass and row that can run, with one worker.
The milliseconds say what tests on such a build cost, nothing of a card. The error is rms relative to the result's.
exit 0, or 3 if the module's kernels are not emulated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("FASTCNN_EMULATOR_THREADS", "1")

import numpy as np
from results import stamp

import fastcnn
from fastcnn import functional as F
from fastcnn.nn import grad

X, W = (1, 64, 56, 56), (64, 64, 3, 3)
PASSES = ("forward", "backward_input", "backward_weight")


def call(pass_: str, algo: str, x: Any, w: Any, dy: Any) -> Callable[[], Any]:
    if pass_ == "forward":
        return lambda: F.conv2d(x, w, padding=1, algo=algo)
    if pass_ == "backward_input":
        return lambda: grad.conv2d_input(X, w, dy, padding=1, algo=algo)
    return lambda: grad.conv2d_weight(x, W, dy, padding=1, algo=algo)


def measured(rounds: int) -> list[dict[str, Any]]:
    """A line per pass and row; rounds are interleaved."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in (X, W, X)]
    lines = []
    for pass_ in PASSES:
        exact = np.asarray(call(pass_, "direct", *(fastcnn.tensor(a.astype(np.float64)) for a in arrays))())
        calls: dict[tuple[str, str], Callable[[], Any]] = {}
        for dtype in ("float32", "bfloat16"):
            operands = [fastcnn.tensor(a).to(dtype).to("cuda") for a in arrays]
            for row in fastcnn.conv_algorithms(X, W, padding=1, pass_=pass_, dtype=dtype, device="cuda"):
                if row.reason is None and (dtype == "float32" or row.name.endswith("mma")):
                    calls[row.name, dtype] = call(pass_, row.name, *operands)
        samples: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
        for _ in range(rounds):
            for key, work in calls.items():
                start = time.perf_counter()
                work()
                samples[key].append(time.perf_counter() - start)
        for (name, dtype), work in calls.items():
            off = work().to("float64").numpy() - exact
            lines.append({
                "pass": pass_, "row": name, "dtype": dtype,
                "ms": round(1e3 * statistics.median(samples[name, dtype]), 1),
                "error": float(f"{np.sqrt(np.mean(off**2) / np.mean(exact**2)):.3g}"),
            })  # fmt: skip
            print(lines[-1], flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the lines here")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not fastcnn._core.cuda_is_emulated():
        print("emulated_conv: not an emulated build; -DFASTCNN_CUDA=emulate makes one (CONTRIBUTING.md)")
        return 3
    with fastcnn.no_grad():
        lines = measured(options.rounds)
    head = {
        "command": "python scripts/emulated_conv.py", **stamp(), "cpu": fastcnn._core.device_info("cpu")["name"],
        "card": fastcnn._core.device_info("cuda")["name"], "problem": {"x": X, "w": W, "padding": 1},
    }  # fmt: skip
    if options.json:
        rows = ",\n".join(f"  {json.dumps(line)}" for line in lines)
        options.json.write_text(json.dumps(head)[:-1] + f',\n "rows": [\n{rows}\n ]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
