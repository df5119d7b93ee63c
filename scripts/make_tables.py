"""Writes the tables of README.md and docs/ from the code, so that they cannot rot.

python scripts/make_tables.py           rewrites the blocks between <!-- table: NAME --> and <!-- end -->
python scripts/make_tables.py --check   exit 1 if a block is not what it would write
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def variables() -> str:
    """Every FASTCNN_* variable."""
    from fastcnn.config import VARIABLES

    where = {
        "run": "environment, when the program starts",
        "build": "environment, for pip",
        "cmake": "`-D` for CMake",
    }
    rows = [f"| `{v.name}` | {where[v.scope]} | {v.default} | {v.meaning} |\n" for v in VARIABLES]
    return "| variable | read from | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


TABLES: dict[str, Callable[[], str]] = {"variables": variables}


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        new = BLOCK.sub(lambda m: f"<!-- table: {m[1]} -->\n{TABLES[m[1]]()}<!-- end -->", text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new)
    if check and stale:
        print(f"make_tables: {', '.join(stale)} is not what the code says; run python scripts/make_tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
