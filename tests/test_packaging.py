"""Version, configuration table, loader and the contents of a wheel."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastcnn
from fastcnn import config
from fastcnn._loader import _core
from fastcnn._version import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_one_version_everywhere():
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    changelog = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert project and changelog and citation
    assert {project[1], changelog[1], citation[1], __version__} == {__version__}
    assert fastcnn.__version__ == __version__


def test_installed_version():
    try:
        installed = importlib.metadata.version("fastcnn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fastcnn is not installed here (development build)")
    assert installed == __version__


def test_build_info():
    info = _core.build_info()
    assert set(info) == {
        "version", "compiler", "flags", "build_type", "processor", "isas", "cuda", "cuda_reason", "sanitizer",
    }  # fmt: skip
    assert info["cuda"] in ("on", "off", "emulate")
    assert info["cuda"] == "on" or info["cuda_reason"]
    assert "-ffast-math" not in info["flags"]
    assert set(info["isas"]) <= {"baseline", "avx2", "avx512", "neon"}
    assert info["isas"]


# ---- configuration ----


def names_in(*folders: str) -> dict[str, str]:
    """Each FASTCNN_* name in the sources with one file that has it."""
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".inl", ".cu", ".cuh", ".py", ".cmake", ".txt"):
                for name in re.findall(r"\bFASTCNN_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()):
                    found.setdefault(name, path.relative_to(ROOT).as_posix())
    return found


def test_every_variable_is_in_the_table():
    found = names_in("csrc", "fastcnn")
    known = {v.name for v in config.VARIABLES}
    assert "FASTCNN_NUM_THREADS" in found, "the search finds nothing"
    missing = {name: path for name, path in found.items() if name not in known}
    assert not missing, f"not in fastcnn/config.py: {missing}"


def test_every_row_of_the_table_is_used():
    used = set(names_in("csrc", "cmake"))
    used |= {name for name, path in names_in("fastcnn").items() if not path.endswith("config.py")}
    used |= set(re.findall(r"FASTCNN_[A-Z_]+", (ROOT / "CMakeLists.txt").read_text()))
    assert {v.name for v in config.VARIABLES} <= used
    assert all(v.scope in ("run", "build", "cmake") and v.meaning and v.default for v in config.VARIABLES)


def test_settings_shows_what_is_set(monkeypatch):
    monkeypatch.setenv("FASTCNN_NUM_THREADS", "3")
    assert config.settings()["FASTCNN_NUM_THREADS"] == "3"


# ---- loader ----


def run_python(code: str, **env: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(fastcnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_core_variable_chooses_the_module():
    done = run_python("from fastcnn._loader import _core; print(_core.__file__)", FASTCNN_CORE=_core.__file__)
    assert done.stdout.strip() == _core.__file__, done.stderr


def test_core_variable_with_a_wrong_path():
    done = run_python("import fastcnn", FASTCNN_CORE="/nonexistent/_core.so")
    assert done.returncode == 1
    assert (
        "FASTCNN_CORE names no file, got '/nonexistent/_core.so', expected the path of a built" in done.stderr
    )


def test_missing_module_is_explained(tmp_path):
    (tmp_path / "fastcnn").mkdir()
    (tmp_path / "fastcnn" / "__init__.py").touch()
    source = (Path(fastcnn.__file__).parent / "_loader.py").read_text()
    (tmp_path / "fastcnn" / "_loader.py").write_text(source)
    # -S and -I: no site-packages, so that no installed distribution is found.
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import fastcnn._loader"
    env = {k: v for k, v in os.environ.items() if k != "FASTCNN_CORE"}
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is missing, got none in" in done.stderr
    assert "run `pip install .`" in done.stderr


# ---- wheel ----


def check_wheel():
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / "scripts" / "check_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wheel_contents():
    wheels = sorted((ROOT / "dist").glob("fastcnn-*.whl"), key=lambda p: p.stat().st_mtime)
    if not wheels:
        pytest.skip("no wheel in dist/ (.ci/run makes and checks one of its own)")
    assert check_wheel().contents(wheels[-1], ROOT) == []
    assert wheels[-1].stat().st_size <= check_wheel().SIZE_LIMIT_BYTES


def test_wrong_wheel_is_noticed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("fastcnn/__init__.py", "")
        wheel.writestr("fastcnn/kernel.cpp", "")
        wheel.writestr("tests/test_a.py", "")
    wrong = check_wheel().contents(tmp_path / "a.whl", ROOT)
    assert "stranger: tests/test_a.py" in wrong
    assert "not for users: fastcnn/kernel.cpp" in wrong
    assert {"left out: the compiled module", "left out: LICENSE", "left out: fastcnn/config.py"} <= set(wrong)
