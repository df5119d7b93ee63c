#!/usr/bin/env python3
"""Does what a new user does, in a clean virtual environment, and writes down how it went.

    python scripts/first_use.py --json benchmarks/results/first_use.json

The two commands of README.md, timed; the size of the wheel, the time of an import, the accuracy of five seeds of
`fastcnn train digits`, the tests' counts. PyTorch, the tests' oracle, is installed before the second command if pip
finds it (--torch names the requirement; "" leaves it out). Needs a compiler and pip's package index; about ten minutes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEEDS = range(5)


def run(command: list[str], cwd: Path, check: bool = True) -> tuple[float, str]:
    """(seconds, output)."""
    hidden = {k for k in os.environ if k.startswith("FASTCNN_")} | {"PYTHONPATH", "VIRTUAL_ENV"}
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    begin = time.monotonic()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
    if check and done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return time.monotonic() - begin, done.stdout + done.stderr


def digits(python: Path, folder: Path) -> dict[str, Any]:
    """Five seeds on one thread."""
    rows = []
    for seed in SEEDS:
        out = folder / f"digits{seed}.json"
        command = [str(python.with_name("fastcnn")), "train", "digits", "--threads", "1", "--seed", str(seed)]
        run([*command, "--json", str(out), "--out", str(folder / "digits.safetensors")], folder)
        rows.append(json.loads(out.read_text()))
        print(f"seed {seed}: {rows[-1]['accuracy']:.4f} in {rows[-1]['seconds']:.1f} s", flush=True)
    return {
        "accuracies": [r["accuracy"] for r in rows],
        "median_accuracy": statistics.median(r["accuracy"] for r in rows),
        "median_seconds": round(statistics.median(r["seconds"] for r in rows), 2),
        "predicted_peak_bytes": rows[0]["predicted_peak_bytes"],
        "measured_peak_bytes": rows[0]["measured_peak_bytes"],
        "all_predictions_exact": all(r["predicted_peak_bytes"] == r["measured_peak_bytes"] for r in rows),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--torch", default="torch==2.13.0", help='the oracle to install, "" for none')
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "scripts"))
    with tempfile.TemporaryDirectory(prefix="first_use") as name:
        folder = Path(name)
        source = folder / "source"
        run(["git", "clone", "-q", str(ROOT), str(source)], folder)
        run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
        python = folder / "venv" / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        first, _ = run([*pip, ".[train,data]"], source)
        print(f"first install {first:.0f} s", flush=True)
        learnt = digits(python, folder)
        if options.torch:
            run([*pip, options.torch], folder, check=False)
        second, log = run([*pip, "-v", ".[test]"], source)
        print(f"second install {second:.0f} s", flush=True)
        seconds, output = run([str(python), "-m", "pytest", "-q", "-rs"], source, check=False)
        counts = {k: int(n) for n, k in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}
        skips = sorted(set(re.findall(r"^SKIPPED \[\d+\] \S+: (.+)$", output, re.MULTILINE)))
        print(counts, flush=True)
        run([str(python), "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "."], source)
        wheel = next(folder.glob("fastcnn-*.whl"))
        timing = (
            "import sys; sys.path.insert(0, 'scripts'); from check_wheel import import_seconds; "
            "print(import_seconds('fastcnn'), import_seconds('numpy'))"
        )
        _, text = run([str(python), "-c", timing], source)
        imports = [round(float(t), 3) for t in text.split()[-2:]]
        _, config = run([str(python), "-c", "import fastcnn; print(fastcnn.show_config())"], folder)
        _, commit = run(["git", "rev-parse", "--short", "HEAD"], source)
        row = {
            "command": "python scripts/first_use.py", "date": datetime.date.today().isoformat(),
            "commit": commit.strip(), "cpu": re.search(r"^CPU +(.+)$", config, re.MULTILINE)[1],
            "cores": os.cpu_count(),
            "first_install_seconds": round(first), "second_install_seconds": round(second),
            "second_install_compiled": "Building CXX object" in log, "digits": learnt,
            "tests": {**counts, "seconds": round(seconds), "skip_reasons": skips},
            "wheel_bytes": wheel.stat().st_size, "import_seconds": imports[0], "import_numpy_seconds": imports[1],
        }  # fmt: skip
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row, indent=1))
    return (
        0 if not counts.get("failed") and not counts.get("error") and learnt["all_predictions_exact"] else 1
    )


if __name__ == "__main__":
    sys.exit(main())
