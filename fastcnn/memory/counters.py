"""Counters and the limit of a device's allocator."""

from __future__ import annotations

from fastcnn._loader import _core
from fastcnn.memory.sizes import parse_bytes

__all__ = ["allocated_bytes", "empty_cache", "peak_bytes", "reserved_bytes", "reset_peak", "set_limit"]


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
