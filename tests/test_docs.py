"""The documentation: its Python runs, its tables are those of the results, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All blocks of a page, in order, in one namespace."""
    if "scipy" in page.read_text():
        pytest.importorskip("scipy", reason="scipy is not installed")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    text = page.read_text()
    for match in CODE.finditer(text):
        line = text[: match.start()].count("\n") + 1
        code = compile("\n" * line + match[1], str(page), "exec")
        exec(code, namespace)


def test_there_is_code_to_run():
    assert sum(len(CODE.findall(p.read_text())) for p in PAGES) >= 10


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "csrc" / "README.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_tables_are_current():
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_tables.py"), "--check"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_command_is_in_the_readme():
    from fastcnn.cli import COMMANDS

    text = (ROOT / "README.md").read_text()
    assert not [c for c in COMMANDS if f"`fastcnn {c}" not in text]
