"""Interpolation in every mode against torch, gradients of any order, rearrangements, errors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_same_trace, bits, gradcheck, isa, isas, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import nn

MODES = {1: ("nearest", "nearest-exact", "linear", "area"),
         2: ("nearest", "nearest-exact", "bilinear", "bicubic", "area"),
         3: ("nearest", "nearest-exact", "trilinear", "area")}  # fmt: skip
CORNERS = ("linear", "bilinear", "bicubic", "trilinear")


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("axes", "mode"), [(a, m) for a, modes in MODES.items() for m in modes])
def test_equals_torch(axes: int, mode: str):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = values(2, 3, *(7, 5, 6)[:axes])
    settings = [
        {"size": (11, 3, 6)[:axes]},
        {"size": (1,) * axes},
        {"scale_factor": 2.0},
        {"scale_factor": 0.6},
    ]
    settings += [
        {"scale_factor": (1.3, 2.5, 0.7)[:axes]},
        {"scale_factor": 1.7, "recompute_scale_factor": True},
    ]
    for arguments in settings:
        for corners in (False, True) if mode in CORNERS else (None,):
            keywords = {**arguments, "mode": mode} | ({} if corners is None else {"align_corners": corners})
            t, u = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
            y, v = F.interpolate(t, **keywords), torch.nn.functional.interpolate(u, **keywords)
            np.testing.assert_allclose(
                y.detach().numpy(), v.detach().numpy(), rtol=1e-9, atol=1e-11, err_msg=str(keywords)
            )
            (y * y).sum().backward()
            (v * v).sum().backward()
            np.testing.assert_allclose(
                t.grad.numpy(), u.grad.numpy(), rtol=1e-9, atol=1e-10, err_msg=str(keywords)
            )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(4, 3), (15, 4), (30, 31)])
def test_antialias_equals_torch(mode: str, size: tuple[int, int]):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = values(2, 3, 15, 13)
    y = F.interpolate(fastcnn.tensor(x), size, mode=mode, antialias=True).numpy()
    v = torch.nn.functional.interpolate(torch.tensor(x), size, mode=mode, antialias=True).numpy()
    np.testing.assert_allclose(y, v, rtol=1e-6, atol=1e-7)  # torch keeps the weights in less than float64


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_gradients(mode: str):
    x = values(1, 2, 4, 5)
    gradcheck(lambda t: F.interpolate(t, (7, 3), mode=mode), x)
    # The gradient of |A t|^2 is linear in t, so its own gradient along v is the same gradient taken at v.
    t, v = (fastcnn.tensor(a, requires_grad=True) for a in (x, values(1, 2, 4, 5, seed=1)))
    first = [
        fastcnn.grad((F.interpolate(s, (6, 4), mode=mode) ** 2.0).sum(), s, create_graph=True)[0]
        for s in (t, v)
    ]
    (second,) = fastcnn.grad((first[0] * v.detach()).sum(), t)
    np.testing.assert_allclose(second.numpy(), first[1].detach().numpy(), rtol=1e-10, atol=1e-12)


def test_any_memory_order_and_dtype():
    x = values(2, 3, 6, 5)
    exact = F.interpolate(fastcnn.tensor(x), (9, 4), mode="bilinear").numpy()
    for source in (np.asfortranarray(x), x[:, :, ::-1][:, :, ::-1]):
        np.testing.assert_array_equal(
            F.interpolate(fastcnn.from_numpy(source), (9, 4), mode="bilinear").numpy(), exact
        )
    y = F.interpolate(fastcnn.tensor(x).contiguous("channels_last"), (9, 4), mode="bilinear")
    assert y.is_channels_last()
    half = F.interpolate(fastcnn.tensor(x, dtype="float16"), (9, 4), mode="bilinear")
    np.testing.assert_allclose(half.numpy(), exact, atol=4e-3)
    assert F.interpolate(fastcnn.ones(0, 3, 4, 4), scale_factor=2).shape == (0, 3, 8, 8)


def test_nan_stays_where_it_is():
    x = np.ones((1, 1, 4, 4))
    x[0, 0, 0, 0] = np.nan
    y = F.interpolate(fastcnn.tensor(x), scale_factor=2).numpy()
    assert np.isnan(y).sum() == 4
    assert np.isnan(F.interpolate(fastcnn.tensor(x), (8, 8), mode="bilinear").numpy()).sum() == 9


def test_same_bits_for_any_thread_count():
    x = fastcnn.tensor(values(3, 17, 20, 21).astype(np.float32))
    results = set()
    for n in (1, 2, 3, 5, 16):
        with threads(n):
            results.add(bits(F.interpolate(x, (33, 27), mode="bicubic")))
    assert len(results) == 1


@pytest.mark.parametrize("name", isas())
def test_every_instruction_set(name: str):
    x = values(2, 19, 5, 6).astype(np.float32)
    exact = F.interpolate(fastcnn.tensor(x.astype(np.float64)), (9, 11), mode="bilinear").numpy()
    with isa(name):
        np.testing.assert_allclose(
            F.interpolate(fastcnn.tensor(x), (9, 11), mode="bilinear").numpy(), exact, atol=4e-6
        )


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "area"])
def test_trace_is_that_of_the_twin(mode: str):
    def step(device: str) -> None:
        x = fastcnn.ones(2, 3, 5, 5, device=device, requires_grad=True)
        F.interpolate(x, (8, 9), mode=mode).sum().backward()

    assert_same_trace(step)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "got size None and scale_factor None, expected one of them"),
        ({"size": 3, "scale_factor": 2}, "expected one of them"),
        ({"size": 3, "mode": "cubic"}, "mode is 'cubic', expected one of nearest"),
        ({"size": 3, "mode": "linear"}, r"mode 'linear' takes 1 spatial axes, got shape \(1, 2, 4, 4\)"),
        ({"size": 3, "align_corners": True}, "align_corners has no meaning for mode 'nearest'"),
        ({"size": 3, "antialias": True}, "antialias is for bilinear and bicubic, got mode 'nearest'"),
        ({"size": (3, 3, 3)}, r"size has 3 entries \(3, 3, 3\), expected one number or 2"),
        ({"scale_factor": 0.1}, r"from \(4, 4\) to \(0, 0\), expected extents of at least 1"),
    ],
)
def test_errors(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        F.interpolate(fastcnn.ones(1, 2, 4, 4), **arguments)


def test_wrong_rank():
    with pytest.raises(
        ValueError, match=r"got shape \(4, 4\), expected \(N, C\) and one to three spatial axes"
    ):
        F.interpolate(fastcnn.ones(4, 4), 2)


# ---- channels and pixels ----


def test_shuffles_equal_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = values(2, 12, 4, 6)
    t, u = fastcnn.tensor(x), torch.tensor(x)
    functional = torch.nn.functional
    np.testing.assert_array_equal(F.pixel_shuffle(t, 2).numpy(), functional.pixel_shuffle(u, 2).numpy())
    np.testing.assert_array_equal(F.pixel_unshuffle(t, 2).numpy(), functional.pixel_unshuffle(u, 2).numpy())
    np.testing.assert_array_equal(F.channel_shuffle(t, 3).numpy(), functional.channel_shuffle(u, 3).numpy())
    np.testing.assert_array_equal(F.pixel_shuffle(t[0], 2).numpy(), functional.pixel_shuffle(u[0], 2).numpy())
    gradcheck(lambda s: F.pixel_unshuffle(F.pixel_shuffle(s, 2) * 2.0, 2), values(1, 4, 2, 2))


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        ("Upsample", {"scale_factor": 2}),
        ("Upsample", {"size": (5, 6), "mode": "bilinear"}),
        ("UpsamplingNearest2d", {"scale_factor": 3}),
        ("UpsamplingBilinear2d", {"size": 7}),
        ("PixelShuffle", {"upscale_factor": 2}),
        ("PixelUnshuffle", {"downscale_factor": 2}),
        ("ChannelShuffle", {"groups": 2}),
    ],
)
def test_layers_are_torchs(layer: str, arguments: dict[str, object]):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ours, theirs = getattr(nn, layer)(**arguments), getattr(torch.nn, layer)(**arguments)
    assert repr(ours) == repr(theirs)
    x = values(2, 4, 4, 4)
    np.testing.assert_allclose(ours(fastcnn.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), rtol=1e-12)


def test_shuffle_errors():
    with pytest.raises(
        ValueError, match="pixel_shuffle: 3 channels with upscale_factor 2, expected a multiple of 4"
    ):
        F.pixel_shuffle(fastcnn.ones(1, 3, 2, 2), 2)
    with pytest.raises(
        ValueError, match="pixel_unshuffle: 3x4 pixels with downscale_factor 2, expected multiples of 2"
    ):
        F.pixel_unshuffle(fastcnn.ones(1, 3, 3, 4), 2)
    with pytest.raises(ValueError, match="channel_shuffle: 3 channels with 2 groups, expected a divisor"):
        F.channel_shuffle(fastcnn.ones(1, 3, 2, 2), 2)
