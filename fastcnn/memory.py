"""How much memory a device's tensors hold, what they held at most, and the limit they must keep to.

Every byte of a device comes from one allocator. Sizes are counted in its blocks, that is rounded up to 512
bytes, so the figures of a twin (``"meta"``) and of its device are the same to the byte. Memory that is only
borrowed (``from_numpy``, ``from_dlpack``) is not counted.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import NamedTuple

from fastcnn._loader import _core

__all__ = [
    "Event",
    "allocated_bytes",
    "empty_cache",
    "parse_bytes",
    "peak_bytes",
    "reserved_bytes",
    "reset_peak",
    "set_limit",
    "track",
]

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGTP", start=1):
    _UNITS[f"{_letter}B"] = 1000**_power
    _UNITS[f"{_letter}IB"] = 1024**_power


def parse_bytes(size: int | str) -> int:
    """A size in bytes.

    Args:
        size: a number of bytes, or text: ``"12GB"`` is 12e9, ``"12GiB"`` 12 * 2**30, ``"1.5 MiB"``, ``"4096"``;
            units up to PB in any case; or a card's name, such as ``"h200"`` or ``"rtx3060"``, for its real total.

    Raises:
        ValueError: the text is none of these, or the size is negative or not a whole number of bytes.
        TypeError: neither an int nor a str.
    """
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(
            f"parse_bytes: size has the wrong type, got {size!r}, expected an int or a str like '12GB'"
        )
    if isinstance(size, int):
        if size < 0:
            raise ValueError(f"parse_bytes: size is negative, got {size}, expected 0 or more bytes")
        return size
    text = size.strip()
    cards = _core.known_cards()
    if text.lower() in cards:
        return cards[text.lower()]
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?\s*([A-Za-z]*)", text, re.ASCII)
    unit = _UNITS.get(match[3].upper()) if match else None
    if match is None or unit is None:
        raise ValueError(
            f"parse_bytes: not a size, got {size!r}, expected bytes, a number with one of B, KB, MB, GB, TB, PB, "
            f"KiB, MiB, GiB, TiB, PiB, or a card ({', '.join(cards)}); for example '12GB'"
        )
    fraction = match[2] or ""
    bytes_, rest = divmod(int(match[1] + fraction) * unit, 10 ** len(fraction))  # exact: no float
    if rest and unit == 1:
        raise ValueError(
            f"parse_bytes: part of a byte, got {size!r}, expected a whole number; leave the fraction out"
        )
    return bytes_


def allocated_bytes(device: str = "cpu") -> int:
    """Bytes that live blocks of ``device`` hold now."""
    return _core.memory_stats(device)["allocated_bytes"]


def peak_bytes(device: str = "cpu") -> int:
    """The highest :func:`allocated_bytes` since the start or the last :func:`reset_peak`."""
    return _core.memory_stats(device)["peak_bytes"]


def reserved_bytes(device: str = "cpu") -> int:
    """Bytes taken from the system: live blocks, and free ones kept for reuse."""
    return _core.memory_stats(device)["reserved_bytes"]


def reset_peak(device: str = "cpu") -> None:
    """Starts :func:`peak_bytes` anew from what is allocated now."""
    _core.memory_reset_peak(device)


def set_limit(size: int | str | None, device: str = "cpu") -> None:
    """Lets :func:`allocated_bytes` of ``device`` grow to ``size`` and no further.

    A limit of exactly the predicted peak suffices for a step. Free segments go back to the system before
    :func:`reserved_bytes` passes the limit, rounded up to segments of 2 MiB.

    Args:
        size: as for :func:`parse_bytes`; None takes the limit away. What is allocated already stays.
        device: the device, or a twin such as ``"meta"``.

    Raises:
        OutOfMemoryError: not here, but from the allocation that would pass the limit.
    """
    _core.memory_set_limit(device, None if size is None else parse_bytes(size))


def empty_cache(device: str = "cpu") -> None:
    """Gives segments without a live block back to the system."""
    _core.memory_empty_cache(device)


class Event(NamedTuple):
    """One event of a trace. Traces of the same step on a device and on its twin are equal."""

    #: "allocate", "free", "hold", "drop" (a reason to live came or went) or "mark"
    kind: str
    #: the reason: "parameter", "gradient", "optimizer", "buffer", "saved", "batch", "workspace", "layout" or
    #: "temporary"; of a freed block the strongest that was left
    category: str
    #: number of the block in this trace, from 1; blocks that lived before come first
    id: int
    #: bytes asked for, and the block's
    requested: int
    rounded: int
    #: allocated_bytes once the event is done
    allocated_after: int
    #: the op that caused it; of a mark its text
    op: str
    #: "forward", "backward", "optimizer" or ""
    phase: str


class track:
    """Records what a block of code allocates: ``with memory.track() as t: step()``.

    After the block, and 0 or empty before:

    - ``peak_bytes``: the most that lived at one instant, what lived before the block included
    - ``allocated_bytes``, ``reserved_bytes``: as the functions of these names, at the end of the block
    - ``events``: list of :class:`Event`; the first ones stand for the blocks that lived already

    Args:
        device: the device to watch.

    Raises:
        ValueError: another ``track`` of the same device is running.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.peak_bytes = 0
        self.allocated_bytes = 0
        self.reserved_bytes = 0
        self.events: list[Event] = []

    def __enter__(self) -> track:
        self._before = allocated_bytes(self.device)
        _core.memory_start_trace(self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        stats = _core.memory_stats(self.device)
        self.events = [Event(*e) for e in _core.memory_stop_trace(self.device)]
        self.allocated_bytes = stats["allocated_bytes"]
        self.reserved_bytes = stats["reserved_bytes"]
        self.peak_bytes = max([self._before] + [e.allocated_after for e in self.events])
