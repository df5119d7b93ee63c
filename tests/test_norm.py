"""Normalisations against float64 formulas, PyTorch and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FLOATS, UNIT, assert_same_trace, bits, gradcheck, isa, isas, rounded, tensor, threads
from on_device import DEVICE

import fastcnn
from fastcnn import functional as F
from fastcnn import nn

BATCH_SHAPES = [
    (4, 70, 5, 6),
    (8, 3),
    (2, 5, 7),
    (2, 3, 2, 3, 4),
    (3, 1, 1, 2),
    (2, 129, 33, 1),
    (5, 64, 40, 40),
]


def normal(shape, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).standard_normal(shape) * scale + shift


def axes_of(x):
    return tuple(i for i in range(x.ndim) if i != 1)


def channel(v, x):
    return v.reshape(1, -1, *[1] * (x.ndim - 2))


def reference(x, w, b, eps=1e-5, axes=None):
    """(y, mean, biased variance) in float64."""
    axes = axes_of(x) if axes is None else axes
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * channel(w, x) + channel(b, x), mean, var


def tolerance(dtype, magnitude):
    inner = "float32" if dtype in ("float16", "bfloat16") else dtype
    return 32 * UNIT[inner] * magnitude + 1.01 * UNIT[dtype] * magnitude


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_batch_norm_values(shape, dtype):
    x = rounded(normal(shape, 1, 2.0, 3.0), dtype)
    w, b = (rounded(normal(shape[1], s), dtype) for s in (2, 3))
    rm, rv = tensor(np.zeros(shape[1]), dtype), tensor(np.ones(shape[1]), dtype)
    y = F.batch_norm(tensor(x, dtype), rm, rv, tensor(w, dtype), tensor(b, dtype), True, 0.25)
    assert y.dtype == dtype and (x.ndim == 2 or y.is_channels_last())
    exact, mean, var = reference(x, w, b)
    # conditioning: x - mean loses what rounding of x's magnitude over the deviation costs
    magnitude = np.abs(channel(w, x)) * (np.abs(x) + np.abs(mean)) / np.sqrt(var + 1e-5) + np.abs(
        channel(b, x)
    )
    error = np.abs(np.asarray(y, dtype=np.float64) - exact)
    assert (error <= tolerance(dtype, magnitude)).all(), (error / tolerance(dtype, magnitude)).max()
    n = x.size / shape[1]
    for got, expected in ((rm, 0.25 * mean), (rv, 0.75 + 0.25 * var * n / (n - 1))):
        expected = expected.reshape(-1)
        error = np.abs(np.asarray(got, dtype=np.float64) - expected)
        assert (error <= tolerance(dtype, np.abs(expected) + 1)).all()


def test_running_variance_is_unbiased():
    """The ruling's example: batch 1, 3 and momentum 0.1 give 0.9 * 1 + 0.1 * 2 = 1.1."""
    rv = fastcnn.ones(1)
    F.batch_norm(fastcnn.tensor([[1.0], [3.0]]), fastcnn.zeros(1), rv, training=True)
    assert float(rv) == pytest.approx(1.1, rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e3, -3e4])
def test_statistics_are_sound_far_from_zero(shift):
    """Naive sums of squares lose everything at mean / deviation = 3e4; the first row is an outlier to a fixed shift."""
    x = (normal((64, 8, 9, 9), 4) + shift).astype(np.float32)
    x[0, :, 0, 0] = 5 * shift
    y = F.batch_norm(fastcnn.tensor(x), None, None, training=True)
    exact, _, var = reference(x.astype(np.float64), np.ones(8), np.zeros(8))
    error = np.abs(y.numpy() - exact) * np.sqrt(var)
    assert error.max() <= 4 * UNIT["float32"] * np.abs(x).max()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 3, 2), (6, 3), (3, 4, 5)])
def test_batch_norm_gradients(shape, training):
    rm, rv = (fastcnn.tensor(np.abs(normal(shape[1], s)) + 0.5) for s in (5, 6))

    def run(x, w, b):
        return F.batch_norm(x, rm.clone(), rv.clone(), w, b, training)

    gradcheck(run, normal(shape, 1), normal(shape[1], 2), normal(shape[1], 3), rtol=2e-6, atol=2e-7)
    gradcheck(
        lambda x: F.batch_norm(x, rm.clone(), rv.clone(), None, None, training),
        normal(shape, 1),
        rtol=2e-6,
        atol=2e-7,
    )


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_partial_gradients(needs, training):
    """Each gradient alone equals the one computed together with the others."""
    arrays = normal((4, 3, 5, 5), 1), normal(3, 2), normal(3, 3)
    dy = fastcnn.tensor(normal((4, 3, 5, 5), 4))

    def gradients(needs):
        inputs = [fastcnn.tensor(a, requires_grad=n) for a, n in zip(arrays, needs)]
        stats = fastcnn.zeros(3, dtype="float64"), fastcnn.ones(3, dtype="float64")
        F.batch_norm(inputs[0], *stats, inputs[1], inputs[2], training).backward(dy)
        return [None if t.grad is None else t.grad.numpy() for t in inputs]

    together, alone = gradients((True, True, True)), gradients(needs)
    for t, a, needed in zip(together, alone, needs):
        assert (a is not None) == needed
        if needed:
            np.testing.assert_array_equal(a, t)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_batch_norm_against_torch(shape, training):
    torch = pytest.importorskip("torch")
    arrays = [normal(shape, 1, 2.0, 1.0), normal(shape[1], 2), normal(shape[1], 3)]
    stats = [normal(shape[1], 4), np.abs(normal(shape[1], 5)) + 0.1]
    dy = normal(shape, 6)
    ours = [fastcnn.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    our_stats, their_stats = [fastcnn.tensor(s) for s in stats], [torch.tensor(s) for s in stats]
    y = F.batch_norm(ours[0], *our_stats, ours[1], ours[2], training)
    t = torch.nn.functional.batch_norm(theirs[0], *their_stats, theirs[1], theirs[2], training)
    y.backward(fastcnn.tensor(dy))
    t.backward(torch.tensor(dy))
    pairs = [
        (y.detach(), t.detach()),
        *zip(our_stats, their_stats),
        *((a.grad, b.grad) for a, b in zip(ours, theirs)),
    ]
    for a, b in pairs:
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.sanitized
@pytest.mark.parametrize("make", ["contiguous", "channels_last", "sliced", "reversed", "expanded"])
def test_layouts_agree(make):
    base = normal((4, 6, 5, 7), 1).astype(np.float32)
    views = {
        "contiguous": lambda a: fastcnn.tensor(a),
        "channels_last": lambda a: fastcnn.tensor(a).contiguous("channels_last"),
        "sliced": lambda a: fastcnn.tensor(np.repeat(a, 2, 3))[:, :, :, ::2],
        "reversed": lambda a: fastcnn.from_numpy(a[:, ::-1].copy()[:, ::-1]),
        "expanded": lambda a: fastcnn.tensor(a[:1]).expand(4, 6, 5, 7),
    }
    source = np.broadcast_to(base[:1], base.shape) if make == "expanded" else base
    x = views[make](base)
    for run in (
        lambda t: F.batch_norm(t, None, None, training=True),
        lambda t: F.group_norm(t, 3),
        lambda t: F.layer_norm(t, (5, 7)),
        lambda t: F.local_response_norm(t, 3),
    ):
        np.testing.assert_array_equal(
            run(x).numpy(), run(fastcnn.tensor(np.ascontiguousarray(source))).numpy()
        )


@pytest.mark.parametrize("op", ["batch", "group", "layer", "lrn"])
def test_threads_do_not_change_bits(op):
    x = normal((7, 24, 31, 29), 1).astype(np.float32)
    w, b = normal(24, 2).astype(np.float32), normal(24, 3).astype(np.float32)
    dy = fastcnn.tensor(normal(x.shape, 4).astype(np.float32))

    def run():
        t, tw, tb = (fastcnn.tensor(a, requires_grad=True) for a in (x, w, b))
        y = {
            "batch": lambda: F.batch_norm(t, None, None, tw, tb, True),
            "group": lambda: F.group_norm(t, 4, tw, tb),
            "layer": lambda: F.layer_norm(t, (29,)),
            "lrn": lambda: F.local_response_norm(t, 5, 1.0),
        }[op]()
        y.backward(dy)
        return [bits(v) for v in (y, t.grad, tw.grad, tb.grad) if v is not None]

    results = []
    for n in (1, 2, 3, 5):
        with threads(n):
            results.append(run())
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("name", isas())
def test_each_instruction_set(name):
    x = normal((3, 67, 9, 5), 1).astype(np.float32)
    with isa(name):
        t = fastcnn.tensor(x, requires_grad=True)
        y = F.batch_norm(t, None, None, training=True)
        y.backward(fastcnn.tensor(normal(x.shape, 2).astype(np.float32)))
    exact, _, _ = reference(x.astype(np.float64), np.ones(67), np.zeros(67))
    np.testing.assert_allclose(y.detach().numpy(), exact, rtol=2e-6, atol=2e-6)
    assert np.isfinite(t.grad.numpy()).all()


def test_sample_results_do_not_depend_on_the_batch():
    x = normal((6, 8, 5, 5), 1).astype(np.float32)
    whole = F.group_norm(fastcnn.tensor(x), 4).numpy()
    single = np.concatenate([F.group_norm(fastcnn.tensor(x[i : i + 1]), 4).numpy() for i in range(6)])
    np.testing.assert_array_equal(whole, single)


# ---- group, instance, layer, RMS, local response ----


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("shape", "groups"), [((3, 12, 5, 4), 3), ((2, 6), 2), ((2, 70, 3), 1), ((2, 4, 2, 3, 2), 4)]
)
def test_group_norm_values(shape, groups, dtype):
    x = rounded(normal(shape, 1), dtype)
    w, b = (rounded(normal(shape[1], s), dtype) for s in (2, 3))
    y = np.asarray(
        F.group_norm(tensor(x, dtype), groups, tensor(w, dtype), tensor(b, dtype)), dtype=np.float64
    )
    g = x.reshape(shape[0], groups, -1)
    hat = ((g - g.mean(2, keepdims=True)) / np.sqrt(g.var(2, keepdims=True) + 1e-5)).reshape(shape)
    np.testing.assert_allclose(
        y, hat * channel(w, x) + channel(b, x), rtol=4 * UNIT[dtype], atol=64 * max(UNIT[dtype], 2.0**-53)
    )


@pytest.mark.parametrize(
    "run",
    [
        lambda x, w, b: F.group_norm(x, 2, w, b),
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        lambda x, w, b: F.layer_norm(x, (3, 5)) * 1.0 + w.reshape(1, 4, 1, 1) * b.reshape(1, 4, 1, 1),
        lambda x, w, b: (
            F.local_response_norm(x, 3, 0.7, 0.75, 1.5) * w.reshape(1, 4, 1, 1) + b.reshape(1, 4, 1, 1)
        ),
        lambda x, w, b: (
            F.local_response_norm(x, 4, 2.0, 0.5, 1.0) * w.reshape(1, 4, 1, 1) + b.reshape(1, 4, 1, 1)
        ),
    ],
    ids=["group", "instance", "layer", "lrn3", "lrn4"],
)
def test_gradients(run):
    pytest.importorskip("fastcnn.functional.reduction")
    gradcheck(run, normal((2, 4, 3, 5), 1), normal(4, 2), normal(4, 3), rtol=2e-6, atol=2e-7)


def test_row_norm_gradients():
    gradcheck(
        lambda x, w, b: F.layer_norm(x, (4, 5), w, b),
        normal((3, 4, 5), 1),
        normal((4, 5), 2),
        normal((4, 5), 3),
        rtol=2e-6,
        atol=2e-7,
    )
    gradcheck(lambda x, w: F.rms_norm(x, 5, w), normal((3, 4, 5), 1), normal(5, 2), rtol=2e-6, atol=2e-7)


def test_against_torch():
    torch = pytest.importorskip("torch")
    tf = torch.nn.functional
    x, w, b = normal((3, 8, 6, 5), 1), normal(8, 2), normal(8, 3)
    w2, b2 = normal((6, 5), 4), normal((6, 5), 5)
    rm, rv = normal(8, 6), np.abs(normal(8, 7))
    cases = [
        (lambda F, x, w, b, w2, b2, rm, rv: F.group_norm(x, 4, w, b)),
        (lambda F, x, w, b, w2, b2, rm, rv: F.instance_norm(x, rm, rv, w, b, True, 0.3)),
        (lambda F, x, w, b, w2, b2, rm, rv: F.instance_norm(x, rm, rv, w, b, False)),
        (lambda F, x, w, b, w2, b2, rm, rv: F.layer_norm(x, (6, 5), w2, b2)),
        (lambda F, x, w, b, w2, b2, rm, rv: F.rms_norm(x, (6, 5), w2)),
        (lambda F, x, w, b, w2, b2, rm, rv: F.local_response_norm(x, 5, 0.5)),
        (lambda F, x, w, b, w2, b2, rm, rv: F.local_response_norm(x, 2, 2.0, 0.5, 2.0)),
    ]
    dy = normal(x.shape, 9)
    for case in cases:
        ours = [fastcnn.tensor(a, requires_grad=i < 5) for i, a in enumerate((x, w, b, w2, b2, rm, rv))]
        theirs = [torch.tensor(a, requires_grad=i < 5) for i, a in enumerate((x, w, b, w2, b2, rm, rv))]
        y, t = case(F, *ours), case(tf, *theirs)
        y.backward(fastcnn.tensor(dy))
        t.backward(torch.tensor(dy))
        np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-9, atol=1e-11)
        for a, c in zip(ours[:5], theirs[:5]):
            assert (a.grad is None) == (c.grad is None)
            if a.grad is not None:
                np.testing.assert_allclose(a.grad.numpy(), c.grad.numpy(), rtol=1e-8, atol=1e-10)
        for a, c in zip(ours[5:], theirs[5:]):
            np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=1e-9)


def test_local_response_norm_even_size_leans_back():
    """The ruling's example: ones, size 2, alpha 1, beta 1: the first channel sees one neighbour less."""
    y = F.local_response_norm(fastcnn.ones(1, 4, 1), 2, alpha=1.0, beta=1.0)
    np.testing.assert_allclose(y.numpy().reshape(-1), [2 / 3, 0.5, 0.5, 0.5], rtol=1e-6)


# ---- edges ----


def test_empty_batches():
    for layer, x in [
        (nn.BatchNorm2d(3), fastcnn.zeros(0, 3, 4, 4, requires_grad=True)),
        (nn.GroupNorm(3, 6), fastcnn.zeros(0, 6, 2, requires_grad=True)),
        (nn.LayerNorm(5), fastcnn.zeros(0, 5, requires_grad=True)),
        (nn.LocalResponseNorm(3), fastcnn.zeros(0, 6, 2, requires_grad=True)),
    ]:
        y = layer(x)
        assert y.shape == x.shape
        y.backward(fastcnn.zeros(*y.shape))
        assert x.grad.shape == x.shape
        for p in layer.parameters():
            np.testing.assert_array_equal(p.grad.numpy(), 0)
    bn = nn.BatchNorm2d(3)
    bn(fastcnn.zeros(0, 3, 4, 4))
    np.testing.assert_array_equal(bn.running_var.numpy(), 1)  # an empty batch teaches nothing


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.batch_norm(fastcnn.zeros(1, 3, 1, 1), None, None, training=True),
            ValueError,
            r"one value per channel in training, got input \(1, 3, 1, 1\)",
        ),
        (
            lambda: F.batch_norm(fastcnn.zeros(2, 3), None, None),
            ValueError,
            r"training=False needs running_mean",
        ),
        (
            lambda: F.batch_norm(fastcnn.zeros(2, 3), None, None, fastcnn.zeros(4), training=True),
            ValueError,
            r"weight has shape \(4,\), expected \(3,\)",
        ),
        (
            lambda: F.batch_norm(fastcnn.zeros(2, 3), fastcnn.zeros(3), None, training=True),
            ValueError,
            r"come together",
        ),
        (
            lambda: F.batch_norm(fastcnn.zeros(2, 3, dtype="int64"), None, None, training=True),
            TypeError,
            r"float tensors, got int64",
        ),
        (
            lambda: F.batch_norm(
                fastcnn.zeros(2, 3), None, None, fastcnn.zeros(3, dtype="float64"), training=True
            ),
            TypeError,
            r"no silent promotion",
        ),
        (
            lambda: F.batch_norm(fastcnn.zeros(4), None, None, training=True),
            ValueError,
            r"expected \(N, C\)",
        ),
        (
            lambda: F.group_norm(fastcnn.zeros(2, 5), 2),
            ValueError,
            r"2 groups do not divide the channels",
        ),
        (
            lambda: nn.GroupNorm(2, 5),
            ValueError,
            r"2 groups do not divide 5 channels",
        ),
        (
            lambda: F.instance_norm(fastcnn.zeros(2, 5, 1)),
            ValueError,
            r"one value per channel",
        ),
        (
            lambda: F.layer_norm(fastcnn.zeros(2, 5), (4,)),
            ValueError,
            r"normalized_shape is \(4,\), expected the last axes",
        ),
        (
            lambda: F.layer_norm(fastcnn.zeros(2, 5), ()),
            ValueError,
            r"normalized_shape is \(\)",
        ),
        (
            lambda: F.local_response_norm(fastcnn.zeros(2, 5), 3),
            ValueError,
            r"expected \(N, C, ...\) with 3 axes",
        ),
        (
            lambda: F.local_response_norm(fastcnn.zeros(2, 5, 1), 0),
            ValueError,
            r"size is 0",
        ),
        (
            lambda: nn.BatchNorm2d(3)(fastcnn.zeros(2, 3)),
            ValueError,
            r"BatchNorm2d: input has shape \(2, 3\), expected \(N, C, H, W\)",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_nan_and_inf_stay_in_their_channel():
    x = normal((4, 3, 2, 2), 1).astype(np.float32)
    x[1, 1, 0, 0] = np.nan
    y = F.batch_norm(fastcnn.tensor(x), None, None, training=True).numpy()
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()


# ---- layers ----


def test_cumulative_momentum_and_counter():
    bn = nn.BatchNorm1d(2, momentum=None)
    batches = [normal((5, 2), s) for s in range(3)]
    for x in batches:
        bn(fastcnn.tensor(x, dtype="float32"))
    assert int(bn.num_batches_tracked) == 3 and bn.num_batches_tracked.dtype == "int64"
    np.testing.assert_allclose(
        bn.running_mean.numpy(), np.mean([x.mean(0) for x in batches], 0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        bn.running_var.numpy(), np.mean([x.var(0, ddof=1) for x in batches], 0), rtol=1e-5
    )
    bn.eval()
    before = bn.running_mean.numpy().copy()
    bn(fastcnn.tensor(batches[0], dtype="float32"))
    assert int(bn.num_batches_tracked) == 3
    np.testing.assert_array_equal(bn.running_mean.numpy(), before)
    with pytest.raises(ValueError, match="one value per channel"):
        bn.train()(fastcnn.zeros(1, 2))
    assert int(bn.num_batches_tracked) == 3  # a refused batch is not counted


def test_state_dicts_match_torch():
    torch = pytest.importorskip("torch")
    for args in [
        ("BatchNorm2d", 3),
        ("BatchNorm1d", 3),
        ("InstanceNorm2d", 3),
        ("GroupNorm", 3, 6),
        ("LayerNorm", (3, 4)),
        ("RMSNorm", 4),
    ]:
        ours, theirs = getattr(nn, args[0])(*args[1:]), getattr(torch.nn, args[0])(*args[1:])
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
    for keywords in [
        {"affine": False},
        {"track_running_stats": False},
        {"affine": True, "track_running_stats": True},
    ]:
        for name in ("BatchNorm2d", "InstanceNorm2d"):
            ours, theirs = getattr(nn, name)(3, **keywords), getattr(torch.nn, name)(3, **keywords)
            assert list(ours.state_dict()) == list(theirs.state_dict())
            x = normal((2, 3, 4, 4), 1).astype(np.float32)
            for mode in (True, False):
                y, t = ours.train(mode)(fastcnn.tensor(x)), theirs.train(mode)(torch.tensor(x))
                np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_unbatched_instance_norm():
    x = normal((3, 4, 5), 1).astype(np.float32)
    layer = nn.InstanceNorm2d(3)
    np.testing.assert_array_equal(layer(fastcnn.tensor(x)).numpy(), layer(fastcnn.tensor(x[None])).numpy()[0])


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "name", ["BatchNorm2d", "InstanceNorm2d", "GroupNorm", "LayerNorm", "RMSNorm", "LocalResponseNorm"]
)
def test_trace_is_that_of_the_twin(name, channels_last):
    make = {
        "BatchNorm2d": lambda d: nn.BatchNorm2d(70, device=d),
        "InstanceNorm2d": lambda d: nn.InstanceNorm2d(70, affine=True, track_running_stats=True, device=d),
        "GroupNorm": lambda d: nn.GroupNorm(7, 70, device=d),
        "LayerNorm": lambda d: nn.LayerNorm(20, device=d),
        "RMSNorm": lambda d: nn.RMSNorm(20, device=d),
        "LocalResponseNorm": lambda d: nn.LocalResponseNorm(5),
    }[name]

    def step(device):
        layer = make(device)
        x = fastcnn.zeros(2 if DEVICE == "cuda" else 8, 70, 20, 20, device=device)  # emulated rows are slow
        x = (x.contiguous("channels_last") if channels_last else x).detach().requires_grad_()
        for mode in (True, False):
            y = layer.train(mode)(x)
            y.backward(fastcnn.zeros(*y.shape, device=device))

    assert_same_trace(step)


@pytest.mark.parametrize("training", [True, False])
def test_saved_bytes(training):
    """The input and two numbers per channel (weight and input live anyway); nothing of the output's size."""
    x = fastcnn.ones(4, 6, 5, 5, requires_grad=True)
    w = fastcnn.ones(6, requires_grad=True)
    y = F.batch_norm(x, fastcnn.zeros(6), fastcnn.ones(6), w, None, training)
    assert [t.nbytes for t in y._node.saved_tensors if t is not None] == [x.nbytes, w.nbytes, 2 * 6 * 4]
    frozen = F.batch_norm(x, fastcnn.zeros(6), fastcnn.ones(6), w.detach(), None, False)
    assert [t.nbytes for t in frozen._node.saved_tensors if t is not None] == [24, 48]
    y = F.local_response_norm(x, 3)
    assert [t.data_ptr() for t in y._node.saved_tensors] == [x.data_ptr()]


@pytest.mark.parametrize("size", [1, 15, 16, 50, 768, 4097])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_has_the_same_bits_on_every_instruction_set(size, affine):
    rng = np.random.default_rng(6)
    values, dy, w, b = (rng.standard_normal(s) for s in ((5, size), (5, size), size, size))
    results = set()
    for which in isas():
        with isa(which):
            x = tensor(values).requires_grad_()
            more = [tensor(w).requires_grad_(), tensor(b).requires_grad_()] if affine else []
            y = F.layer_norm(x, (size,), *more)
            y.backward(tensor(dy))
            results.add(b"".join(bits(t) for t in (y.detach(), x.grad, *(m.grad for m in more))))
    assert len(results) == 1
