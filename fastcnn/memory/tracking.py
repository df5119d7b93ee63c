"""Measuring: what a block of code really allocates."""

from __future__ import annotations

from types import TracebackType

from fastcnn._loader import _core
from fastcnn.memory.counters import allocated_bytes
from fastcnn.memory.trace import TraceView
from fastcnn.nn.watch import LayerWatch

__all__ = ["track"]


class track(TraceView):
    """Records what a block of code allocates: ``with memory.track() as t: step()``.

    After the block, and 0 or empty before:

    - ``peak_bytes``: the most that lived at one instant, what lived before the block included
    - ``allocated_bytes``, ``reserved_bytes``: as the functions of these names, at the end of the block
    - ``by_category()``, ``by_layer()``, ``timeline()``, ``peak_at``, ``holders()``, ``events``: as of a
      :class:`fastcnn.memory.Report`

    Layers get their paths from the modules that the block calls, seen from the outermost one.

    Args:
        device: the device to watch.

    Raises:
        ValueError: another ``track`` of the same device is running.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.allocated_bytes = 0

    def __enter__(self) -> track:
        self._before = allocated_bytes(self.device)
        _core.memory_start_trace(self.device)
        self._watch = LayerWatch().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._watch.__exit__()
        owners: dict[int, int] = {}
        for root in self._watch.roots:
            for module in root.modules():
                number = self._watch.number(module)
                for t in (*module._parameters.values(), *module._buffers.values()):
                    if t is not None:
                        owners.setdefault(_core.memory_trace_id(t), number)
        owners.pop(0, None)
        stats = _core.memory_stats(self.device)
        self._view(_core.memory_stop_trace(self.device), self._watch.paths(), owners)
        self.allocated_bytes = stats["allocated_bytes"]
        self.reserved_bytes = stats["reserved_bytes"]
        self.peak_bytes = max(self._before, self.peak_at.allocated_bytes)
