"""Streams and events of CUDA devices, and arrays of other libraries that lie there.

Each thread gives its work on a card to one stream, the default one unless it says otherwise::

    stream = fastcnn.cuda.Stream()
    with stream:
        y = model(x)
    stream.synchronize()

Streams run beside each other. A tensor that one stream makes and another uses needs an order between them, as in
PyTorch: ``other.wait_stream(stream)``, an :class:`Event`, or a wait of the host. Memory needs nothing of the kind: a
tensor knows the streams that were given work on it, and whoever gets its memory afterwards waits, on the card, for
them. So streams change neither what a step allocates nor its peak. ``backward`` runs on the stream that is current when
it is called. On meta devices streams order nothing.

Copies between the host and a card make the host wait, unless the host's memory is pinned (``Tensor.pin_memory``) and
the copy is told ``non_blocking=True``. Pinned memory is kept for later use when its tensor is gone and copies are done.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from fastcnn._loader import _core
from fastcnn.environment import device_count, synchronize
from fastcnn.tensor import Tensor

__all__ = [
    "Event",
    "Stream",
    "as_tensor",
    "current_stream",
    "default_stream",
    "device_count",
    "empty_pinned_cache",
    "is_available",
    "pinned_bytes",
    "pinned_reserved_bytes",
    "stream",
    "synchronize",
]


def is_available() -> bool:
    """Whether there is a CUDA device that this build can use."""
    return device_count() > 0


def pinned_bytes() -> int:
    """Bytes of pinned memory that tensors hold, or copies that are not done yet; 0 on machines without a card."""
    return _core.pinned_stats()["allocated_bytes"]


def pinned_reserved_bytes() -> int:
    """Bytes of pinned memory taken from the system: :func:`pinned_bytes`, and what is kept for later use."""
    return _core.pinned_stats()["reserved_bytes"]


def empty_pinned_cache() -> None:
    """Gives pinned memory that nobody uses back to the system; waits for all cards."""
    _core.pinned_stats()  # what is done by now comes back first
    _core.pinned_empty_cache()


class Event:
    """A place in a stream's work, to wait for or to take times at.

    Args:
        enable_timing: whether :meth:`elapsed_time` can be asked; events without times cost less.
    """

    def __init__(self, enable_timing: bool = False) -> None:
        self._event = _core.Event(enable_timing)

    def record(self, stream: Stream | None = None) -> Event:
        """Marks the end of what the stream (by default the current one) was given so far; a later call moves the mark.

        ValueError if the event was recorded on another device before.
        """
        self._event.record((stream or current_stream())._stream)
        return self

    def wait(self, stream: Stream | None = None) -> None:
        """The stream (by default the current one) goes on once the event is reached; the host does not wait."""
        self._event.make_wait((stream or current_stream())._stream)

    def synchronize(self) -> None:
        """Returns once the event is reached."""
        self._event.synchronize()

    def query(self) -> bool:
        """Whether the event is reached; True if it was never recorded."""
        return self._event.is_done()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to `end`. ValueError unless both have times and are reached."""
        return self._event.milliseconds_until(end._event)


class Stream:
    """A queue of work on a card, beside the others; ``with stream:`` makes it current for the thread and the card.

    Args:
        device: "cuda", "cuda:1", ...
        handle: None makes a new stream. A number takes another library's (``torch.cuda.current_stream().cuda_stream``,
            ``cupy.cuda.Stream.ptr``), which must live longer than this object; 0 and 1 are the default stream.

    ValueError on a device without streams; DeviceError if the card is not there or `handle` is not a stream of it.
    """

    def __init__(self, device: str = "cuda", handle: int | None = None) -> None:
        if handle is not None and (
            isinstance(handle, bool) or not hasattr(handle, "__index__") or handle < 0
        ):
            raise ValueError(f"Stream: got handle {handle!r}, expected None or a cudaStream_t as a number")
        self._stream = _core.Stream(device, None if handle is None else handle.__index__())
        self._before: list[_core.Stream] = []

    @classmethod
    def _of(cls, stream: _core.Stream) -> Stream:
        self = cls.__new__(cls)
        self._stream, self._before = stream, []
        return self

    @property
    def device(self) -> str:
        """The card."""
        return self._stream.device

    @property
    def handle(self) -> int:
        """The cudaStream_t as a number, for other libraries; 0 for the default stream."""
        return self._stream.handle

    def synchronize(self) -> None:
        """Returns once the stream has done what it was given; DeviceError with what went wrong meanwhile."""
        self._stream.synchronize()

    def query(self) -> bool:
        """Whether the stream has done what it was given."""
        return self._stream.is_done()

    def record_event(self, event: Event | None = None) -> Event:
        """`event`, or a new one, at the end of what the stream was given so far."""
        return (event or Event()).record(self)

    def wait_event(self, event: Event) -> None:
        """What the stream is given from now on starts once the event is reached."""
        event.wait(self)

    def wait_stream(self, other: Stream) -> None:
        """What the stream is given from now on starts once `other` has done what it was given so far."""
        other.record_event().wait(self)

    def __enter__(self) -> Stream:
        self._before.append(self._stream.make_current())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._before.pop().make_current()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self.handle) == (other.device, other.handle)

    def __hash__(self) -> int:
        return hash((self.device, self.handle))

    def __repr__(self) -> str:
        return f"Stream(device={self.device!r}, handle={self.handle:#x})"


def stream(stream: Stream) -> Stream:
    """``with fastcnn.cuda.stream(s):``, as PyTorch writes it; the same as ``with s:``."""
    return stream


def current_stream(device: str = "cuda") -> Stream:
    """The stream that the calling thread gives its work on the card to."""
    return Stream._of(_core.current_stream(device))


def default_stream(device: str = "cuda") -> Stream:
    """The stream that work goes to when none was chosen."""
    return Stream(device, 0)


def as_tensor(x: Any, *, sync: bool = True) -> Tensor:
    """A tensor on the memory of an object with ``__cuda_array_interface__`` (CuPy, Numba, PyTorch), kept alive by it.

    Args:
        x: the object; version 2 or later of the interface
            (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html).
        sync: the current stream waits for the one that the object names; False where the order is known.

    TypeError for an object without the interface and for dtypes without counterpart, ValueError for masks, more than 8
    dimensions, memory that is not aligned to its elements or lies on the host, and stream 0.
    """
    interface = getattr(x, "__cuda_array_interface__", None)
    if not isinstance(interface, dict):
        raise TypeError(
            f"as_tensor: got {type(x).__name__}, which has no __cuda_array_interface__, expected an array on a CUDA "
            "device; use fastcnn.from_dlpack or fastcnn.tensor"
        )
    if interface.get("mask") is not None:
        raise ValueError("as_tensor: got an array with a mask, expected one without")
    address, readonly = interface["data"]
    kind = interface["typestr"]
    dtypes = {"<f4": "float32", "<f8": "float64", "<f2": "float16", "|u1": "uint8", "<i4": "int32", "<i8": "int64",
              "|b1": "bool"}  # fmt: skip
    if kind not in dtypes:
        raise TypeError(
            f"as_tensor: got elements of type {kind!r}, expected one of {', '.join(dtypes)}; convert where it was made"
        )
    shape = tuple(int(n) for n in interface["shape"])
    item = int(kind[2:])
    strides, step = interface.get("strides"), item
    if strides is None:
        strides = []
        for extent in reversed(shape):
            strides.insert(0, step)
            step *= max(extent, 1)
    if len(strides) != len(shape):
        raise ValueError(f"as_tensor: got strides {tuple(strides)} for shape {shape}, expected as many")
    empty = 0 in shape
    if not empty and (address % item or any(s % item for s in strides)):
        raise ValueError(
            f"as_tensor: the memory is not aligned, got address {address} and strides {tuple(strides)} in bytes, "
            f"expected multiples of {item}; copy it where it was made"
        )
    theirs = interface.get("stream")
    if theirs == 0:
        raise ValueError(
            "as_tensor: got stream 0, which the interface forbids, expected 1 for the default stream, 2 for the "
            "thread's, or a handle"
        )
    device = _core.current_stream("cuda").device if empty else _core.card_of_address(address)
    if theirs is not None and sync:
        _core.wait_for_handle(device, theirs)
    elements = tuple(s // item for s in strides)
    return _core.borrow(0 if empty else address, shape, elements, dtypes[kind], device, bool(readonly), x)
