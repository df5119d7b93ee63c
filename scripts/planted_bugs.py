#!/usr/bin/env python3
"""Plants one bug at a time in a copy of the sources and demands that the quick tests notice it.

    python scripts/planted_bugs.py                       # all of scripts/planted_bugs_list.py, with a table
    python scripts/planted_bugs.py --only gemm --only sgd
    python scripts/planted_bugs.py --json out.json --budget 500 --resume      # in pieces: run it again until it is done

For each bug its tests must pass as the code is. Then: replace the text, build what depends on it, run the bug's
tests until the first failure, put the text back. A test that fails, crashes or runs out of time has noticed; a bug
that nobody notices is a missing test. Needs what the tests need, a C++ compiler, CMake, Ninja and pybind11 (ccache
helps); sources and build go to --work, by default a temporary directory.

Exit code: 0 every bug was noticed, 1 one survived or a text is not in its file, 2 bad usage or the control failed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from planted_bug import Bug
from planted_bugs_list import BUGS

ROOT = Path(__file__).resolve().parents[1]
BUILD_LIMIT, TEST_LIMIT = 900, 300  # seconds


def run(command: list[str], cwd: Path, limit: float, env: dict[str, str] | None = None) -> tuple[int, str]:
    """(exit code, output); everything that was started is gone afterwards. 124 when the time ran out."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return 124, output
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise


class Workplace:
    """A copy of the sources with a build folder of its own; `cuda` is FASTCNN_CUDA there: off or emulate."""

    def __init__(self, folder: Path, jobs: int, cuda: str) -> None:
        self.source, self.build_folder, self.jobs = folder / "source", folder / f"build_{cuda}", jobs
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            target = self.source / name
            if (ROOT / name).is_file() and not (
                target.is_file() and target.read_bytes() == (ROOT / name).read_bytes()
            ):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
                target.touch()
        command = [
            "cmake", "-S", str(self.source), "-B", str(self.build_folder), "-G", "Ninja",
            f"-DPython_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Release", "-DFASTCNN_BUILD_TESTS=OFF",
            f"-DFASTCNN_CUDA={cuda}",
        ]  # fmt: skip
        if shutil.which("ccache"):
            command.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        code, output = run(command, self.source, BUILD_LIMIT)
        if code:
            raise SystemExit(f"cmake failed:\n{output}")

    def build(self) -> str | None:
        """None, or the compiler's output if it failed."""
        code, output = run(
            ["ninja", f"-j{self.jobs}", "-C", str(self.build_folder)], self.source, BUILD_LIMIT
        )
        return output if code else None

    def test(self, tests: tuple[str, ...]) -> tuple[bool, str]:
        """(all passed, the first failure in a line)."""
        core = next(self.build_folder.glob("_core*.so"))
        env = {
            **os.environ,
            "FASTCNN_CORE": str(core),
            "PYTHONPATH": str(self.source),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m", "not slow",
            *tests,
        ]  # fmt: skip
        code, output = run(command, self.source, TEST_LIMIT, env)
        if code == 0:
            return True, ""
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
        if code < 0:
            return False, f"crashed ({signal.Signals(-code).name})"
        if code == 124:
            return False, f"ran longer than {TEST_LIMIT} s"
        if code != 1 or not failed:  # usage error, nothing collected
            if not failed and "Fatal Python error" not in output:
                raise SystemExit(f"pytest {' '.join(tests)} ended with {code}:\n{output[-3000:]}")
            return False, "crashed" if not failed else failed[1]
        return False, failed[1]

    def plant(self, bug: Bug) -> tuple[Path, str]:
        path = self.source / bug.file
        text = path.read_text()
        path.write_text(text.replace(bug.text, bug.becomes))
        return path, text


def where(bug: Bug) -> str:
    """FASTCNN_CUDA of the build that has the bug's file."""
    return "emulate" if bug.file.startswith(("csrc/cuda/", "csrc/emulator/")) else "off"


def isas(work: Workplace) -> list[str]:
    core = next(work.build_folder.glob("_core*.so"))
    code = "from fastcnn._loader import _core; print(*_core.available_isas())"
    env = {**os.environ, "FASTCNN_CORE": str(core), "PYTHONPATH": str(work.source)}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=work.source, capture_output=True, text=True, check=True
    ).stdout.split()


def try_bug(work: Workplace, bug: Bug) -> dict[str, object]:
    start = time.monotonic()
    path, text = work.plant(bug)
    try:
        compiled = bug.file.startswith("csrc/")
        error = work.build() if compiled else None
        passed, failure = (False, "does not compile") if error else work.test(bug.tests)
    finally:
        path.write_text(text)
    noticed = not passed and not error
    if error:
        print(error[-2000:], file=sys.stderr)
    return {
        "bug": bug.name, "file": bug.file, "breaks": bug.breaks, "noticed": noticed,
        "by": failure or "nobody", "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip


def table(rows: list[dict[str, object]]) -> str:
    lines = ["| bug | file | noticed by | s |", "|---|---|---|---:|"]
    for r in rows:
        by = r["by"] if r["noticed"] else f"**{r['by']}**"
        lines.append(f"| {r['bug']} | {r['file']} | {by} | {r['seconds']} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", action="append", default=[], help="bugs whose name has this text (repeatable)"
    )
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--resume", action="store_true", help="leave out what --json has as noticed already")
    parser.add_argument(
        "--budget", type=float, default=float("inf"), help="begin no bug after so many seconds"
    )
    parser.add_argument("--work", type=Path, help="keep sources and build here")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args()
    begin = time.monotonic()
    bugs = [b for b in BUGS if not options.only or any(o in b.name for o in options.only)]
    if options.list or not bugs:
        print("\n".join(b.name for b in bugs) or "no bug has such a name")
        return 0 if bugs else 2
    lost = [b for b in BUGS if (ROOT / b.file).read_text().count(b.text) != 1]
    for b in lost:
        print(f"{b.name}: the text to change does not stand once in {b.file}:\n{b.text}")
    if lost:
        return 1

    rows: dict[str, dict[str, object]] = {}
    available: list[str] = []
    if options.resume and options.json and options.json.is_file():
        names, kept = {b.name for b in BUGS}, json.loads(options.json.read_text())
        rows = {r["bug"]: r for r in kept["bugs"] if r["noticed"] and r["bug"] in names}
        available = kept["isas"]
    with contextlib.ExitStack() as stack:
        folder = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planted")))
        left = [b for b in bugs if b.name not in rows]
        places: dict[str, Workplace] = {}
        for cuda in sorted({where(b) for b in left}):
            places[cuda] = work = Workplace(folder.resolve(), options.jobs, cuda)
            if error := work.build():
                print(error)
                return 2
        controlled: set[tuple[str, str]] = set()  # where which test files pass without any bug
        available = isas(next(iter(places.values()))) if places else available
        for b in left:
            work = places[where(b)]
            if time.monotonic() - begin > options.budget:
                break
            if b.isa and b.isa not in available:
                print(f"{b.name}: left out, this machine has no {b.isa}", flush=True)
                continue
            fresh = tuple(t for t in b.tests if (where(b), t) not in controlled)
            if fresh:
                if error := work.build():  # without the bug before
                    print(error)
                    return 2
                passed, failure = work.test(fresh)
                if not passed:
                    print(f"control: {failure} fails without any bug")
                    return 2
                controlled.update((where(b), t) for t in fresh)
            rows[b.name] = row = try_bug(work, b)
            print(
                f"{'noticed' if row['noticed'] else 'SURVIVED'}  {b.name}: {row['by']} ({row['seconds']} s)",
                flush=True,
            )
        for work in places.values():  # everything is back in place
            if error := work.build():
                print(error)
                return 2

    done = [rows[b.name] for b in BUGS if b.name in rows]
    survivors = [r for r in done if not r["noticed"]]
    if options.json:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        )
        head = {
            "command": "python scripts/planted_bugs.py", "date": datetime.date.today().isoformat(),
            "commit": commit.stdout.strip(), "isas": available, "planted": len(done),
            "noticed": len(done) - len(survivors), "seconds": round(sum(float(str(r["seconds"])) for r in done)),
        }  # fmt: skip
        partial = options.json.with_suffix(".tmp")
        options.json.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({**head, "bugs": done}, indent=1) + "\n")
        partial.replace(options.json)
    print(f"\n{table([rows[b.name] for b in bugs if b.name in rows])}\n")
    print(f"{len(done)} of {len(BUGS)} bugs planted, {len(done) - len(survivors)} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
