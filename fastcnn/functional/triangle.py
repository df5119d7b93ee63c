"""Triangles and diagonals of matrices."""

from __future__ import annotations

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.functional.arithmetic import where

__all__ = ["tril", "triu"]


def diagonal_distance(rows: int, columns: int, device: str) -> tuple[Tensor, Tensor]:
    """Column numbers (1, columns) and row numbers (rows, 1), int64."""
    column = _core.arange(columns, 0.0, 1.0, 0, 1, "int64", device)
    row = _core.arange(rows, 0.0, 1.0, 0, 1, "int64", device)
    return _core.unsqueeze(column, 0), _core.unsqueeze(row, 1)


def _keep(op: str, x: Tensor, diagonal: int, comparison: str) -> Tensor:
    if x.ndim < 2:
        raise ValueError(f"{op}: got shape {x.shape}, expected at least two axes")
    column, row = diagonal_distance(x.shape[-2], x.shape[-1], x.device)
    limit = _core.unary(_core.UNARY["add_scalar"], row, float(int(diagonal)))
    return where(_core.binary(_core.BINARY[comparison], column, limit), x, 0)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices (..., m, n) with zeros above the given diagonal (0 the main one, positive above it)."""
    return _keep("tril", input, diagonal, "le")


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices (..., m, n) with zeros below the given diagonal."""
    return _keep("triu", input, diagonal, "ge")
