"""Splitting arrays and cutting them into batches, reproducibly: the same seed gives the same batches everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn.arrays import checked
from fastcnn.tensor import empty


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out): `share` of every class is held out, each class rounded to the nearest count.

    Args:
        labels: (N,) integers.
        share: 0 < share < 1.
        seed: the shuffle within each class depends on it alone.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"stratified_split: labels have shape {labels.shape}, expected (N,)")
    if not 0.0 < share < 1.0:
        raise ValueError(f"stratified_split: share is {share}, expected a number between 0 and 1")
    rng = np.random.Generator(np.random.PCG64(seed))
    kept, held = [], []
    for c in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == c))
        count = int(np.floor(share * len(members) + 0.5))
        held.append(members[:count])
        kept.append(members[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


class Batches:
    """Iterates over (inputs, targets) arrays in batches; every pass shuffles anew, determined by (seed, pass).

    Args:
        inputs, targets: arrays with the same first axis.
        batch_size: the last batch may be smaller unless `drop_last`.
        shuffle: a new order for each pass.
        seed: of the shuffles.
        pin_memory: batches are tensors in pinned memory, each its own, for ``batch.to("cuda", non_blocking=True)``.

    DeviceError for `pin_memory` without a card.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        pin_memory: bool = False,
    ) -> None:
        if len(inputs) != len(targets):
            raise ValueError(
                f"Batches: got {len(inputs)} inputs and {len(targets)} targets, expected as many"
            )
        if batch_size < 1:
            raise ValueError(f"Batches: batch_size is {batch_size}, expected at least 1")
        if pin_memory:
            inputs, targets = (checked(np.asarray(a), "Batches") for a in (inputs, targets))
            empty(0, device="cpu", pin_memory=True)  # an error here, not at the first batch
        self.inputs, self.targets, self.pin_memory = inputs, targets, pin_memory
        self.batch_size, self.shuffle, self.seed, self.drop_last = batch_size, shuffle, seed, drop_last
        self.passes = 0

    def __len__(self) -> int:
        n = len(self.inputs)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def _take(self, array: np.ndarray, chosen: np.ndarray) -> Any:
        if not self.pin_memory:
            return array[chosen]
        out = empty(len(chosen), *array.shape[1:], dtype=array.dtype, device="cpu", pin_memory=True)
        if out.device == "cpu":
            np.take(array, chosen, axis=0, out=out.numpy(), mode="clip")  # "raise" would make a copy first
        return out

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        n = len(self.inputs)
        order = np.arange(n)
        if self.shuffle:
            order = np.random.Generator(np.random.PCG64([self.seed, self.passes])).permutation(n)
        self.passes += 1
        for i in range(len(self)):
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield self._take(self.inputs, chosen), self._take(self.targets, chosen)
