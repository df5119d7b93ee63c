"""The suite on another device: FASTCNN_TEST_DEVICE=cuda runs the very same tests with everything made there.

Tensors, layers and arrays that a test makes without naming a device go to that device: defaults of the package's
functions are exchanged, the tests are not. What is not there yet stands in tables:

    NOT_YET     ops without a kernel: a test that meets one is reported as "not on cuda yet"
    NOT_RUN     files that do not run there, and why
    DIFFERENT   tests that speak of the CPU itself (its threads, its memory, sharing with NumPy), and why
"""

from __future__ import annotations

import os
import re
import sys
import types
from typing import Any

import numpy as np
import pytest

DEVICE = os.environ.get("FASTCNN_TEST_DEVICE", "cpu")

#: Ops (as their errors name them) that have no CUDA kernel. The list only shrinks.
NOT_YET: tuple[str, ...] = ()
#: test file -> why it says nothing of the device
NOT_RUN: dict[str, str] = {}
#: "file::test" or "file::test[case]" (regular expressions) -> why it holds on the CPU only
DIFFERENT: dict[str, str] = {}

#: Convolution algorithms that CUDA's table has no row for. The list only shrinks.
NO_ROW = ("depthwise", "im2col", "winograd")

MISSING = re.compile(
    rf"([\w. ]+): this build has no CUDA kernel for it|conv: (algo='(?:{'|'.join(NO_ROW)})') is unknown"
)


def make_default(device: str) -> None:
    """Everything that names no device goes to this one."""
    import fastcnn
    from fastcnn import placement
    from fastcnn._loader import _core

    placement._Default.device = device
    for name, module in list(sys.modules.items()):
        if not name.startswith("fastcnn"):
            continue
        for value in list(vars(module).values()):
            for f in (value, *(vars(value).values() if isinstance(value, type) else ())):
                if isinstance(f, types.FunctionType) and f.__module__.startswith("fastcnn"):
                    _exchange_defaults(f, device)
    borrow, to, temporary = _core.borrow, _core.to, _core.CATEGORY["temporary"]

    def copied(
        address: int, shape: Any, strides: Any, dtype: str, where: str, readonly: bool, owner: Any
    ) -> Any:
        here = borrow(address, shape, strides, dtype, where, readonly, owner)
        return to(here, dtype, device, True, temporary) if isinstance(owner, np.ndarray) else here

    _core.borrow = copied
    assert fastcnn.ones(2).device.startswith(device)


def _exchange_defaults(f: types.FunctionType, device: str) -> None:
    names = f.__code__.co_varnames[: f.__code__.co_argcount]
    if f.__defaults__:
        first = len(names) - len(f.__defaults__)
        f.__defaults__ = tuple(
            device if names[first + i] == "device" and value == "cpu" else value
            for i, value in enumerate(f.__defaults__)
        )
    if f.__kwdefaults__ and f.__kwdefaults__.get("device") == "cpu":
        f.__kwdefaults__["device"] = device


class OnDevice:
    """The pytest plugin."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def pytest_sessionstart(self) -> None:
        make_default(DEVICE)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            name = item.nodeid.removeprefix("tests/")
            reason = NOT_RUN.get(item.path.name)
            for pattern, why in DIFFERENT.items():
                if re.fullmatch(pattern, name) or re.fullmatch(pattern, name.partition("[")[0]):
                    reason = why
            if reason:
                item.add_marker(pytest.mark.skip(reason=f"not on {DEVICE}: {reason}"))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
        report = (yield).get_result()
        if call.excinfo is None or not report.failed:
            return
        error: BaseException | None = call.excinfo.value
        while error is not None:
            found = MISSING.search(str(error))
            if found and (found[2] or found[1] in NOT_YET):
                what = found[1] or found[2]
                self.seen[what] = self.seen.get(what, 0) + 1
                report.outcome = "skipped"
                report.wasxfail = f"{what} is not on {DEVICE} yet"
                return
            error = error.__cause__ or error.__context__

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.seen:
            return
        terminalreporter.section(f"not on {DEVICE} yet")
        for op, count in sorted(self.seen.items()):
            terminalreporter.line(f"{op}: {count} tests")
