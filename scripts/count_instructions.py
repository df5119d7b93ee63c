"""Counts the instructions of tiny calls under callgrind: a guard of call overhead that no other load can disturb.

python scripts/count_instructions.py           prints the table, exit 1 if a row is above its limit

A call on one element is all overhead: argument conversion, checks, planning, allocation, the tape. Counted are the
instructions in our extension and in the C and C++ libraries that it calls, per call; the interpreter's own, another
number for each version of Python, stand beside them. valgrind has no AVX-512, so the AVX2 rows run. Needs valgrind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

CALLS = 300
#: call -> instructions outside of the interpreter at most: 15 % above what they were when the row was last changed
LIMITS = {
    "relu": 8_800,
    "add": 12_300,
    "linear": 10_700,
    "conv2d": 14_000,
    "conv2d, forward and backward": 103_400,
    "SGD step": 19_700,
}


def run_calls() -> None:
    """The process that callgrind watches: a mark, then each call CALLS times."""
    import fastcnn
    from fastcnn import functional as F
    from fastcnn import optim

    x, w, one = (fastcnn.ones(1, 1, 1, 1) for _ in range(3))
    leaf, weight = (fastcnn.ones(1, 1, 1, 1).requires_grad_() for _ in range(2))
    row, matrix = fastcnn.ones(1, 1), fastcnn.ones(1, 1)
    sgd = optim.SGD([weight], lr=0.1, momentum=0.9)

    def without_tape(function):  # type: ignore[no-untyped-def]
        def call() -> None:
            with fastcnn.no_grad():
                function()

        return call

    calls = [
        without_tape(lambda: F.relu(x)),
        without_tape(lambda: x + w),
        without_tape(lambda: F.linear(row, matrix)),
        without_tape(lambda: F.conv2d(x, w)),
        lambda: F.conv2d(leaf, weight).backward(one),
        sgd.step,
    ]
    for call in calls:
        for _ in range(10):
            call()
        fastcnn.set_num_threads(1)  # the mark: callgrind starts a new file here
        for _ in range(CALLS):
            call()
        fastcnn.set_num_threads(1)


def cost_by_object(profile: Path) -> Counter[str]:
    """Instructions by the name of the shared object, from a callgrind file without compressed names."""
    found: Counter[str] = Counter()
    where, inclusive = "", False
    for line in profile.read_text().splitlines():
        if line.startswith("ob="):
            where = Path(line[3:]).name
        elif line.startswith("calls="):
            inclusive = True  # the next line is what the called function cost: counted where it is
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if not inclusive:
                found[where] += int(line.split()[-1])
            inclusive = False
    return found


def measure() -> dict[str, tuple[float, float]]:
    """{call: (instructions of the libraries, of the interpreter) per call}."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--compress-strings=no",
            "--compress-pos=no", "--dump-before=fastcnn::cpu::set_num_threads*",
            sys.executable, __file__, "--calls",
        ]  # fmt: skip
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"valgrind failed:\n{done.stdout}{done.stderr}")
        files = [Path(folder) / f"out.{i + 1}" for i in range(2 * len(LIMITS))]
        counted = [cost_by_object(f) for f in files[1::2]]
    result = {}
    for name, found in zip(LIMITS, counted):
        interpreter = sum(n for o, n in found.items() if o.startswith(("libpython", "python")))
        result[name] = (sum(found.values()) - interpreter) / CALLS, interpreter / CALLS
    return result


def main() -> int:
    from fastcnn.summary import format_table

    if shutil.which("valgrind") is None:
        print("count_instructions: not counted: valgrind is not installed")
        return 0
    result = measure()
    rows = [(n, f"{a:,.0f}", f"{LIMITS[n]:,}", f"{b:,.0f}") for n, (a, b) in result.items()]
    print(format_table(["instructions per call", "counted", "at most", "interpreter"], rows))
    above = [n for n, (a, _) in result.items() if a > LIMITS[n]]
    if above:
        print(
            f"more than allowed: {', '.join(above)}; find out why with callgrind_annotate, or say why in LIMITS"
        )
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(run_calls() if "--calls" in sys.argv else main())
