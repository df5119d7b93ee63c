"""The library's own exception types; everything else is a plain ValueError, TypeError or IndexError."""

from __future__ import annotations


class OutOfMemoryError(MemoryError):
    """A device has not enough memory, or a limit set by :func:`fastcnn.memory.set_limit` would be passed.

    The text says how much was asked for, what is in use, by whom, and the cheapest ways out. The step that
    raised it left the allocator as it was.
    """


class DeviceError(RuntimeError):
    """A device is absent, has no kernel for the op, or reported an error."""
