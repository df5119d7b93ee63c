"""Bridge, replaced by the memory room."""

from fastcnn._loader import _core


def peak_bytes(device: str = "cpu") -> int:
    return _core.memory_stats(device)["peak_bytes"]


def allocated_bytes(device: str = "cpu") -> int:
    return _core.memory_stats(device)["allocated_bytes"]
