"""Repeating and reordering along whole axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.join import _axis, cat, narrow
from fastcnn.functional.shape import expand, flatten, getitem, permute, reshape, transpose

__all__ = ["flip", "fliplr", "flipud", "movedim", "repeat", "roll", "swapaxes", "tile"]


class _Copy(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor) -> Tensor:
        return _core.to(x, x.dtype, x.device, True, _core.CATEGORY["temporary"])

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return dy


def _numbers(values: tuple[Any, ...]) -> tuple[int, ...]:
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        values = tuple(values[0])
    return tuple(int(v) for v in values)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """A copy laid side by side `repeats[i]` times along axis i; more numbers than axes add axes in front."""
    times = _numbers(repeats)
    if len(times) < input.ndim:
        raise ValueError(
            f"repeat: got {len(times)} numbers for shape {input.shape}, expected {input.ndim} or more; tile takes fewer"
        )
    if min(times, default=1) < 0:
        raise ValueError(f"repeat: got {times}, expected numbers >= 0")
    shape = (1,) * (len(times) - input.ndim) + input.shape
    # An axis that repeats becomes (times, extent); an axis of extent 1 needs no second one.
    split: list[int] = []
    wide: list[int] = []
    for n, extent in zip(times, shape):
        if n != 1 and extent != 1:
            split += [1, extent]
            wide += [n, extent]
        else:
            split.append(extent)
            wide.append(n * extent)
    y = reshape(expand(reshape(input, tuple(split)), tuple(wide)), tuple(n * e for n, e in zip(times, shape)))
    return _Copy.apply(y) if y.numel() and y.data_ptr() == input.data_ptr() else y


def tile(input: Tensor, *dims: Any) -> Tensor:
    """As :func:`repeat`; missing numbers in front are 1."""
    times = _numbers(dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with these axes reversed. ``x[::-1]`` is the view."""
    index = [slice(None)] * input.ndim
    for d in _numbers(dims):
        d = _axis("flip", d, input.ndim)
        if index[d].step is not None:
            raise ValueError(f"flip: dim {d} appears twice in {_numbers(dims)}")
        index[d] = slice(None, None, -1)
    return _Copy.apply(getitem(input, tuple(index)))


def fliplr(input: Tensor) -> Tensor:
    """A copy with axis 1 reversed."""
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """A copy with axis 0 reversed."""
    return flip(input, 0)


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved `shifts` positions along `dims`; what leaves at one end comes back at the other.

    Without dims the tensor is rolled as if it were flat.
    """
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None:
        if len(moves) != 1:
            raise ValueError(f"roll: got {len(moves)} shifts and no dims, expected one shift")
        return reshape(roll(flatten(input), moves[0], 0), input.shape) if input.ndim else _Copy.apply(input)
    axes = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(axes) != len(moves):
        raise ValueError(f"roll: got {len(moves)} shifts and {len(axes)} dims, expected as many")
    x = input
    for move, d in zip(moves, axes):
        d = _axis("roll", d, input.ndim)
        n = input.shape[d]
        cut = -move % n if n else 0
        if cut:
            x = cat((narrow(x, d, cut, n - cut), narrow(x, d, 0, cut)), d)
    return _Copy.apply(input) if x is input else x


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """A view with the axes `source` at the positions `destination`; the others keep their order."""
    n = input.ndim
    sources = [_axis("movedim", d, n) for d in ((source,) if isinstance(source, int) else source)]
    targets = [
        _axis("movedim", d, n) for d in ((destination,) if isinstance(destination, int) else destination)
    ]
    if len(set(sources)) != len(sources) or len(set(targets)) != len(targets) or len(sources) != len(targets):
        raise ValueError(
            f"movedim: got source {source} and destination {destination}, expected as many different axes"
        )
    rest = iter(d for d in range(n) if d not in sources)
    place = dict(zip(targets, sources))
    return permute(input, tuple(place[i] if i in place else next(rest) for i in range(n)))


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """A view with two axes exchanged."""
    return transpose(input, axis0, axis1)
