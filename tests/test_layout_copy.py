"""Copies between memory layouts (csrc/cpu/layout_copy.cpp) against NumPy: every permutation, dtype and instruction set,
remainders of tiles and tasks, results past the caches, views that begin anywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import isa, isas, threads

import fastcnn

# Extents below, at and above the tiles of each instruction set (4 to 64 rows, 2 to 16 columns) and one task.
SHAPES = [
    (2, 3, 5, 7),
    (1, 64, 16, 16),
    (3, 17, 33, 5),
    (70, 130),
    (1, 2, 700, 3),
    (2, 3, 129, 37),
    (9, 1, 300),
    *((2, channels, 16 * channels + 5) for channels in range(2, 10)),  # planes to pixels and back
]


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "int32", "float32", "float64", "int64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_permutation_is_numpys(shape, dtype):
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    t = fastcnn.tensor(array)
    for which in isas():
        with isa(which):
            for axes in itertools.permutations(range(len(shape))):
                got = np.asarray(t.permute(*axes).contiguous())
                np.testing.assert_array_equal(got, array.transpose(axes), f"{which} {axes}")


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_views_and_their_neighbours(dtype):
    """Sources that begin, end and skip anywhere; a target inside a larger tensor, whose rest stays as it was."""
    array = np.random.default_rng(1).integers(0, 200, (3, 70, 90)).astype(dtype)
    t = fastcnn.tensor(array)
    for cut in (
        np.s_[:, 1:, 3:],
        np.s_[1:, :69, :-1],
        np.s_[:, ::2, 5:],
        np.s_[:, 3:6, :],
        np.s_[2:, :, 88:],
    ):
        np.testing.assert_array_equal(
            np.asarray(t[cut].transpose(1, 2).contiguous()), array[cut].transpose(0, 2, 1)
        )
    target = fastcnn.zeros(3, 94, 75, dtype=dtype)
    target[:, 2:92, 1:71] = t.transpose(1, 2)
    exact = np.zeros((3, 94, 75), dtype)
    exact[:, 2:92, 1:71] = array.transpose(0, 2, 1)
    np.testing.assert_array_equal(np.asarray(target), exact)


@pytest.mark.parametrize("shape", [(2, 64, 512, 264), (2, 33, 1024, 250)], ids=str)
def test_large_copies_past_the_caches(shape):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    t = fastcnn.from_numpy(array)
    for count in (1, 3):
        with threads(count):
            nhwc = t.contiguous("channels_last")
            assert nhwc.strides[1] == 1 and nhwc.nbytes >= 64 << 20
            np.testing.assert_array_equal(np.asarray(nhwc), array)
            np.testing.assert_array_equal(np.asarray(nhwc.contiguous()), array)
