"""What this process runs on: build, CPU, devices, settings."""

from __future__ import annotations

import os
import sys
from typing import Any

from fastcnn._loader import _core
from fastcnn._version import __version__

__all__ = ["device_count", "facts", "show_config", "synchronize"]


def device_count(kind: str = "cuda") -> int:
    """How many devices of a kind there are: "cuda" (0 in a build without CUDA, or without a driver) or "cpu" (1).

    Raises:
        ValueError: any other kind.
    """
    if kind not in ("cuda", "cpu"):
        raise ValueError(f"device_count: got {kind!r}, expected 'cuda' or 'cpu'")
    return 1 if kind == "cpu" else _core.cuda_device_count()


def synchronize(device: str = "cpu") -> None:
    """Returns once `device` has done all work given to it so far.

    Ops on the CPU (and on meta twins) are done when they return, so there is nothing to wait for. Kernels on CUDA run
    on behind Python; reading a value (``item``, ``numpy``, ``to("cpu")``) waits for them too.

    Raises:
        ValueError: an unknown device.
        DeviceError: a device that this build or machine does not have, or what went wrong on it meanwhile.
    """
    _core.synchronize(device)


def facts() -> dict[str, Any]:
    """Everything that :func:`show_config` and ``fastcnn info`` say, as plain values."""
    import numpy

    from fastcnn.algorithms import conv_algorithms, get_precision
    from fastcnn.config import VARIABLES

    return {
        "version": __version__,
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "build": dict(_core.build_info()),
        "core": _core.__file__,
        "cpu": dict(_core.device_info("cpu")),
        "isa": _core.isa(),
        "isas_available": list(_core.available_isas()),
        "threads": _core.num_threads(),
        "precision": get_precision(),
        "cuda_devices": device_count("cuda"),
        "algorithms": [row.name for row in conv_algorithms((1, 1, 8, 8), (1, 1, 3, 3))],
        "variables": {v.name: os.environ.get(v.name) for v in VARIABLES},
    }


def show_config() -> str:
    """Version, compiler, CPU, instruction set, threads, algorithms, CUDA and the FASTCNN_* variables that are set.

    A few lines of text, to print or to put into a bug report.
    """
    from fastcnn.memory.sizes import format_bytes

    found = facts()
    build, cpu = found["build"], found["cpu"]
    rows = [
        ("fastcnn", f"{found['version']} (Python {found['python']}, NumPy {found['numpy']})"),
        ("compiler", f"{build.get('compiler')}, {build.get('build_type')}"),
        ("CPU", str(cpu["name"])),
        ("caches", ", ".join(f"{k} {format_bytes(cpu[f'{k}_bytes'])}" for k in ("l1", "l2", "l3"))),
        ("instruction set", f"{found['isa']} (this machine can run {', '.join(found['isas_available'])})"),
        ("threads", str(found["threads"])),
        ("precision", found["precision"]),
        ("convolution", ", ".join(found["algorithms"])),
        ("CUDA", f"{build.get('cuda')}: {build.get('cuda_reason')}"),
    ]
    rows += [(name, value) for name, value in found["variables"].items() if value is not None]
    width = max(len(r[0]) for r in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)
