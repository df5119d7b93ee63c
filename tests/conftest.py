"""Which compiled module the tests run on, and what may run where."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--core",
        metavar="PATH",
        help="test this built _core (and the Python sources beside it) instead of the installed package",
    )


def pytest_configure(config: pytest.Config) -> None:
    core = config.getoption("--core")
    if core:
        if not Path(core).is_file():
            raise pytest.UsageError(
                f"--core names no file, got {core}, expected the path of a built _core*.so"
            )
        os.environ["FASTCNN_CORE"] = str(Path(core).resolve())
        sys.path.insert(0, str(ROOT))
    if os.environ.get("FASTCNN_TEST_DEVICE", "cpu") != "cpu":
        from on_device import OnDevice

        config.pluginmanager.register(OnDevice())
    # Hypothesis: the same examples on every run, none timed (CI machines pause).
    try:
        import hypothesis
    except ImportError:
        return
    hypothesis.settings.register_profile("fastcnn", derandomize=True, deadline=None)
    hypothesis.settings.register_profile("quick", derandomize=True, deadline=None, max_examples=10)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fastcnn"))


def pytest_collection_finish() -> None:
    """Many tests collect garbage to count blocks; modules and thousands of test items need not be walked each time."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    try:
        from fastcnn._loader import _core
    except ImportError as e:  # the layering test needs no build
        return f"fastcnn: {e}"
    info = _core.build_info()
    built = f"{info['compiler']}, {info['sanitizer'] or 'no sanitizer'}, CUDA {info['cuda']}"
    return f"fastcnn: {_core.__file__} ({built})"
