"""Tables of hooks and the handles that take a hook away again."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

_numbers = itertools.count()


class RemovableHandle:
    """Returned by every ``register_*hook``; ``remove()`` takes the hook away, as does leaving a ``with`` block."""

    def __init__(self, table: HookTable) -> None:
        self._table = weakref.ref(table)  # the owner of the hooks may die first
        self.id = next(_numbers)

    def remove(self) -> None:
        """Takes the hook away; calling it twice is fine."""
        table = self._table()
        if table is not None:
            table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


class HookTable(dict):
    """Hooks of one kind in the order of registration: {id: entry}."""

    __slots__ = ("__weakref__",)

    def add(self, entry: Any, prepend: bool = False) -> RemovableHandle:
        """Appends (or prepends) one hook."""
        handle = RemovableHandle(self)
        rest = dict(self) if prepend else {}
        if prepend:
            self.clear()
        self[handle.id] = entry
        self.update(rest)
        return handle
