"""The random stream: the published generator, its frozen counter layout, and generators' state."""

from __future__ import annotations

import copy
import hashlib
import pickle

import numpy as np
import pytest
from helpers import bits, threads

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
    assert (pickle.loads(pickle.dumps(g)).seed, pickle.loads(pickle.dumps(g)).calls) == (g.seed, 1)


# ---- tensors ----

DRAWS = {
    "rand": lambda g: fastcnn.rand(50, 41, generator=g),
    "rand64": lambda g: fastcnn.rand(50, 41, generator=g, dtype="float64"),
    "rand16": lambda g: fastcnn.rand(50, 41, generator=g, dtype="float16"),
    "randb16": lambda g: fastcnn.rand(50, 41, generator=g, dtype="bfloat16"),
    "randn": lambda g: fastcnn.randn(50, 41, generator=g),
    "randn64": lambda g: fastcnn.randn(50, 41, generator=g, dtype="float64"),
    "randn16": lambda g: fastcnn.randn(50, 41, generator=g, dtype="float16"),
    "randint": lambda g: fastcnn.randint(-5, 1000, (50, 41), generator=g),
    "randperm": lambda g: fastcnn.randperm(999, generator=g),
    "bernoulli": lambda g: fastcnn.bernoulli(fastcnn.full((50, 41), 0.3), generator=g),
}
# Released values: these never change, on any machine.
FROZEN = {
    "rand": "a6d1d5cc7182b621f8ac73c10c62dd96fc61945c81762d275f0f81731dbf39d6",
    "rand64": "f0fee916bc925ed0205607b90fb8ecd707aefb4be945867b7c15ad268a5f4d84",
    "rand16": "d4fda9c6719aaa5a9617a85f1173c8942cc1333fc730fa43d372e6a7af8db651",
    "randb16": "a2848c82b55c88db83c80925baa4027b62bd7b3f20990d913014ff7528e89d9b",
    "randn": "c897151e3e10edd46ec795e89501e3c8e12162865b8bc3e226c61ceae8dcc3ec",
    "randn64": "779408d1b275b8b114363d8f2ea4a07860d03c9c749d90bfd2fef244038a3195",
    "randn16": "0802888bde8c7bfbb32fa44e9f8d4c566ef75df031479db53aa728b1d100b71a",
    "randint": "c0d5068f0b11286c1860e1d38c331d175cb3816ff14162d94443bc6d1680feae",
    "randperm": "ce91d03f52f5cfeabc07e26c6e2610151b9961f48d888a0ba5d5905ede696281",
    "bernoulli": "289f4b4135832228e82155a70ee249527708c40e8a106ff380ac98c223d6c901",
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_stream_is_frozen(name):
    """The same bits on every processor and with every C library: no libm is involved."""
    for n in (1, 3):
        with threads(n):
            assert hashlib.sha256(bits(DRAWS[name](Generator(2024)))).hexdigest() == FROZEN[name]


def test_uniform():
    for dtype, resolution in [("float32", 24), ("float64", 53), ("float16", 11), ("bfloat16", 8)]:
        u = np.asarray(fastcnn.rand(400, 500, dtype=dtype, generator=Generator(1)), np.float64)
        assert u.min() >= 0 and u.max() < 1
        assert (u * 2.0**resolution == np.floor(u * 2.0**resolution)).all()
        assert abs(u.mean() - 0.5 + 0.5 * 2.0**-resolution) < 4 / np.sqrt(12 * u.size)
        assert abs(u.var() - 1 / 12) < 1e-3


def test_normal():
    stats = pytest.importorskip("scipy.stats")
    for dtype in ("float32", "float64"):
        z = np.asarray(fastcnn.randn(300, 500, dtype=dtype, generator=Generator(1)), np.float64).ravel()
        assert stats.kstest(z, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 0.02  # the two of a pair


def test_normal_is_box_and_muller():
    """Against NumPy's log, sin and cos: our own are good to the last place but one."""
    z = fastcnn.randn(4000, dtype="float64", generator=Generator(9)).numpy()
    words = np.array([_core.philox((b, 0, 0, 0), (9, 0)) for b in range(2000)], np.uint64)
    u1 = ((words[:, 0] | words[:, 1] << np.uint64(32)) >> np.uint64(11)).astype(np.float64)
    u2 = ((words[:, 2] | words[:, 3] << np.uint64(32)) >> np.uint64(11)).astype(np.float64)
    r, angle = np.sqrt(-2 * np.log((u1 + 1) * 2.0**-53)), 2 * np.pi * u2 * 2.0**-53
    np.testing.assert_allclose(z[::2], r * np.cos(angle), rtol=1e-14, atol=2e-15)
    np.testing.assert_allclose(z[1::2], r * np.sin(angle), rtol=1e-14, atol=2e-15)


def test_integers():
    k = fastcnn.randint(3, 10, (100, 700), generator=Generator(1)).numpy()
    counts = np.bincount(k.ravel(), minlength=10)
    assert (counts[:3] == 0).all() and len(counts) == 10
    assert abs(counts[3:] - 1e4).max() < 400
    assert fastcnn.randint(5, (3,)).shape == (3,)
    wide = fastcnn.randint(-(2**63), 2**63 - 1, (1000,), generator=Generator(1)).numpy()
    assert wide.min() < -(2**61) and wide.max() > 2**61
    with pytest.raises(ValueError, match="got low 3 and high 3"):
        fastcnn.randint(3, 3, (2,))
    with pytest.raises(TypeError, match="got no size"):
        fastcnn.randint(3)


def test_permutation():
    order = fastcnn.randperm(1000, generator=Generator(1)).numpy()
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    first = [fastcnn.randperm(5, generator=Generator(s)).numpy()[0] for s in range(1000)]
    assert abs(np.bincount(first) - 200).max() < 60
    assert fastcnn.randperm(0).shape == (0,)
    with pytest.raises(ValueError, match="n is -1"):
        fastcnn.randperm(-1)


def test_bernoulli():
    p = fastcnn.tensor([[0.0], [1.0], [0.25]]).expand(3, 20000)
    b = fastcnn.bernoulli(p, generator=Generator(1)).numpy()
    assert (b[0] == 0).all() and (b[1] == 1).all() and abs(b[2].mean() - 0.25) < 0.015


def test_bernoulli_refuses_what_is_no_probability():
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="outside of"):
            fastcnn.bernoulli(fastcnn.full((2,), bad))


def test_forms():
    fastcnn.manual_seed(3)
    a = fastcnn.randn((2, 3))
    fastcnn.manual_seed(3)
    assert bits(fastcnn.randn(2, 3)) == bits(a)
    t = fastcnn.rand_like(fastcnn.zeros(2, 3, dtype="float64"), requires_grad=True)
    assert (t.dtype, t.shape, t.requires_grad) == ("float64", (2, 3), True)
    assert fastcnn.randn_like(a, dtype="float16").dtype == "float16"
    calls = fastcnn.random.default_generator.calls
    for t in (
        fastcnn.rand(2, 3, device="meta"),
        fastcnn.randperm(6, device="meta"),
        fastcnn.randint(3, (2,), device="meta"),
    ):
        assert t.device == "meta"
    assert fastcnn.random.default_generator.calls == calls
    with pytest.raises(TypeError, match="float tensors, got int64"):
        fastcnn.rand(2, dtype="int64")
    # a batch offset moves masks, not initial values
    assert bits(fastcnn.rand(9, generator=Generator(1, 5))) == bits(fastcnn.rand(9, generator=Generator(1)))
