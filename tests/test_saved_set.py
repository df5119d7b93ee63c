"""What the forward pass keeps for the backward pass: bytes per element of the input by layer, and for VGG-11."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from memory_nets import OPTIMIZERS

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models, nn, optim
from fastcnn.nn.fusion import norm_act

SAVED = memory.trace.CATEGORIES.index("saved")
SHAPE = 2, 16, 32, 32  # a multiple of the allocator's blocks for every fraction below
COUNT = 2 * 16 * 32 * 32


def saved_bytes(model, x) -> int:
    """Bytes that live on because some backward wants them, the input among them; parameters live anyway."""
    gc.collect()
    with memory.track() as t:
        y = model(x)
    assert y.requires_grad
    return int(t.timeline().bytes[-1, SAVED])


def conv(**settings):
    return nn.Conv2d(16, 16, 3, **{"padding": 1, **settings})


def frozen(layer):
    return layer.requires_grad_(False)


class Then(nn.Module):
    """f(layer, x), a model that calls its layers itself."""

    def __init__(self, f, layer):
        super().__init__()
        self.f, self.layer = f, layer

    def forward(self, x):
        return self.f(self.layer, x)


def skip(layer, x):
    return layer(x) + x


BIT = 1 / 8
BLOCK = 512  # what the smallest tensor takes
LAYERS = {  # name: (layer, bytes per element of its input, blocks of statistics)
    "avg_pool": (nn.AvgPool2d(2), 0, 0),
    "adaptive_avg_pool": (nn.AdaptiveAvgPool2d(4), 0, 0),
    "mean": (lambda x: x.mean((2, 3)), 0, 0),
    "max_pool 2x2": (nn.MaxPool2d(2), 0.25, 0),  # one byte per output
    "max_pool 3x3 stride 2": (nn.MaxPool2d(3, 2, 1), 0.25, 0),
    "max_pool 2x2 stride 1": (nn.MaxPool2d(3, 1, 1), 1, 0),
    "max_pool 17x17": (nn.MaxPool2d(17, 1, 8), 4, 0),  # 289 cells do not fit into a byte
    "relu and max_pool 2x2": (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), 0.25, 0),
    "functional relu and max_pool": (lambda x: F.max_pool2d(x, 2, relu=True), 0.25, 0),
    "relu and adaptive_max_pool": (nn.Sequential(nn.ReLU(), nn.AdaptiveMaxPool2d(16)), 0.25, 0),
    "relu": (nn.ReLU(), 0, 0),  # the caller has its output
    "relu and avg_pool": (nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), BIT, 0),
    "relu6 and mean": (lambda x: F.relu6(x).mean((2, 3)), BIT, 0),
    "hardtanh and upsample": (lambda x: F.interpolate(F.hardtanh(x), scale_factor=2), BIT, 0),
    "leaky_relu and cat": (lambda x: F.cat([F.leaky_relu(x), x], 1), BIT, 0),
    "relu added to a skip": (lambda x: F.relu(x) + x, BIT, 0),
    "functional relu, then max_pool": (lambda x: F.max_pool2d(F.relu(x), 2), BIT + 0.25, 0),
    "functional relu, then dropout": (lambda x: F.dropout(F.relu(x)), BIT, 0),
    "functional relu, then conv": (Then(lambda f, x: f(F.relu(x)), conv()), 4, 0),
    "relu for conv and a skip": (Then(lambda f, x: skip(f, F.relu(x)), conv()), 4, 0),
    "batch_norm, skip, relu, avg_pool": (
        Then(lambda f, x: F.avg_pool2d(norm_act(f, x, x), 2), nn.BatchNorm2d(16)),
        4 + BIT,
        1,
    ),
    "relu and conv": (nn.Sequential(nn.ReLU(), conv()), 4, 0),
    "leaky_relu and conv": (nn.Sequential(nn.LeakyReLU(), conv()), 4, 0),
    "relu, dropout and linear": (nn.Sequential(nn.ReLU(), nn.Dropout(), nn.Linear(32, 8)), 4, 0),
    "dropout": (nn.Dropout(), 0, 0),
    "dropout2d": (nn.Dropout2d(), 0, 0),
    "alpha_dropout": (nn.AlphaDropout(), 0, 0),
    "drop_path": (nn.DropPath(0.5), 0, 0),
    "conv": (conv(), 4, 0),
    "conv, relu, conv": (nn.Sequential(conv(), nn.ReLU(), conv()), 8, 0),  # one activation per layer
    "conv, leaky_relu, conv": (nn.Sequential(conv(), nn.LeakyReLU(), conv()), 8, 0),
    "conv, relu6, conv": (nn.Sequential(conv(), nn.ReLU6(), conv()), 8, 0),
    "conv, batch_norm, relu, conv": (nn.Sequential(conv(), nn.BatchNorm2d(16), nn.ReLU(), conv()), 12, 1),
    "frozen conv": (frozen(conv()), 0, 0),
    "frozen linear": (frozen(nn.Linear(32, 32)), 0, 0),
    "conv reflect": (conv(padding_mode="reflect"), 4, 0),  # no padded copy
    "conv replicate": (conv(padding_mode="replicate"), 4, 0),
    "conv circular": (conv(padding_mode="circular"), 4, 0),
    "conv uneven padding": (nn.Conv2d(16, 16, 4, padding="same"), 4, 0),
    "local_response_norm": (nn.LocalResponseNorm(5), 4, 0),
    "batch_norm": (nn.BatchNorm2d(16), 4, 1),
    "frozen batch_norm": (frozen(nn.BatchNorm2d(16).eval()), 0, 1),
    "group_norm": (nn.GroupNorm(4, 16), 4, 1),
    "add": (lambda x: x + x, 0, 0),
    "cat": (lambda x: F.cat([x, x], 1), 0, 0),
    "upsample": (nn.Upsample(scale_factor=2), 0, 0),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), 0, 0),
    "pad": (nn.ReflectionPad2d(1), 0, 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_bytes_per_input_element(name):
    layer, per_element, blocks = LAYERS[name]
    x = fastcnn.randn(*SHAPE).requires_grad_()
    assert saved_bytes(layer, x) == per_element * COUNT + blocks * BLOCK


@pytest.mark.parametrize("name", [n for n in LAYERS if "frozen" not in n])
def test_an_input_without_gradient_adds_nothing(name):
    """Of a first layer only what its parameters need is kept: for those without any, nothing."""
    layer, per_element, blocks = LAYERS[name]
    trainable = isinstance(layer, nn.Module) and any(p.requires_grad for p in layer.parameters())
    x = fastcnn.randn(*SHAPE)
    if trainable:
        assert saved_bytes(layer, x) <= per_element * COUNT + blocks * BLOCK
        return
    gc.collect()
    with memory.track() as t:
        y = layer(x)
    assert not y.requires_grad
    assert t.timeline().bytes[:, SAVED].max() == 0


def saved_per_image(name) -> float:
    """As the slope between batches 1 and 2 at the published input: without what does not grow with the batch."""
    entry = models.CATALOGUE[name]
    with fastcnn.device("meta"):
        model = entry.factory()
    one, two = (most_saved(memory.estimate(model, (n, *entry.sample_shape))) for n in (1, 2))
    return two - one


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [
        ("resnet18", 17.5),
        ("resnet50", 81.0),
        ("mobilenet_v2", 53.9),
        ("squeezenet1_0", 11.3),
        ("vgg11", 13.6),
    ],
)
def test_bytes_per_image(name, megabytes):
    assert 0.97 * megabytes * 1e6 < saved_per_image(name) <= megabytes * 1e6


def test_the_last_relu_of_a_residual_network_keeps_bits():
    """2048 x 7 x 7 outputs per image that only the average pool reads: a bit of each instead of four bytes."""
    with fastcnn.device("meta"):
        model = models.resnet50()
    report = memory.estimate(model, (2, 3, 224, 224))
    bits = [e for e in report.events if e.kind == "allocate" and e.op == "activation_mask"]
    assert {(e.layer, e.requested, e.category) for e in bits} == {
        ("layer4.2.bn3", 2 * 2048 * 7 * 7 // 8, "saved")
    }


def most_saved(trace) -> int:
    return int(trace.timeline().bytes[:, SAVED].max())


def test_vgg11_keeps_a_quarter_of_what_torch_keeps():
    """At 224: 13.5 MB per image where PyTorch keeps 48.5; one tensor per convolution, one byte per pooled element."""
    with fastcnn.device("meta"):
        model = models.vgg11()
    report = memory.estimate(model, (1, 3, 224, 224))
    saved = most_saved(report)
    image, pooled = 3 * 224 * 224 * 4, [64 * 112**2, 128 * 56**2, 256 * 28**2, 512 * 14**2, 512 * 7**2]
    inner = [256 * 56**2, 512 * 28**2, 512 * 14**2]  # between two convolutions without a pool
    features = image + 5 * sum(pooled[:4]) + pooled[4] + 4 * sum(inner)
    classifier = 4 * (pooled[4] + 4096 + 4096)
    assert features + classifier <= saved <= features + classifier + 10 * BLOCK + 4 * 3 * 1000
    assert saved <= 13.6e6
    rows = {r.path: r.saved for r in report.by_layer()}
    assert (
        rows["features.2"] == 5 * pooled[0]
    )  # the pool's output, kept by the next layer, and a byte for each
    assert rows["features.0"] == rows["features.3"] == rows["features.8"] == 0

    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = torch_saved(torch, (1, 3, 224, 224))
    assert 47e6 < theirs < 50e6
    assert saved < 0.29 * theirs


def torch_saved(torch, shape) -> int:
    """Bytes of distinct storages that torch saves for VGG-11 beside its parameters; on its own meta device."""
    t = torch.nn
    layers, channels = [], 3
    with torch.device("meta"):
        for filters in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
            if filters:
                layers += [t.Conv2d(channels, filters, 3, padding=1), t.ReLU(inplace=True)]
                channels = filters
            else:
                layers.append(t.MaxPool2d(2))
        layers += [
            t.AdaptiveAvgPool2d((7, 7)),
            t.Flatten(),
            t.Linear(25088, 4096),
            t.ReLU(inplace=True),
            t.Dropout(),
        ]
        layers += [t.Linear(4096, 4096), t.ReLU(inplace=True), t.Dropout(), t.Linear(4096, 1000)]
        model, x = t.Sequential(*layers), torch.empty(shape)
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    found, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        alive.append(storage)
        found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = model(x)
    assert y.requires_grad
    return sum(n for key, n in found.items() if key not in own)


def test_vgg11_measured():
    """The same network really run, for 32 x 32 images: what the estimate says, to the byte."""
    fastcnn.manual_seed(0)
    model = models.vgg11(10, image_size=32)
    x = fastcnn.randn(2, 3, 32, 32)
    measured = saved_bytes(model, x)
    pooled = [64 * 16**2, 128 * 8**2, 256 * 4**2, 512 * 2**2, 512]
    inner = [256 * 8**2, 512 * 4**2, 512 * 2**2]
    exact = 2 * (3 * 32 * 32 * 4 + 5 * sum(pooled) + 4 * sum(inner))
    assert exact <= measured <= exact + BLOCK
    predicted = memory.estimate(models.vgg11(10, image_size=32), (2, 3, 32, 32))
    with memory.track() as t:
        F.cross_entropy(model(x), fastcnn.zeros(2, dtype="int64"))
    assert most_saved(t) == most_saved(predicted)


def test_gradients_of_vgg11_are_those_of_float64():
    fastcnn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(inplace=True), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256, 32), nn.ReLU(inplace=True), nn.Dropout(0.5, seed=3), nn.Linear(32, 5),
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    found = []
    for dtype in ("float32", "float64"):
        model.to(dtype)
        model[11].generator.calls = 0
        for p in model.parameters():
            p.grad = None
        t = fastcnn.tensor(x, dtype=dtype, requires_grad=True)
        F.cross_entropy(model(t), fastcnn.tensor([1, 2])).backward()
        found.append([np.asarray(g, np.float64) for g in (t.grad, *(p.grad for p in model.parameters()))])
    for single, double in zip(*found):
        scale = np.abs(double).max()
        assert scale > 0
        assert np.abs(single - double).max() <= 1e-5 * scale


ALL_OPTIMIZERS = {
    **OPTIMIZERS,
    **{n: getattr(optim, n) for n in ("Adadelta", "Adamax", "Lion", "NAdam", "RAdam")},
}


@pytest.mark.parametrize("name", ALL_OPTIMIZERS)
def test_an_optimizer_step_allocates_nothing(name):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    optimizer = ALL_OPTIMIZERS[name](model.parameters())
    model(fastcnn.randn(2, 3, 8, 8)).sum().backward()
    with memory.track() as t:
        optimizer.step()
        optimizer.step()
    assert [e for e in t.events if e.kind == "allocate" and e.phase == "optimizer"] == []
    assert t.peak_bytes == memory.allocated_bytes()
