"""Which layer is running, told to the allocator while somebody watches memory; costs one comparison otherwise."""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any

from fastcnn._loader import _core

_set_layer = _core.set_layer
_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_next_number = itertools.count(1)
_lock = threading.Lock()

#: How many watches run, in all threads; Module.__call__ looks at it.
running = 0


class _Local(threading.local):
    watch: LayerWatch | None = None


_local = _Local()


def current() -> LayerWatch | None:
    """The watch of this thread."""
    return _local.watch


def numbered() -> list[tuple[Any, int]]:
    """Every module that a watch has met and that is alive, with its number."""
    with _lock:
        return list(_numbers.items())


class LayerWatch:
    """While active, allocations of this thread are marked with the module that runs.

    A module has one number for as long as it lives, so a tape recorded under one watch is understood by the next.
    """

    def __init__(self) -> None:
        self.roots: list[Any] = []  # modules that nobody else called, in order
        self._known: dict[int, tuple[int, Any]] = {}

    def __enter__(self) -> LayerWatch:
        global running
        self._outer, _local.watch = _local.watch, self
        self._layer = _set_layer(0)
        with _lock:
            running += 1
        return self

    def __exit__(self, *error: Any) -> None:
        global running
        with _lock:
            running -= 1
        _set_layer(self._layer)
        _local.watch = self._outer

    def number(self, module: Any) -> int:
        """The module's number, from 1."""
        known = self._known.get(id(module))
        if known is None:
            with _lock:
                number = _numbers.get(module)
                if number is None:
                    number = _numbers[module] = next(_next_number)
            known = self._known[id(module)] = number, module
        return known[0]

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs module._run(args, kwargs) under its number."""
        before = _set_layer(self.number(module))
        try:
            return module._run(args, kwargs) if before else self._call_root(module, args, kwargs)
        finally:
            _set_layer(before)

    def _call_root(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not any(m is module for m in self.roots):
            self.roots.append(module)
        phase = _core.phase()
        if not phase:
            _core.set_phase("forward")
        try:
            return module._run(args, kwargs)
        finally:
            _core.set_phase(phase)

    def paths(self) -> dict[int, tuple[str, str]]:
        """{number: (path, class)} of every module below the roots; a root's own path is its class in brackets."""
        out: dict[int, tuple[str, str]] = {}
        nets = sum(bool(root._modules) for root in self.roots)
        for root in self.roots:
            own = type(root).__name__
            prefix = "" if nets <= 1 else f"{own}."
            for path, module in root.named_modules():
                out.setdefault(
                    self.number(module), (prefix + path if path else f"({own})", type(module).__name__)
                )
        return out
