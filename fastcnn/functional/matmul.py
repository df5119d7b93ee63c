"""Matrix products.

Operands are tensors of one number dtype and device. Each element of a product is one chain over the inner axis (deep
ones are cut in fixed places and the pieces added in order), so its bits do not depend on the number of threads; float16
and bfloat16 accumulate in float32, integers wrap round. Operands are read through their strides, never copied.
"""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.arithmetic import _unbroadcast, mul
from fastcnn.functional.shape import reshape, transpose, unsqueeze

__all__ = ["bmm", "dot", "matmul", "mm", "mv", "outer"]


class _Matmul(Function):
    """(..., m, k) x (..., k, n); `name` begins the messages and stands in the memory report."""

    twice = True

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor, name: str) -> Tensor:
        need = ctx.needs_input_grad
        ctx.save_for_backward(a if need[1] else None, b if need[0] else None)
        ctx.shapes = a.shape, b.shape
        return _core.matmul(name, a, b)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        a, b = ctx.saved_tensors
        shape_a, shape_b = ctx.shapes
        da = db = None
        if b is not None:
            da = _unbroadcast(product(dy, transpose(b, -2, -1), "matmul.backward"), shape_a)
        if a is not None and len(shape_b) == 2:  # one product over all rows, not one per member and their sum
            rows = transpose(reshape(a, (-1, shape_a[-1])) if a.ndim > 2 else a, 0, 1)
            dy = reshape(dy, (-1, shape_b[-1])) if dy.ndim > 2 else dy
            db = product(rows, dy, "matmul.backward")
        elif a is not None:
            db = _unbroadcast(product(transpose(a, -2, -1), dy, "matmul.backward"), shape_b)
        return da, db, None


def product(a: Tensor, b: Tensor, name: str) -> Tensor:
    """Of two operands with at least two axes each, differentiable."""
    return _Matmul.apply(a, b, name)


def _check(op: str, a: Any, b: Any, ranks: tuple[int, int]) -> None:
    for t in (a, b):
        if not isinstance(t, Tensor):
            raise TypeError(f"{op}: got {type(t).__name__}, expected a tensor")
    if (a.ndim, b.ndim) != ranks:
        raise ValueError(
            f"{op}: got shapes {a.shape} and {b.shape}, expected {ranks[0]} and {ranks[1]} axes; "
            "matmul takes any number"
        )


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product ``input @ other``.

    Args:
        input: (..., m, k), or (k,), which stands for a row.
        other: (..., k, n), or (k,), which stands for a column. Axes in front of the matrices broadcast.

    Returns:
        (..., m, n) without the axes that a vector lent; a scalar for two vectors.

    Raises:
        ValueError: inner extents differ, or the batch axes do not broadcast.
        TypeError: dtypes differ or are bool.
    """
    for t in (input, other):
        if not isinstance(t, Tensor):
            raise TypeError(f"matmul: got {type(t).__name__}, expected a tensor")
        if t.ndim == 0:
            raise ValueError("matmul: got a tensor without axes, expected vectors or matrices; use *")
    if input.ndim >= 2 and other.ndim >= 2:
        return product(input, other, "matmul")
    if input.shape[-1] != other.shape[-1 if other.ndim == 1 else -2]:
        raise ValueError(
            f"matmul: inner extents differ, got {input.shape} and {other.shape}, expected the first's columns "
            f"({input.shape[-1]}) to be the second's rows ({other.shape[-1 if other.ndim == 1 else -2]})"
        )
    a = unsqueeze(input, 0) if input.ndim == 1 else input
    b = unsqueeze(other, 1) if other.ndim == 1 else other
    y = product(a, b, "matmul")
    rows = () if input.ndim == 1 else y.shape[-2:-1]
    columns = () if other.ndim == 1 else y.shape[-1:]
    return reshape(y, (*y.shape[:-2], *rows, *columns))


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """(m, k) x (k, n) -> (m, n), without broadcasting."""
    _check("mm", input, mat2, (2, 2))
    return product(input, mat2, "mm")


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """(B, m, k) x (B, k, n) -> (B, m, n): a batch of products, without broadcasting."""
    _check("bmm", input, mat2, (3, 3))
    if input.shape[0] != mat2.shape[0]:
        raise ValueError(f"bmm: got batches of {input.shape[0]} and {mat2.shape[0]}, expected equal ones")
    return product(input, mat2, "bmm")


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """(m, k) x (k,) -> (m,)."""
    _check("mv", input, vec, (2, 1))
    return reshape(product(input, unsqueeze(vec, 1), "mv"), (input.shape[0],))


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors of one length, a tensor without axes."""
    _check("dot", input, tensor, (1, 1))
    if input.shape != tensor.shape:
        raise ValueError(f"dot: got {input.shape} and {tensor.shape}, expected vectors of one length")
    return reshape(product(unsqueeze(input, 0), unsqueeze(tensor, 1), "dot"), ())


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """(m,) and (n,) -> (m, n): every product of two elements."""
    _check("outer", input, vec2, (1, 1))
    return mul(unsqueeze(input, 1), unsqueeze(vec2, 0))
