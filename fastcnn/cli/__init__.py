"""The command line: ``fastcnn`` = ``python -m fastcnn``.

Exit codes: 0 ok, 1 a check failed, 2 bad usage (also input that cannot be used).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

COMMANDS = {
    "memory": "predict the memory of a model to the byte, find the largest batch, verify",
    "info": "what this build and this machine have",
    "selftest": "check the kernels on this machine against float64",
    "train": "train a small CNN on real images",
    "bench": "time our kernels beside PyTorch's",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    import importlib

    parser = argparse.ArgumentParser(
        prog="fastcnn", description="Convolutional networks from hand-written kernels."
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="command")
    modules = {name: importlib.import_module(f"fastcnn.cli.{name}") for name in COMMANDS}
    for name, text in COMMANDS.items():
        modules[name].add_arguments(commands.add_parser(name, help=text, description=modules[name].__doc__))
    args = parser.parse_args(argv)
    if args.version:
        from fastcnn._version import __version__

        print(__version__)
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return modules[args.command].run(args)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        print(f"fastcnn {args.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fastcnn {args.command}: interrupted", file=sys.stderr)
        return 130


def write_json(path: str | None, value: object) -> None:
    """Writes JSON to a file (temporary name, then renamed), or to standard output for "-"; None does nothing."""
    import os

    if path is None:
        return
    text = json_text(value)
    if path == "-":
        sys.stdout.write(text)
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"--json: cannot write {path!r}: {error.strerror}; choose a writable folder") from error


def json_text(value: object) -> str:
    """JSON with one line per key, and one per row where a key has a list of rows: files whose changes can be read."""
    import json

    def part(v: object) -> str:
        if isinstance(v, list) and v and isinstance(v[0], dict):
            return "[\n  " + ",\n  ".join(map(json.dumps, v)) + "\n ]"
        return json.dumps(v)

    if not isinstance(value, dict):
        return part(value) + "\n"
    return "{\n" + ",\n".join(f" {json.dumps(k)}: {part(v)}" for k, v in value.items()) + "\n}\n"


def human_bytes(count: int) -> str:
    """1,234,567 bytes as "1,234,567 bytes (1.18 MiB)"."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count:,} bytes ({count / size:.2f} {unit})"
    return f"{count:,} bytes"
