"""Finds the compiled half of the package: ``from fastcnn._loader import _core``.

The order is: the file named by ``FASTCNN_CORE`` (development: a sanitized or emulated build), the module
beside this file, and, when Python runs inside the source tree, the module of the installed distribution.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path
from types import ModuleType

_NAME = "fastcnn._core"


def _in_folder(folder: Path) -> Path | None:
    return next((folder / f"_core{s}" for s in EXTENSION_SUFFIXES if (folder / f"_core{s}").is_file()), None)


def _installed() -> Path | None:
    try:
        distribution = importlib.metadata.distribution("fastcnn")
    except importlib.metadata.PackageNotFoundError:
        return None
    return _in_folder(Path(str(distribution.locate_file("fastcnn"))))


def _find() -> Path:
    chosen = os.environ.get("FASTCNN_CORE")
    if chosen:
        if not Path(chosen).is_file():
            raise ImportError(
                f"fastcnn: FASTCNN_CORE names no file, got {chosen!r}, expected the path of a built "
                f"_core{EXTENSION_SUFFIXES[0]}; build it (see CONTRIBUTING.md) or unset FASTCNN_CORE"
            )
        return Path(chosen)
    here = Path(__file__).parent
    found = _in_folder(here) or _installed()
    if found is None:
        others = sorted(p.name for p in here.glob("_core*") if p.suffix != ".pyi")
        raise ImportError(
            f"fastcnn: the compiled module _core{EXTENSION_SUFFIXES[0]} is missing, "
            f"got {others or 'none'} in {here}; run `pip install .` in the source tree, "
            f"or set FASTCNN_CORE to a built one"
        )
    return found


def _load(path: Path) -> ModuleType:
    loader = ExtensionFileLoader(_NAME, str(path))
    spec = importlib.util.spec_from_file_location(_NAME, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[_NAME]
        raise
    return module


_core = _load(_find())
