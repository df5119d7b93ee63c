"""Where new parameters go when no device is named."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from fastcnn._loader import _core


class _Default(threading.local):
    device = "cpu"


_default = _Default()


def default_device() -> str:
    """The device of new layers: "cpu", unless inside :func:`device`."""
    return _default.device


@contextlib.contextmanager
def device(name: str) -> Iterator[None]:
    """``with fastcnn.device("meta"): model = fastcnn.models.vgg16()`` makes the layers on that device.

    On a meta device nothing is allocated or drawn, so the largest model is there at once. Concerns the calling thread.
    """
    _core.device_info(name)  # an unknown device is an error here, not at the first layer
    previous, _default.device = _default.device, name
    try:
        yield
    finally:
        _default.device = previous
