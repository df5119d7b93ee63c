"""The list of planted bugs does not rot: each text stands once in its file, each test exists.

scripts/planted_bugs.py plants them and is run by .ci/full; here only the list is looked at.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
if not (SCRIPTS / "planted_bugs_list.py").is_file():
    pytest.skip("scripts/planted_bugs_list.py is not here", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))
try:
    from planted_bug import Bug
    from planted_bugs_list import BUGS
finally:
    sys.path.remove(str(SCRIPTS))


@pytest.mark.parametrize("bug", BUGS, ids=lambda b: b.name)
def test_the_text_stands_once_in_its_file(bug: Bug) -> None:
    found = (ROOT / bug.file).read_text().count(bug.text)
    assert found == 1, f"{bug.file} has the text {found} times; write the mutation anew"
    assert bug.becomes != bug.text and bug.breaks
    assert bug.tests
    for test in bug.tests:
        assert (ROOT / test.partition("::")[0]).is_file(), test


def test_there_are_enough_and_all_differ() -> None:
    assert len(BUGS) >= 24
    assert len({b.name for b in BUGS}) == len({(b.file, b.text, b.becomes) for b in BUGS}) == len(BUGS)
    assert sum(b.file.startswith("csrc/cpu/") for b in BUGS) >= 24
