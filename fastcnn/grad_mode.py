"""Whether calls are recorded: ``no_grad``, ``enable_grad`` and ``set_grad_enabled``, each per thread.

All three work as context managers and as decorators of functions and generator functions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any

from fastcnn._loader import _core

is_grad_enabled = _core.grad_enabled  # True unless inside no_grad(); the setting is per thread


class _GradMode:
    """Sets the mode inside a ``with`` block or a decorated function; one object may be entered many times."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(is_grad_enabled())
        _core.set_grad_enabled(self._enabled)

    def __exit__(self, *exception: object) -> None:
        _core.set_grad_enabled(self._previous.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        enabled = self._enabled
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def steps(*args: Any, **kwargs: Any) -> Any:
                return _each_step(function(*args, **kwargs), enabled)

            return steps

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _GradMode(enabled):
                return function(*args, **kwargs)

        return wrapped


def _each_step(generator: Generator[Any, Any, Any], enabled: bool) -> Generator[Any, Any, Any]:
    """The generator's own code runs in the mode; whoever consumes it keeps his."""
    step: Any = functools.partial(next, generator)
    try:
        while True:
            try:
                with _GradMode(enabled):
                    item = step()
            except StopIteration as end:
                return end.value
            try:
                step = functools.partial(generator.send, (yield item))
            except GeneratorExit:
                raise
            except BaseException as error:
                step = functools.partial(generator.throw, error)
    finally:
        with _GradMode(enabled):
            generator.close()


class no_grad(_GradMode):
    """``with no_grad():`` nothing inside is recorded, outputs have ``requires_grad=False``.

    Also a decorator, with or without parentheses.
    """

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else _GradMode(False)(function)

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_GradMode):
    """``with enable_grad():`` undoes a surrounding :class:`no_grad`; also a decorator."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else _GradMode(True)(function)

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(_GradMode):
    """Records gradients or does not, from now on; as a context manager or decorator only inside it."""

    def __init__(self, enabled: bool) -> None:
        super().__init__(bool(enabled))
        self._before = is_grad_enabled()
        _core.set_grad_enabled(self._enabled)

    def __enter__(self) -> None:
        self._previous.append(self._before)
        _core.set_grad_enabled(self._enabled)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _core.set_grad_enabled(self._before)  # a decorator changes nothing outside
        return super().__call__(function)
