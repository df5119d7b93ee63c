"""Shows version, compiler, instruction sets, threads, devices, why CUDA is off, and every FASTCNN_* variable."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write as JSON; - is standard output")


def facts() -> dict[str, Any]:
    """Everything that `fastcnn info` prints, as plain values."""
    import numpy

    import fastcnn
    from fastcnn._loader import _core
    from fastcnn._version import __version__
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
        "threads": fastcnn.get_num_threads(),
        "algorithms": [row.name for row in fastcnn.conv_algorithms((1, 1, 8, 8), (1, 1, 3, 3))],
        "variables": {v.name: os.environ.get(v.name) for v in VARIABLES},
    }


def run(args: argparse.Namespace) -> int:
    from fastcnn.cli import human_bytes, write_json

    found = facts()
    if args.json is not None:
        write_json(args.json, found)
        if args.json == "-":
            return 0
    build, cpu = found["build"], found["cpu"]
    rows = [
        ("fastcnn", f"{found['version']} (Python {found['python']}, NumPy {found['numpy']})"),
        ("compiler", f"{build.get('compiler')}, {build.get('build_type')}"),
        ("CPU", str(cpu["name"])),
        ("caches", ", ".join(f"{k} {human_bytes(cpu[f'{k}_bytes'])}" for k in ("l1", "l2", "l3"))),
        ("instruction set", f"{found['isa']} (this machine can run {', '.join(found['isas_available'])})"),
        ("threads", str(found["threads"])),
        ("convolution", ", ".join(found["algorithms"])),
        ("CUDA", f"{build.get('cuda')}: {build.get('cuda_reason')}"),
    ]
    rows += [(name, value) for name, value in found["variables"].items() if value is not None]
    width = max(len(r[0]) for r in rows)
    for name, value in rows:
        print(f"{name.ljust(width)}  {value}")
    return 0
