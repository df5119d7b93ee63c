"""How much memory a device's tensors hold, will hold, and may hold.

Every byte of a device comes from one allocator. Sizes are counted in its blocks, that is rounded up to 512
bytes, so the figures of a twin (``"meta"``) and of its device are the same to the byte. Memory that is only
borrowed (``from_numpy``, ``from_dlpack``) is not counted, nor is pinned memory, which has counters of its own
(``fastcnn.cuda.pinned_bytes``).

- before: :func:`estimate`, :func:`estimate_step`, :func:`max_batch_size`, :func:`plan`, :func:`check`
- meanwhile: :class:`track`, and the counters
"""

from fastcnn.memory.budget import MaxBatch, max_batch_size
from fastcnn.memory.checking import check
from fastcnn.memory.counters import (
    allocated_bytes,
    empty_cache,
    peak_bytes,
    reserved_bytes,
    reset_peak,
    set_limit,
)
from fastcnn.memory.estimation import estimate, estimate_step
from fastcnn.memory.planning import Fix, Plan, plan
from fastcnn.memory.report import Report
from fastcnn.memory.sizes import format_bytes, parse_bytes
from fastcnn.memory.trace import CATEGORIES, Event, Instant, LayerMemory, Timeline
from fastcnn.memory.tracking import track

__all__ = [
    "CATEGORIES",
    "Event",
    "Fix",
    "Instant",
    "LayerMemory",
    "MaxBatch",
    "Plan",
    "Report",
    "Timeline",
    "allocated_bytes",
    "check",
    "empty_cache",
    "estimate",
    "estimate_step",
    "format_bytes",
    "max_batch_size",
    "parse_bytes",
    "peak_bytes",
    "plan",
    "reserved_bytes",
    "reset_peak",
    "set_limit",
    "track",
]
