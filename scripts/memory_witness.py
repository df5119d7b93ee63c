"""Predicted memory beside two outside witnesses, for a few networks, each in a fresh process.

    python scripts/memory_witness.py                    # prints a table
    python scripts/memory_witness.py --json FILE        # and writes it, with commit and date

Per network `fastcnn memory verify` predicts a training, runs real steps in another process, and compares: the
allocator's peak must equal the prediction to the byte, and the resident memory that the system counts over the
imported idle process must lie between what the step touches and what the allocator took plus 64 MiB for code, stacks
and Python's own objects. The last row takes 10,000 steps of a small network, after which resident memory must be what
it was after the first thousand, to 256 KiB. Exit code 1 if one of these does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from results import stamp, write  # noqa: E402

#: (model, batch, optimizer): most of it parameters; most of it activations; a decoder with concatenation
NETS = (
    ("vgg16", 2, "sgd,momentum=0.9"),
    ("resnet50", 8, "adam"),
    ("unet", 1, "sgd"),
)
SLACK = 64 << 20
#: Pages that no kernel writes (padding of blocks, an unused corner of a workspace) are counted but never resident.
UNTOUCHED = 0.03

FLAT = """
import gc, json, resource, sys
import numpy as np
from fastcnn import functional as F, memory, models, optim, set_num_threads
from fastcnn.training import train_step
set_num_threads(int(sys.argv[1]))
model = models.digits_cnn(width=4)
optimizer = optim.Adam(model.parameters())
x, y = np.zeros((8, 1, 8, 8), "f4"), np.zeros(8, "i8")
gc.disable()
rows = []
for part in range(10):
    for _ in range(1000):
        train_step(model, F.cross_entropy, optimizer, x, y)
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[1])
    rows.append([pages * resource.getpagesize(), memory.allocated_bytes(), memory.reserved_bytes()])
print(json.dumps(rows))
"""


def verify(name: str, batch: int, optimizer: str, threads: int) -> dict[str, Any]:
    """One network; its process is as fresh as `fastcnn memory verify` makes it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "v.json"
        command = [
            sys.executable,
            "-m",
            "fastcnn",
            "memory",
            "verify",
            name,
            "--batch",
            str(batch),
            "--optimizer",
        ]
        done = subprocess.run(
            [*command, optimizer, "--steps", "2", "--threads", str(threads), "--json", str(out)],
            capture_output=True,
            text=True,
        )
        if not out.exists():
            raise RuntimeError(f"{name}: {done.stderr}")
        found = json.loads(out.read_text())
    predicted, grown = found["predicted_peak_bytes"], found["resident_growth_bytes"]
    reserved = found["measured_reserved_bytes"]
    return {
        "model": name,
        "batch": batch,
        "optimizer": optimizer,
        "predicted_peak_bytes": predicted,
        "measured_peak_bytes": found["measured_peak_bytes"],
        "difference_bytes": found["difference_bytes"],
        "predicted_reserved_bytes": found["predicted_reserved_bytes"],
        "measured_reserved_bytes": reserved,
        "resident_growth_bytes": grown,
        "resident_over_predicted": round(grown / predicted, 4),
        "holds": found["difference_bytes"] == 0 and (1 - UNTOUCHED) * predicted <= grown <= reserved + SLACK,
    }


def flat(threads: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(threads)], capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout)
    grown = max(r[0] for r in rows) - rows[0][0]
    return {
        "steps": 10_000,
        "resident_after_1000": rows[0][0],
        "resident_growth_bytes": grown,
        "allocated_bytes": sorted({r[1] for r in rows}),
        "holds": grown <= 256 << 10 and len({tuple(r[1:]) for r in rows}) == 1,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    rows = []
    for net in NETS:
        rows.append(verify(*net, args.threads))
        r = rows[-1]
        print(
            f"{r['model']:<10} batch {r['batch']}, {r['optimizer']:<17} predicted {r['predicted_peak_bytes']:>13,} "
            f"measured {r['measured_peak_bytes']:>13,} resident +{r['resident_growth_bytes']:>13,} "
            f"reserved {r['measured_reserved_bytes']:>13,} {'holds' if r['holds'] else 'DOES NOT HOLD'}",
            flush=True,
        )
    steps = flat(args.threads)
    print(
        f"10,000 steps: resident memory grew by {steps['resident_growth_bytes']:,} bytes after the first 1,000"
    )
    if args.json:
        write(
            args.json.resolve(), "witness", {**stamp(), "threads": args.threads, "nets": rows, "flat": steps}
        )
    return 0 if all(r["holds"] for r in rows) and steps["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
