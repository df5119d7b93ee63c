"""The random stream: the published generator, its frozen counter layout, and generators' state."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fastcnn
from fastcnn._loader import _core
from fastcnn.random import Generator


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    """The vectors of the Random123 distribution (kat_vectors, philox4x32 10)."""
    assert _core.philox(counter, key) == expected


def test_state_round_trip():
    fastcnn.manual_seed(7)
    fastcnn.functional.dropout(fastcnn.ones(4))
    state = fastcnn.get_rng_state()
    first = fastcnn.functional.dropout(fastcnn.ones(4, 50)).numpy()
    fastcnn.set_rng_state(state)
    np.testing.assert_array_equal(fastcnn.functional.dropout(fastcnn.ones(4, 50)).numpy(), first)
    assert state.dtype == "uint8" and state.shape == (24,)
    with pytest.raises(ValueError, match="set_rng_state: got float64"):
        fastcnn.set_rng_state(fastcnn.zeros(3, dtype="float64"))


def test_generator():
    g = Generator(-1)
    assert g.seed == 2**64 - 1 and g.initial_seed() == g.seed
    g.key()
    h = copy.deepcopy(g)
    assert (h.seed, h.calls) == (g.seed, 1)
    g.key("meta")  # nothing is drawn on a meta device
    assert g.calls == 1
    with pytest.raises(TypeError, match="manual_seed: got float"):
        g.manual_seed(1.5)
