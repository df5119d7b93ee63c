"""The version: that of pyproject.toml, compiled into the module (see cmake/FastcnnBuildInfo.cmake)."""

from __future__ import annotations

from fastcnn._loader import _core

__version__: str = _core.build_info()["version"]
