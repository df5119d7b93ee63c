"""Activation layers that change the number of channels."""

from __future__ import annotations

from fastcnn import functional as F
from fastcnn.autograd import Tensor
from fastcnn.nn.module import Module

__all__ = ["CReLU", "Maxout"]


class CReLU(Module):
    """relu(x) and relu(-x) one after the other along `dim`: twice the channels."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.crelu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Maxout(Module):
    """The largest of each `pieces` consecutive entries of axis `dim`."""

    def __init__(self, pieces: int, dim: int = 1) -> None:
        super().__init__()
        if pieces < 1:
            raise ValueError(f"Maxout: pieces is {pieces}, expected at least 1")
        self.pieces, self.dim = pieces, dim

    def forward(self, input: Tensor) -> Tensor:
        return F.maxout(input, self.pieces, self.dim)

    def extra_repr(self) -> str:
        return f"{self.pieces}, dim={self.dim}"
