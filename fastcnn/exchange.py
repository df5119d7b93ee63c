"""DLPack: arrays of other libraries become tensors and tensors become theirs, on the same memory.

Both forms of the protocol are spoken, capsules with a version (1.x) and without (specification:
https://dmlc.github.io/dlpack/latest/python_spec.html). The structs are in ``csrc/bindings/bind_dlpack.cpp``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn._loader import _core

Tensor = _core.Tensor
_CPU, _CUDA = (1, 0), 2
_TEMPORARY = _core.CATEGORY["temporary"]


def _is_cuda(t: Tensor) -> bool:
    return t.device.startswith("cuda")


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """(device type, number) as DLPack numbers them: (1, 0) is the CPU, (2, n) cuda:n. BufferError for meta tensors."""
    if self.device.startswith("meta"):
        raise BufferError(
            f"__dlpack_device__: the tensor is on {self.device}, which DLPack has no number for, expected cpu; "
            "use a tensor on a real device"
        )
    return (_CUDA, int(self.device[5:])) if _is_cuda(self) else _CPU


def _reader_of(stream: Any, device: str) -> int:
    """What the argument `stream` of ``__dlpack__`` asks for: a handle, 1 for the default stream, -1 for no order."""
    if device == "cpu":
        if stream not in (None, -1):
            raise ValueError(f"__dlpack__: got stream {stream!r} for a tensor on the CPU, expected None")
        return -1
    if stream is None:
        return 1
    if isinstance(stream, bool) or not hasattr(stream, "__index__"):
        raise TypeError(f"__dlpack__: stream is {stream!r}, expected None or an int")
    if stream == 0 or stream < -1:
        raise ValueError(
            f"__dlpack__: got stream {stream}, expected None or 1 for the default stream, 2 for the thread's, -1 for "
            "no order, or a handle above 2"
        )
    return stream.__index__()


def _dlpack(
    self: Tensor,
    *,
    stream: int | None = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule on the tensor's memory; ``numpy.from_dlpack(t)`` and ``torch.from_dlpack(t)`` call this.

    Args:
        stream: on CUDA the stream that the reader works on: it waits, on the card, for all that fastcnn's streams were
            given on this memory. None and 1 are the default stream, 2 the thread's own, a larger number a cudaStream_t;
            -1 orders nothing. On the CPU None (or -1).
        max_version: the newest (major, minor) the reader understands. None or major 0 gives a capsule without version,
            which cannot say that memory is read-only.
        dl_device: where the reader wants the data: the tensor's own device, (1, 0) for a copy on the host, or None.
        copy: True exports a copy, None and False the memory itself.

    The memory is used again only after the reader let go of it and its stream came to the end of its work.

    BufferError where the tensor cannot be exported: it requires a gradient, is on a meta device, has negative strides
    (some readers crash on them), or borrows read-only memory and the reader wants no version. Writes by the reader are
    not seen by the check for in-place changes.
    """
    if self.requires_grad:
        raise BufferError(
            "__dlpack__: the tensor requires a gradient, which other libraries would lose; use .detach()"
        )
    if self.device.startswith("meta"):
        raise BufferError(
            f"__dlpack__: the tensor is on {self.device}, which has no memory to share, expected cpu; "
            "use a tensor on a real device"
        )
    reader, here = _reader_of(stream, self.device), _dlpack_device(self)
    wanted = here if dl_device is None else tuple(dl_device)
    if wanted != here and (wanted != _CPU or copy is False):
        raise BufferError(
            f"__dlpack__: got dl_device {wanted}, expected {here} for a tensor on "
            + ("the CPU" if here == _CPU else self.device)
            + ("" if here == _CPU else f", or {_CPU} with copy=True or None")
        )
    versioned = max_version is not None and max_version[0] >= 1
    copied = bool(copy) or wanted != here
    source = self
    if copied:
        source = _core.to(self, self.dtype, self.device if wanted == here else "cpu", True, _TEMPORARY)
    if any(s < 0 and n > 1 for s, n in zip(source.strides, source.shape)) and source.numel():
        raise BufferError(
            f"__dlpack__: got negative strides {source.strides}, which abort the process in PyTorch's reader, expected "
            "positive ones; export .contiguous() or a copy"
        )
    if source._readonly and not versioned:
        raise BufferError(
            "__dlpack__: the tensor borrows read-only memory, which a capsule without version cannot say; ask with "
            "max_version=(1, 0), or export a .clone()"
        )
    return _core.to_dlpack(source, versioned, copied, reader)


def _cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """Version 3 of the CUDA array interface, for CuPy, Numba and PyTorch; ``stream`` is the one to wait for.

    AttributeError on other devices and for bfloat16, which it has no name for, so that ``hasattr`` says what it should;
    BufferError for a tensor that requires a gradient.
    """
    if not _is_cuda(self):
        raise AttributeError(
            f"__cuda_array_interface__: the tensor is on {self.device}, expected a CUDA device; use NumPy or DLPack"
        )
    if self.dtype == "bfloat16":
        raise AttributeError(
            "__cuda_array_interface__: it has no bfloat16; use DLPack, or convert the tensor"
        )
    if self.requires_grad:
        raise BufferError(
            "__cuda_array_interface__: the tensor requires a gradient, which other libraries would lose; use .detach()"
        )
    dtype = np.dtype(self.dtype)
    own = _core.current_stream(self.device).handle or 1
    _core.hand_to_reader(self, own)  # what other streams still do on it comes before the one that is named
    _core.hand_to_reader(self, -1)
    return {
        "shape": self.shape,
        "typestr": dtype.str,
        "data": (self.data_ptr() if self.numel() else 0, self._readonly),
        "strides": None if self.is_contiguous() else tuple(s * dtype.itemsize for s in self.strides),
        "version": 3,
        "stream": own,
    }


def _placed(t: Tensor, device: str | None, copy: bool | None) -> Tensor:
    """`t` where the caller wants it."""
    device = t.device if device is None else _core.device_now(device)
    if device == t.device and not copy:
        return t
    if copy is False:
        raise ValueError(
            f"from_dlpack: the array is on {t.device}, got device={device!r} with copy=False, expected copy=None or "
            "True"
        )
    return _core.to(t, t.dtype, device, True, _TEMPORARY)


def from_dlpack(x: Any, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array (any strides), which it keeps alive.

    Args:
        x: an object with ``__dlpack__`` (NumPy, PyTorch, JAX, ... arrays) or a DLPack capsule, which is consumed.
        device: None takes the array where it is. ``"cpu"`` asks its library to bring it to the host; elsewhere, as
            ``"cuda:1"``, it is copied.
        copy: True asks its library for a copy, False forbids one, None leaves it to the device.

    Of an array on CUDA the current stream uses the memory in its turn, and the owner gets it back when the work on it
    is done. A bare capsule says nothing of streams: whoever made it has seen to the order.

    Memory that its owner calls read-only is never written: in-place ops on the tensor raise ValueError. The memory is
    counted as external, not as the allocator's. TypeError for dtypes without counterpart (int16, complex64, ...),
    ValueError for devices that are not there, more than 8 dimensions, capsules that were consumed, and memory that
    is not aligned to its elements.
    """
    if device is not None:
        _core.device_now(device)  # an error before anything is taken over
    if type(x).__name__ == "PyCapsule":
        return _placed(_core.from_dlpack(x), device, copy)
    export = getattr(x, "__dlpack__", None)
    if export is None:
        raise TypeError(
            f"from_dlpack: got {type(x).__name__}, which has no __dlpack__, expected an array that speaks DLPack; "
            "use fastcnn.tensor(data)"
        )
    place = x.__dlpack_device__() if hasattr(x, "__dlpack_device__") else _CPU
    stream = None
    if place[0] == _CUDA and place[1] < _core.cuda_device_count():
        stream = _core.current_stream(f"cuda:{place[1]}").handle or 1
    to_host = device == "cpu"
    wishes: dict[str, Any] = {
        "dl_device": _CPU if to_host else None, "copy": copy, "stream": None if to_host else stream,
    }  # fmt: skip
    wishes = {name: wish for name, wish in wishes.items() if wish is not None}
    try:
        return _placed(_core.from_dlpack(export(max_version=_core.DLPACK_VERSION, **wishes)), device, None)
    except TypeError as e:
        if "keyword" not in str(e) and "argument" not in str(e):
            raise
    # Made before the protocol had these keywords: no device to choose, no copy.
    return _placed(_core.from_dlpack(export() if stream is None else export(stream=stream)), device, copy)


def methods() -> dict[str, Any]:
    """What Tensor gets from here, by name."""
    return {
        "__dlpack__": _dlpack,
        "__dlpack_device__": _dlpack_device,
        "__cuda_array_interface__": property(_cuda_array_interface),
    }
