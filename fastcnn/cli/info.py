"""Shows version, compiler, instruction sets, threads, devices, why CUDA is off, and every FASTCNN_* variable."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write as JSON; - is standard output")


def run(args: argparse.Namespace) -> int:
    from fastcnn.cli import write_json
    from fastcnn.environment import facts, show_config

    if args.json is not None:
        write_json(args.json, facts())
    if args.json != "-":
        print(show_config())
    return 0
