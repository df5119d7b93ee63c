"""scripts/gpu_check.py refuses in words where there is no GPU; its predictions are computed, not typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
if not (SCRIPTS / "gpu_check.py").is_file():
    pytest.skip("scripts/gpu_check.py is not here", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))
try:
    import gpu_cases
finally:
    sys.path.remove(str(SCRIPTS))


def gpu_check(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ if path is None else {**os.environ, "PATH": path}
    command = [sys.executable, str(SCRIPTS / "gpu_check.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = gpu_check(path=str(tmp_path))
    assert done.returncode == 3
    assert done.stdout.startswith("gpu_check: no GPU here")


def test_unknown_stages_are_named(tmp_path: Path) -> None:
    done = gpu_check("benches", path=str(tmp_path))
    assert done.returncode == 2 and "unknown stage benches" in done.stderr
    assert gpu_check("--list").stdout.split() == ["build", "families", "suite", "sanitizer", "bench"]


def test_predictions_are_current() -> None:
    """benchmarks/results/cuda_predicted.json is what `python scripts/gpu_cases.py --write` writes."""
    assert gpu_cases.PREDICTED.read_text() == gpu_cases.text()


def test_predictions_by_hand() -> None:
    cases = json.loads(gpu_cases.PREDICTED.read_text())["cases"]
    relu = cases["relu"]  # 12.8 million floats read and written at 4.3 TB/s, and a launch
    assert relu["bound"] == "memory" and relu["floor_us"] == pytest.approx(
        2 * 4 * 64**2 * 56**2 / 4.3e6 + 3, abs=0.01
    )
    conv = cases["conv 3x3 64>64 @56"]  # 14.8 GFLOP at 60 TFLOP/s
    assert conv["bound"] == "arithmetic"
    assert conv["floor_us"] == pytest.approx(2 * 64 * 56**2 * 64 * 64 * 9 / 60e6 + 3, abs=0.01)
    assert all(0 < c["floor_us"] < c["expected_us"] for c in cases.values())


@pytest.mark.parametrize("case", gpu_cases.CASES, ids=lambda c: c.name)
def test_cases_run(case: gpu_cases.Case) -> None:
    """On the twin of an H200: a case that could not run there would only be noticed on the card."""
    import fastcnn
    from fastcnn import functional as F

    tensors = [fastcnn.empty(shape, dtype=case.dtype, device="meta:h200") for shape in case.shapes]
    tensors += [fastcnn.empty(shape, dtype="int64", device="meta:h200") for shape, _ in case.indices]
    with fastcnn.no_grad():
        assert case.ours(fastcnn, F, tensors).device == "meta:h200"
    assert fastcnn.get_precision() == "fp32"
