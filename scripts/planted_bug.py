"""One bug of scripts/planted_bugs.py."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """One mutation."""

    name: str
    file: str
    text: str
    becomes: str
    breaks: str
    tests: tuple[str, ...]
    isa: str | None = None


def bug(
    name: str, file: str, text: str, becomes: str, breaks: str, *tests: str, isa: str | None = None
) -> Bug:
    return Bug(name, file, text, becomes, breaks, tests, isa)
