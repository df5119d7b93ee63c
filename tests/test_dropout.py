"""The dropout family: rulings, the frozen stream, independence of layout, threads, batch and instruction set."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from helpers import FLOATS, assert_same_trace, bits, gradcheck, isa, isas, tensor, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import nn
from fastcnn._loader import _core
from fastcnn.random import Generator


def mask(shape, p=0.5, seed=0, **keywords):
    """What is kept of ones, as 0 and 1."""
    return (F.dropout(fastcnn.ones(*shape), p, seed=seed, **keywords).numpy() != 0).astype(np.uint8)


def philox_mask(shape, p, seed, call=0, first_sample=0):
    """The definition, draw by draw: position q of sample n is half-word q % 8 of block q // 8."""
    samples, size = shape[0], int(np.prod(shape[1:]))
    out = np.zeros((samples, size), np.uint8)
    threshold = int(p * 65536 + 0.5)
    for n in range(samples):
        for q in range(size):
            block, sample = q // 8, first_sample + n
            counter = (
                block,
                sample & 0xFFFFFFFF,
                call & 0xFFFFFFFF,
                (call >> 32) & 0xFFFF | (sample >> 32) << 24,
            )
            words = _core.philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
            half = words[q % 8 // 2] >> 16 * (q % 2) & 0xFFFF
            out[n, q] = half >= threshold
    return out.reshape(shape)


# ---- the stream ----


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("shape", [(3, 5, 3, 7), (2, 70, 5, 1), (4, 9), (5,)])
def test_mask_is_the_definition(shape, p):
    seed = 0x123456789ABCDEF
    np.testing.assert_array_equal(mask(shape, p, seed), philox_mask(shape, p, seed))


def test_mask_of_maps_of_whole_blocks():
    """Channels-last memory where every channel begins with a block, and several tasks."""
    shape = (2, 20, 8, 124)
    for channels in (20, 3):
        x = fastcnn.ones(*shape)[:, :channels].contiguous("channels_last")
        kept = (F.dropout(x, 0.4, seed=6).numpy() != 0).reshape(2, -1)
        expected = philox_mask((2, 8 * 124 * 3), 0.4, 6)
        np.testing.assert_array_equal(kept[:, : 8 * 124 * 3], expected)
        assert bits(F.dropout(x.contiguous(), 0.4, seed=6)) == bits(F.dropout(x, 0.4, seed=6))


def test_mask_of_a_high_sample_and_call():
    g = Generator(5, first_sample=2**33 + 1)
    g.calls = 2**32 + 3
    y = F.dropout(fastcnn.ones(2, 21), 0.5, generator=g).numpy() != 0
    np.testing.assert_array_equal(y, philox_mask((2, 21), 0.5, 5, 2**32 + 3, 2**33 + 1))


@pytest.mark.parametrize(
    ("shape", "p", "seed", "sha256"),
    [
        ((8, 16, 9, 9), 0.5, 0, "f434322ec58cbb4a7b0be81926f59e494881d4d68c501e865cd708397620c098"),
        ((8, 16, 9, 9), 0.1, 1, "7c5a91b6947dc734a005e7deb899a28c56eae499f008f6b395eed4b8ba32d327"),
        ((1000, 37), 0.3, 2**63 + 5, "739f9505251ea1b783cbe06981b97630f7e0dd36ea7e48d5875e2897472c7aea"),
    ],
)
def test_the_stream_is_frozen(shape, p, seed, sha256):
    """Masks of released versions: these hashes never change."""
    assert hashlib.sha256(mask(shape, p, seed).tobytes()).hexdigest() == sha256


@pytest.mark.sanitized
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["dropout", "dropout2d", "alpha_dropout", "gaussian_dropout", "drop_path"])
def test_memory_order_does_not_matter(op, dtype):
    x = np.random.default_rng(1).standard_normal((3, 70, 7, 5))
    run = {
        "dropout": lambda t: F.dropout(t, 0.3, seed=4),
        "dropout2d": lambda t: F.dropout2d(t, 0.3, seed=4),
        "alpha_dropout": lambda t: F.alpha_dropout(t, 0.3, True, seed=4),
        "gaussian_dropout": lambda t: F.gaussian_dropout(t, 0.3, seed=4),
        "drop_path": lambda t: F.drop_path(t, 0.3, True, seed=4),
    }[op]
    base = tensor(x, dtype)
    expected = run(base)
    last = run(base.contiguous("channels_last"))
    assert expected.is_contiguous() and last.is_channels_last()  # D6: the memory order is kept
    assert bits(last) == bits(expected)
    permuted = run(tensor(np.ascontiguousarray(x.transpose(2, 0, 3, 1)), dtype).permute(1, 3, 0, 2))
    assert bits(permuted) == bits(expected)
    wide = run(tensor(np.repeat(x, 2, 3), dtype)[:, :, :, ::2])
    assert bits(wide) == bits(expected)


def test_threads_and_instruction_sets_do_not_matter():
    x = fastcnn.tensor(np.random.default_rng(1).standard_normal((9, 40, 23, 21)).astype(np.float32))
    views = x, x.contiguous("channels_last")
    results = set()
    for name in isas():
        for n in (1, 2, 3, 5):
            with isa(name), threads(n):
                results |= {bits(F.dropout(v, 0.25, seed=9)) for v in views}
    assert len(results) == 1


def test_batch_split_does_not_matter():
    whole = mask((8, 3, 5, 5), 0.4, 3)
    np.testing.assert_array_equal(mask((5, 3, 5, 5), 0.4, 3), whole[:5])
    later = F.dropout(fastcnn.ones(3, 3, 5, 5), 0.4, generator=Generator(3, first_sample=5)).numpy() != 0
    np.testing.assert_array_equal(later, whole[5:])


def test_calls_differ_and_seeds_repeat():
    fastcnn.manual_seed(11)
    first, second = (F.dropout(fastcnn.ones(4, 100)).numpy() for _ in range(2))
    assert (first != second).any()
    fastcnn.manual_seed(11)
    np.testing.assert_array_equal(F.dropout(fastcnn.ones(4, 100)).numpy(), first)
    layer = nn.Dropout(0.5, seed=3)
    a, b = (layer(fastcnn.ones(4, 100)).numpy() for _ in range(2))
    assert (a != b).any()
    fastcnn.manual_seed(12)  # an own stream does not listen to the default one
    np.testing.assert_array_equal(nn.Dropout(0.5, seed=3)(fastcnn.ones(4, 100)).numpy(), a)


# ---- rulings ----


@pytest.mark.parametrize("dtype", FLOATS)
def test_survivors_are_scaled_by_the_p_that_was_asked_for(dtype):
    x = tensor(np.random.default_rng(1).standard_normal((50, 40)), dtype)
    y, x = (np.asarray(t, dtype=np.float64) for t in (F.dropout(x, 0.3, seed=1), x))
    kept = y != 0
    rtol = {"float64": 1e-15, "float32": 1.3e-7, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    np.testing.assert_allclose(y[kept], x[kept] / (1 - 0.3), rtol=rtol)
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.21 / kept.size)


def test_identities():
    x = fastcnn.ones(3, 4)
    functions = [
        F.dropout,
        F.alpha_dropout,
        F.feature_alpha_dropout,
        F.gaussian_dropout,
        F.drop_path,
        F.dropout1d,
    ]
    for f in functions:  # D1, D2: the very same object
        assert f(x, 0.5, training=False) is x
        assert f(x, 0.0, training=True) is x
    assert nn.Dropout(0.5).eval()(x) is x
    calls = fastcnn.random.default_generator.calls
    F.dropout(x, 0.0), F.dropout(x, training=False)
    assert fastcnn.random.default_generator.calls == calls  # nothing was drawn


@pytest.mark.parametrize("f", [F.dropout, F.alpha_dropout, F.feature_alpha_dropout, F.drop_path, F.dropout1d])
def test_p_one_gives_zeros(f):
    np.testing.assert_array_equal(f(fastcnn.full((2, 3), np.inf), 1.0, True).numpy(), 0)  # D3 and D7


def test_dropped_nan_and_inf_become_zero():
    x = np.full((4, 64), np.nan, np.float32)
    x[1::2] = np.inf
    y = F.dropout(fastcnn.tensor(x), 0.5, seed=2).numpy()
    kept = mask((4, 64), 0.5, 2).astype(bool)
    assert (y[~kept] == 0).all() and not np.isfinite(y[kept]).any()
    t = fastcnn.tensor(x, requires_grad=True)
    F.dropout(t, 0.5, seed=2).backward(fastcnn.tensor(x))
    assert (t.grad.numpy()[~kept] == 0).all()


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "f",
    [
        F.dropout,
        F.dropout1d,
        F.alpha_dropout,
        F.drop_path,
        F.gaussian_dropout,
        lambda x, p: nn.Dropout2d(p),
        lambda x, p: nn.DropPath(p),
    ],
)
def test_invalid_p(f, p):
    with pytest.raises(ValueError, match=r"p is .*, expected a probability of dropping from 0 to 1"):
        f(fastcnn.ones(2, 3), p)


def test_integers_are_refused():
    for dtype in ("int64", "uint8", "bool"):
        with pytest.raises(TypeError, match=f"got a {dtype} tensor"):
            F.dropout(fastcnn.ones(2, 3, dtype=dtype))


def test_keep_prob():
    np.testing.assert_array_equal(
        F.dropout(fastcnn.ones(5, 9), keep_prob=0.8, seed=1).numpy() != 0, mask((5, 9), 1 - 0.8, 1)
    )
    assert nn.Dropout(keep_prob=0.9).p == pytest.approx(0.1)
    for both in (
        lambda: F.dropout(fastcnn.ones(2), 0.5, keep_prob=0.5),
        lambda: nn.Dropout(p=0.5, keep_prob=0.5),
    ):
        with pytest.raises(ValueError, match=r"got both p=0\.5 and keep_prob=0\.5"):
            both()
    with pytest.raises(ValueError, match=r"keep_prob is 1\.5"):
        nn.Dropout(keep_prob=1.5)


def test_noise_shape():
    y = F.dropout(fastcnn.ones(6, 8, 5, 5), 0.5, noise_shape=(None, None, 1, 1), seed=1).numpy()
    assert (y == y[:, :, :1, :1]).all()
    np.testing.assert_array_equal(y, F.dropout2d(fastcnn.ones(6, 8, 5, 5), 0.5, seed=1).numpy())
    rows = F.dropout(fastcnn.ones(6, 40), 0.5, noise_shape=(1, 40), seed=1).numpy()
    assert (rows == rows[:1]).all() and len(np.unique(rows)) == 2
    odd = F.dropout(fastcnn.ones(3, 4, 5), 0.5, noise_shape=(3, 1, 5), seed=1).numpy()
    np.testing.assert_array_equal(odd != 0, np.broadcast_to(philox_mask((3, 5), 0.5, 1)[:, None], (3, 4, 5)))
    for bad, error, text in [
        ((6,), ValueError, "1 entries, expected one per axis"),
        ((0, 40), ValueError, "has 0 at axis 0"),
        ((6, -1), ValueError, "has -1 at axis 1"),
        ((6, 7), ValueError, "has 7 at axis 1, expected None, 1 or the input's 40"),
        ((6, 1.0), TypeError, "has 1.0 at axis 1"),
    ]:
        with pytest.raises(error, match=text):
            F.dropout(fastcnn.ones(6, 40), 0.5, noise_shape=bad)


def test_channel_dropout_ranks():
    y = F.dropout1d(fastcnn.ones(4, 30, 5), 0.5, seed=1).numpy()
    assert (y == y[:, :, :1]).all() and len(np.unique(y)) == 2
    unbatched = F.dropout1d(fastcnn.ones(30, 5), 0.5, seed=1).numpy()
    np.testing.assert_array_equal(unbatched, y[0])
    for shape in ((3,), (2, 3, 4, 5)):
        with pytest.raises(ValueError, match="dropout1d: input has shape"):
            F.dropout1d(fastcnn.ones(*shape))
    with pytest.warns(UserWarning, match=r"read as \(N, C, L\); use dropout1d"):
        y = F.dropout2d(fastcnn.ones(4, 30, 5), 0.5, seed=1).numpy()
    assert (y == y[:, :, :1]).all()
    for shape in ((4, 30), (2, 3, 4, 5, 6)):
        with pytest.warns(UserWarning, match="dropout2d: got a"):
            F.dropout2d(fastcnn.ones(*shape))
    y = F.dropout3d(fastcnn.ones(30, 2, 3, 4), 0.5, seed=1).numpy()
    assert (y == y[:, :1, :1, :1]).all() and len(np.unique(y)) == 2
    with pytest.warns(UserWarning, match="dropout3d: got a"):
        F.dropout3d(fastcnn.ones(4, 30, 5))


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).standard_normal((1000, 500)).astype(np.float32)
    for p in (0.1, 0.3, 0.6):
        y = F.alpha_dropout(fastcnn.tensor(x), p, True, seed=1).numpy()
        assert abs(y.mean()) < 0.01 and abs(y.var() - 1) < 0.02
    y = F.feature_alpha_dropout(fastcnn.ones(50, 8, 3), 0.5, True, seed=1).numpy()
    assert (y == y[:, :, :1]).all() and len(np.unique(y)) == 2


def test_gaussian_dropout_moments():
    y = F.gaussian_dropout(fastcnn.ones(1000, 300), 0.2, seed=1).numpy().astype(np.float64)
    assert abs(y.mean() - 1) < 4 * np.sqrt(0.25 / y.size) and abs(y.var() - 0.25) < 0.003
    with pytest.raises(ValueError, match="p is 1, expected p < 1"):
        F.gaussian_dropout(fastcnn.ones(2), 1.0)


def test_drop_path():
    y = F.drop_path(fastcnn.ones(400, 3, 2, 2), 0.25, True, seed=1).numpy()
    assert (y == y[:, :1, :1, :1]).all()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y[:, 0, 0, 0] == 0).mean() - 0.25) < 0.09
    y = F.drop_path(fastcnn.ones(400, 3), 0.25, True, scale_by_keep=False, seed=1).numpy()
    assert set(np.unique(y)) == {0.0, 1.0}


def test_inplace():
    x = fastcnn.ones(4, 9)
    assert F.dropout(x, 0.5, inplace=True, seed=1) is x
    np.testing.assert_array_equal(x.numpy() != 0, mask((4, 9), 0.5, 1))
    t = fastcnn.ones(4, 9, requires_grad=True)
    y = F.dropout(t * 1.0, 0.5, inplace=True, seed=1)
    y.backward(fastcnn.ones(4, 9))
    np.testing.assert_array_equal(t.grad.numpy(), y.detach().numpy())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (), (0, 3, 4, 4)])
def test_empty_and_scalar(shape):
    y = F.dropout(fastcnn.ones(shape), 0.5, seed=1)
    assert y.shape == shape


# ---- gradients, memory ----


@pytest.mark.parametrize(
    "run",
    [
        lambda x: F.dropout(x, 0.4, seed=1),
        lambda x: F.dropout2d(x, 0.4, seed=1),
        lambda x: F.alpha_dropout(x, 0.4, True, seed=1),
        lambda x: F.gaussian_dropout(x, 0.4, seed=1),
        lambda x: F.drop_path(x, 0.4, True, seed=1),
        lambda x: F.dropout(x.contiguous("channels_last"), 0.4, noise_shape=(None, 1, None, 1), seed=1),
    ],
)
def test_gradients(run):
    gradcheck(run, np.random.default_rng(1).standard_normal((3, 4, 2, 5)))


def test_gradient_of_the_gradient():
    x = fastcnn.ones(4, 9, requires_grad=True)
    dy = fastcnn.ones(4, 9, requires_grad=True)
    (dx,) = fastcnn.grad(F.dropout(x, 0.5, seed=1), x, dy, create_graph=True)
    dx.backward(fastcnn.ones(4, 9))
    np.testing.assert_array_equal(dy.grad.numpy(), 2.0 * mask((4, 9), 0.5, 1))


@pytest.mark.parametrize("f", [F.dropout, F.dropout2d, F.gaussian_dropout])
def test_nothing_is_saved(f):
    x = fastcnn.ones(2, 3, 8, 8, requires_grad=True)
    y = f(x, 0.5)
    assert y._node.saved_tensors == []
    assert not [v for v in y._node.__dict__.values() if isinstance(v, fastcnn.Tensor)]


# ---- DropConnect ----


def drop_connect_reference(x, w, p, seed):
    keep = philox_mask((x.shape[0], *w.shape), p, seed).astype(np.float64)
    return np.einsum("ni,oi,noi->no", x, w, keep) / (1 - p)


@pytest.mark.parametrize("dtype", FLOATS)
def test_drop_connect_is_the_paper(dtype):
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal((5, 13)), rng.standard_normal((7, 13)), rng.standard_normal(7)
    tx, tw, tb = (tensor(a, dtype) for a in (x, w, b))
    x, w, b = (np.asarray(t, dtype=np.float64) for t in (tx, tw, tb))
    y = np.asarray(F.drop_connect(tx, tw, tb, 0.3, seed=6), dtype=np.float64)
    tolerance = {"float64": 1e-13, "float32": 1e-5, "float16": 2e-2, "bfloat16": 2e-1}[dtype]
    np.testing.assert_allclose(y, drop_connect_reference(x, w, 0.3, 6) + b, atol=tolerance)


def test_drop_connect_gradients_and_layer():
    rng = np.random.default_rng(1)
    gradcheck(
        lambda x, w: F.drop_connect(x, w, None, 0.4, seed=3),
        rng.standard_normal((4, 9)),
        rng.standard_normal((5, 9)),
    )
    x = fastcnn.tensor(rng.standard_normal((4, 9)), requires_grad=True)
    w = fastcnn.tensor(rng.standard_normal((5, 9)), requires_grad=True)
    y = F.drop_connect(x, w, None, 0.4)
    assert [t.nbytes for t in y._node.saved_tensors] == [x.nbytes, w.nbytes]  # the operands, no masks
    results = []
    for n in (1, 3):
        with threads(n):
            results.append(bits(F.drop_connect(x, w, None, 0.4, seed=3)))
    assert results[0] == results[1]
    with pytest.raises(ValueError, match="has 9 features, expected the weight's 8"):
        F.drop_connect(x, fastcnn.zeros(5, 8, dtype="float64"))


# ---- meta ----


def test_meta_runs_without_drawing():
    calls = fastcnn.random.default_generator.calls
    for f in (F.dropout, F.dropout2d, F.gaussian_dropout):
        y = f(fastcnn.empty(2, 3, 4, 4, device="meta"), 0.5)
        assert y.shape == (2, 3, 4, 4) and y.device == "meta"
    assert fastcnn.random.default_generator.calls == calls


@pytest.mark.parametrize(
    "f",
    [
        F.dropout,
        F.dropout2d,
        F.gaussian_dropout,
        lambda x: F.alpha_dropout(x, 0.5, True),
        lambda x: F.drop_path(x, 0.5, True),
    ],
)
def test_trace_is_that_of_the_twin(f):
    def step(device):
        x = fastcnn.zeros(4, 8, 9, 9, device=device, requires_grad=True)
        y = f(f(x))
        y.backward(fastcnn.zeros(*y.shape, device=device))

    assert_same_trace(step)


def test_trace_of_drop_connect():
    def step(device):
        x = fastcnn.zeros(4, 300, device=device, requires_grad=True)
        w = fastcnn.zeros(50, 300, device=device, requires_grad=True)
        F.drop_connect(x, w, None, 0.5).backward(fastcnn.zeros(4, 50, device=device))

    assert_same_trace(step)
