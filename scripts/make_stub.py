"""Writes fastcnn/_core.pyi, the types of the compiled module, or checks that it is up to date.

    python scripts/make_stub.py            # write (needs pybind11-stubgen and ruff: pip install ".[dev]")
    python scripts/make_stub.py --check    # exit 1 and show the difference if the committed one is old

The stub describes the classes as users meet them, so with the methods that fastcnn/tensor.py adds to Tensor.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "fastcnn" / "_core.pyi"
# Names that annotations written in Python use without the generator knowing where they come from.
IMPORTS = {
    "np": "import numpy as np",
    "Any": "from typing import Any",
    "Dim": "from fastcnn.functional.reduction import Dim",
    "RemovableHandle": "from fastcnn.handles import RemovableHandle",
    "Sorted": "from fastcnn.functional.sorting import Sorted",
    "Callable": "from collections.abc import Callable",
    "Iterable": "from collections.abc import Iterable",
    "Iterator": "from collections.abc import Iterator",
    "Mapping": "from collections.abc import Mapping",
    "Sequence": "from collections.abc import Sequence",
}


def ruff(*arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, capture_output=True, text=True).stdout


class Tidy(ast.NodeTransformer):
    """No docstrings (they live in Python); methods added from Python are methods, not static ones."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module, self.owner = module, None

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.owner = getattr(self.module, node.name)
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]
        self.generic_visit(node)
        self.owner = None
        if node.name == "Tensor":  # the buffer protocol, which Python shows as methods from 3.12 on only
            slots = ("__buffer__", "__release_buffer__")
            node.body = [n for n in node.body if not (isinstance(n, ast.FunctionDef) and n.name in slots)]
            node.body += ast.parse("def __buffer__(self, flags: int, /) -> memoryview: ...").body
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [ast.Expr(ast.Constant(...))]
        if self.owner is not None and isinstance(vars(self.owner).get(node.name), types.FunctionType):
            node.decorator_list = []
        return node


def generate() -> str:
    sys.path.insert(0, str(ROOT))
    import pybind11_stubgen

    from fastcnn._loader import _core

    with tempfile.TemporaryDirectory() as folder:
        pybind11_stubgen.main(
            ["fastcnn._core", "-o", folder, "--exit-code", "--ignore-unresolved-names", ".*"]
        )
        made = Path(folder) / "fastcnn" / "_core.pyi"
        text = ast.unparse(Tidy(_core).visit(ast.parse(made.read_text())))
        future, rest = text.split("\n", 1)
        made.write_text(text)
        report = json.loads(ruff("check", "--select", "F821", "--output-format", "json", str(made)))
        names = sorted({entry["message"].split("`")[1] for entry in report})
        unknown = [name for name in names if name not in IMPORTS]
        if unknown:
            raise SystemExit(f"make_stub: unknown names {unknown} in annotations; add them to IMPORTS")
        made.write_text("\n".join([future, *(IMPORTS[name] for name in names), rest]))
        ruff("check", "-q", "--select", "I,F401,RUF022", "--fix", "--unsafe-fixes", str(made))
        ruff("format", "-q", str(made))
        return made.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description="Stub of the compiled module.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    new = generate()
    if not check:
        STUB.write_text(new)
        return 0
    old = STUB.read_text() if STUB.exists() else ""
    difference = list(
        difflib.unified_diff(old.splitlines(), new.splitlines(), "committed", "of this build", "", "", 2)
    )
    if difference:
        print("\n".join(difference[:80]))
        print("fastcnn/_core.pyi is old; run python scripts/make_stub.py")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
