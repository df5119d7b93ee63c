"""Writes fastcnn/_core.pyi, the types of the compiled module, or checks that it is up to date.

python scripts/make_stub.py            # write (needs pybind11-stubgen and ruff: pip install ".[dev]")
python scripts/make_stub.py --check    # exit 1 and show the difference if the committed one is old
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "fastcnn" / "_core.pyi"


def generate() -> str:
    # The generator imports `fastcnn._core` by name, which _loader has put into sys.modules.
    code = (
        "import fastcnn._loader, pybind11_stubgen, sys; "
        "pybind11_stubgen.main(['fastcnn._core', '-o', sys.argv[1], '--exit-code', "
        "'--numpy-array-use-type-var'])"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, folder],
            check=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        made = Path(folder) / "fastcnn" / "_core.pyi"
        lint = [sys.executable, "-m", "ruff"]
        config = ["--config", str(ROOT / "pyproject.toml")]
        subprocess.run([*lint, "check", "-q", "--select", "I,F401", "--fix", *config, made], check=True)
        subprocess.run([*lint, "format", "-q", *config, made], check=True)
        return made.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description="Stub of the compiled module.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    new = generate()
    if not parser.parse_args().check:
        STUB.write_text(new)
        return 0
    old = STUB.read_text() if STUB.exists() else ""
    difference = list(
        difflib.unified_diff(old.splitlines(), new.splitlines(), "committed", "of this build", "", "", 2)
    )
    print("\n".join(difference[:80]))
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
