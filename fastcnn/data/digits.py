"""The handwritten digits that ship with scikit-learn (1,797 real scans of 8x8 pixels, UCI 1998)."""

from __future__ import annotations

import numpy as np

from fastcnn.data.batches import stratified_split


def load_digits(
    held_out: float = 0.2, seed: int = 0
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """((train images, labels), (held-out images, labels)), a stratified split.

    Images are float32 (N, 1, 8, 8) scaled to 0..1, labels int64 (N,) 0..9. Needs scikit-learn (``fastcnn[data]``).
    """
    try:
        from sklearn.datasets import load_digits as read
    except ImportError as error:
        raise ImportError(
            'load_digits: scikit-learn is not installed, expected for its digits images; pip install "fastcnn[data]"'
        ) from error
    bunch = read()
    images = (bunch.images[:, None] / 16.0).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    kept, held = stratified_split(labels, held_out, seed)
    return (images[kept], labels[kept]), (images[held], labels[held])
