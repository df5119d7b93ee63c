"""FASTCNN_CUDA: where nvcc is looked for and what is said when CUDA is off or cannot be built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "cmake" / "FastcnnCuda.cmake"
CMAKE = shutil.which("cmake")
pytestmark = pytest.mark.skipif(
    CMAKE is None, reason="cmake is not on PATH (pip brings it for the build only)"
)


def configure(mode: str, *options: str, **env: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in ("CUDACXX", "CUDA_HOME", "CUDA_PATH")}
    return subprocess.run(
        [CMAKE, f"-DFASTCNN_CUDA={mode}", *options, "-P", str(SCRIPT)],
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def text_of(done: subprocess.CompletedProcess) -> str:
    return " ".join((done.stdout + done.stderr).split())


def fake_nvcc(folder: Path, release: str | None) -> Path:
    """A program that answers --version as nvcc does, or fails."""
    path = folder / "bin" / "nvcc"
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = f'echo "Cuda compilation tools, release {release}, V{release}.1"' if release else "exit 1"
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH", "CUDACXX", "PATH"])
def test_auto_finds_nvcc_and_says_one_line(tmp_path, variable):
    nvcc = fake_nvcc(tmp_path, "99.7")
    value = {"CUDACXX": str(nvcc), "PATH": f"{nvcc.parent}{os.pathsep}{os.environ['PATH']}"}
    done = configure("auto", **{variable: value.get(variable, str(tmp_path))})
    assert done.returncode == 0, done.stderr
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert lines == [
        f"-- fastcnn: CUDA is off: nvcc 99.7 found at {nvcc}, FASTCNN_CUDA=on builds the kernels, "
        "which no card has run yet"
    ]


def test_auto_says_why_when_nvcc_does_not_run(tmp_path):
    nvcc = fake_nvcc(tmp_path, None)
    done = configure("AUTO", CUDA_HOME=str(tmp_path))
    assert done.returncode == 0
    assert text_of(done) == f"-- fastcnn: CUDA is off: nvcc at {nvcc} does not run"


@pytest.mark.parametrize("mode", ["off", "OFF", "0", "false"])
def test_off(mode):
    assert text_of(configure(mode)) == "-- fastcnn: CUDA is off: built with FASTCNN_CUDA=off"


@pytest.mark.parametrize("mode", ["on", "ON", "1"])
def test_on_fails_loudly(tmp_path, mode):
    done = configure(mode, CUDACXX=str(fake_nvcc(tmp_path, None)))
    assert done.returncode != 0
    assert re.search(
        r"FASTCNN_CUDA=on: CUDA cannot be built: .+; use FASTCNN_CUDA=auto or off", text_of(done)
    )


def test_on_uses_nvcc(tmp_path):
    nvcc = fake_nvcc(tmp_path, "99.7")
    assert text_of(configure("on", CUDACXX=str(nvcc))) == f"-- fastcnn: CUDA is on: nvcc 99.7 found at {nvcc}"


def test_emulate_says_one_line():
    done = configure("emulate")
    assert done.returncode == 0
    assert text_of(done) == "-- fastcnn: CUDA is emulated: kernels run on the CPU, for tests"


@pytest.mark.parametrize(("state", "allowed"), [("wheel", False), ("", False), ("editable", True)])
def test_emulated_kernels_never_get_into_a_wheel(state, allowed):
    done = configure("emulate", "-DSKBUILD=ON", f"-DSKBUILD_STATE={state}")
    assert (done.returncode == 0) == allowed
    refusal = (
        "FASTCNN_CUDA=emulate: emulated kernels are for tests and cannot go into a wheel; use plain CMake"
    )
    assert (refusal in text_of(done)) != allowed


def test_unknown_value():
    done = configure("maybe")
    assert done.returncode != 0
    assert "unknown value, got maybe, expected auto, on, off or emulate" in text_of(done)
