"""What a GPU needs beside the allocator: the driver's context."""

from __future__ import annotations

from typing import NamedTuple

from fastcnn._loader import _core


class Context(NamedTuple):
    """Bytes between `low` and `high`: what a process has in use on a card before its first tensor."""

    low: int
    high: int
    source: str


#: PyTorch pull request 86509 gives 287 MB with lazy and 667 MB with eager loading of kernels, on one card. Driver, card
#: and the kernels that were used move it, so it is an interval and not added to the exact figures.
UNMEASURED = Context(
    287_000_000, 667_000_000, "published for one card (PyTorch PR 86509), not measured on this one"
)


def context_of(device: str) -> Context | None:
    """The context of a CUDA device or of a card's twin; None for the CPU, which has none."""
    return UNMEASURED if _core.device_info(device)["sm"] else None
