"""Checks an installed wheel from outside the source tree: contents, size, import time (run by .ci/run).

python scripts/check_wheel.py dist/fastcnn-*.whl --source .
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import zipfile
from pathlib import Path

SIZE_LIMIT_BYTES = 5_000_000
IMPORT_LIMIT_SECONDS = 0.3


def contents(wheel: Path, source: Path) -> list[str]:
    """What is wrong with the files in the wheel."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {p.relative_to(source).as_posix() for p in (source / "fastcnn").rglob("*.py*")}
    wanted = {n for n in wanted if "__pycache__" not in n} | {"fastcnn/py.typed"}
    wrong = [f"left out: {n}" for n in sorted(wanted - names)]
    wrong += [f"stranger: {n}" for n in sorted(names) if not n.startswith(("fastcnn/", "fastcnn-"))]
    wrong += [f"not for users: {n}" for n in sorted(names) if n.endswith((".cpp", ".o", ".a", ".h", ".pyc"))]
    if not any(re.fullmatch(r"fastcnn/_core\..+\.so", n) for n in names):
        wrong.append("left out: the compiled module")
    if not any(n.endswith("licenses/LICENSE") for n in names):
        wrong.append("left out: LICENSE")
    return wrong


def import_seconds(module: str) -> float:
    """Processor time of the import alone: the least of eight fresh interpreters, so that a busy machine does
    not count."""
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    command = [sys.executable, "-c", code]
    return min(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(8)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks an installed wheel.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="the source tree it was made from")
    arguments = parser.parse_args()

    wrong = contents(arguments.wheel, arguments.source)
    size = arguments.wheel.stat().st_size
    if size > SIZE_LIMIT_BYTES:
        wrong.append(f"size: {size} bytes, limit {SIZE_LIMIT_BYTES}")
    total, numpy = import_seconds("fastcnn"), import_seconds("numpy")
    if total > IMPORT_LIMIT_SECONDS:
        wrong.append(f"import: {total:.3f} s, limit {IMPORT_LIMIT_SECONDS} s")
    print(f"wheel {size / 1e6:.2f} MB, import {total:.3f} s (of which numpy {numpy:.3f} s)")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
