"""Result files of long runs: which commit they are of, and one line per row, so that a change of them can be read."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import fastcnn

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def git(*arguments: str) -> str:
    """What git prints; nothing where there is no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def stamp() -> dict[str, str]:
    """Commit (with + if sources differ from it), date and instruction set."""
    changed = git("status", "--porcelain", "--", "csrc", "fastcnn", "scripts", "tests")
    return {
        "commit": git("rev-parse", "HEAD")[:12] + ("+" if changed else ""),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "isa": fastcnn._core.isa(),
    }


def write(path: Path, key: str, result: dict[str, Any]) -> None:
    """Sets one key of a JSON file and leaves the others; rows of a list or dict of lists or dicts get a line each."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[key] = result
    parts = []
    for name, part in sorted(known.items()):
        lines = [f"  {json.dumps(k)}: {_rows(v)}" for k, v in part.items()]
        parts.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def _rows(value: Any) -> str:
    if isinstance(value, dict) and value and all(isinstance(v, (dict, list)) for v in value.values()):
        rows = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
    elif isinstance(value, list) and value and all(isinstance(v, (dict, list)) for v in value):
        rows = [json.dumps(v) for v in value]
    else:
        return json.dumps(value)
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + "\n   " + ",\n   ".join(rows) + "\n  " + end
