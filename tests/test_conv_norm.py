"""In evaluation a convolution takes batch norm, an addition and an activation along: right, seen by nobody, undone."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from helpers import assert_close, bits, isa, isas, tensor, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models, nn
from fastcnn._loader import _core

#: name -> (x, weight, stride, padding, groups)
CASES = {
    "1x1": ((2, 19, 9, 8), (37, 19, 1, 1), 1, 0, 1),
    "1x1 deep": ((1, 300, 5, 5), (70, 300, 1, 1), 1, 0, 1),
    "1x1 strided": ((2, 16, 9, 8), (24, 16, 1, 1), 2, 0, 1),
    "3x3": ((2, 5, 17, 15), (67, 5, 3, 3), 1, 1, 1),
    "lines": ((1, 3, 20, 33), (33, 3, 3, 3), 2, 1, 1),
    "narrow": ((1, 40, 16, 16), (2, 40, 3, 3), 1, 1, 1),
    "groups": ((2, 6, 9, 9), (10, 3, 3, 3), 1, 1, 2),
    "depthwise": ((2, 35, 10, 9), (35, 1, 3, 3), 1, 1, 35),
    "depthwise s2": ((1, 16, 10, 9), (16, 1, 3, 3), 2, 1, 16),
    "depthwise 9x9": ((1, 16, 12, 12), (16, 1, 9, 9), 1, 4, 16),
    "1d": ((2, 5, 31), (18, 5, 3), 1, 1, 1),
    "3d": ((1, 3, 6, 7, 8), (5, 3, 3, 3, 3), 1, 1, 1),
}
BOUNDS = {"copy": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}


def normal(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def exact(x, w, bias, norm, residual, activation, stride, padding, groups):
    """In float64, and the sum of absolute values that rounding is measured by."""
    axes = x.ndim - 2
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]

    def product(a, b):
        y = conv(tensor(a, "float64"), tensor(b, "float64"), None, stride, padding, 1, groups, algo="direct")
        return np.asarray(y)

    per = lambda v: np.asarray(v, np.float64).reshape(1, -1, *[1] * axes)  # noqa: E731
    y, size = product(x, w), product(abs(x), abs(w))
    if bias is not None:
        y, size = y + per(bias), size + abs(per(bias))
    if norm is not None:
        mean, var, weight, shift, eps = norm
        scale = 1 / np.sqrt(var.astype(np.float64) + eps) * (1 if weight is None else weight)
        y = (y - per(mean)) * per(scale)
        size = (size + abs(per(mean))) * abs(per(scale))
        if shift is not None:
            y, size = y + per(shift), size + abs(per(shift))
    if residual is not None:
        y, size = y + residual, size + abs(residual)
    return np.clip(y, *BOUNDS[activation]), size


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("activation", BOUNDS)
def test_every_row_computes_it(name, activation):
    x_shape, w_shape, stride, padding, groups = CASES[name]
    axes = len(w_shape) - 2
    x, w, filters = normal(x_shape, 1), normal(w_shape, 2), w_shape[0]
    geometry = _core.ConvGeometry(*((v,) * axes for v in (stride, 1, padding, padding)), groups, "zeros")
    vectors = [normal(filters, s) for s in range(3, 7)]
    vectors[1] = abs(vectors[1]) + np.float32(0.1)
    plain, _ = exact(x, w, None, None, None, "copy", stride, padding, groups)
    residual = 2 * normal(plain.shape, 8)
    norms = [None, (*vectors, 1e-5), (*vectors[:2], None, None, 1e-3)]
    ran = 0
    for row in fastcnn.conv_algorithms(x_shape, w_shape, stride, padding, 1, groups, reuse=True):
        if row.reason is not None:
            continue
        for i, norm in enumerate(norms):
            for bias in (None, normal(filters, 9)):
                for add in (None, residual, "nchw"):
                    other = residual if isinstance(add, str) else add
                    want, size = exact(x, w, bias, norm, other, activation, stride, padding, groups)
                    t = None if add is None else tensor(residual)
                    if add is residual:
                        t = t.contiguous("channels_last")
                    names = isas() if i == 1 else isas()[-1:]
                    for set_ in names:
                        with isa(set_):
                            got = _core.conv_forward_tail(
                                "conv", tensor(x), tensor(w), None if bias is None else tensor(bias),
                                None if norm is None else (*(v if v is None else tensor(v) for v in norm[:4]), norm[4]),
                                t, activation, geometry, _core.AlgoRequest(row.name, True, None), True,
                            )  # fmt: skip
                        terms = int(np.prod(w_shape[1:])) + 4
                        factor = 8 if row.name == "winograd" else 1
                        assert_close(
                            got, want, factor * (4 * terms**0.5 + 8) * 2.0**-24 * size, f"{row.name} {set_}"
                        )
                        ran += 1
    assert ran > 20


def net(seed=0):
    fastcnn.manual_seed(seed)
    layers = [
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8, affine=False), nn.ReLU6(inplace=True),
        nn.Conv2d(8, 20, 1), nn.BatchNorm2d(20), nn.MaxPool2d(2), nn.Conv2d(20, 6, 3), nn.ReLU(),
    ]  # fmt: skip
    model = nn.Sequential(*layers)
    for i, m in enumerate(model):
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(tensor(normal(m.num_features, i)))
            m.running_var.copy_(tensor(abs(normal(m.num_features, i + 50)) + 0.2))
            if m.affine:
                with fastcnn.no_grad():
                    m.weight.copy_(tensor(normal(m.num_features, i + 90)))
    return model.eval()


def ops(call):
    with fastcnn.profile() as p:
        call()
    return [c.op for c in p.calls]


def one_by_one(model, x):
    for m in model:
        x = m(x)
    return x


X = normal((2, 3, 12, 14), 77)


def test_one_pass_per_convolution():
    model, x = net(), tensor(X)
    with fastcnn.no_grad():
        fused = ops(lambda: model(x))
        assert fused == ["conv2d.forward"] * 3 + ["max_pool2d", "conv2d.forward"]
        np.testing.assert_allclose(model(x), one_by_one(model, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change", ["running_mean", "running_var", "weight", "bias", "filters", "eps", "load"]
)
def test_it_follows_every_change(change):
    model, x = net(), tensor(X)
    with fastcnn.no_grad():
        before = bits(model(x))
        if change == "filters":
            model[0].weight.mul_(1.5)
        elif change == "eps":
            model[1].eps = 0.5
        elif change == "load":
            model.load_state_dict(net(5).state_dict())
        else:
            getattr(model[1], change).add_(0.25)
        assert bits(model(x)) != before
        np.testing.assert_allclose(model(x), one_by_one(model, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("why", ["hook on the convolution", "hook on the norm", "training", "recorded", "no statistics",
                                 "subclass", "other width"])  # fmt: skip
def test_layer_after_layer_where_somebody_looks(why):
    model, x = net(), tensor(X)
    seen = []
    with fastcnn.no_grad():
        if why.startswith("hook"):
            at = 0 if why.endswith("convolution") else 1
            model[at].register_forward_hook(lambda m, a, y: seen.append(np.asarray(y)))
        elif why == "training":
            model[1].train()
        elif why == "no statistics":
            model[1] = nn.BatchNorm2d(8, track_running_stats=False).eval()
        elif why == "subclass":
            model[1].__class__ = type("Mine", (nn.BatchNorm2d,), {})
        elif why == "other width":
            model[1] = nn.BatchNorm2d(9).eval()
            with pytest.raises(ValueError, match="9"):
                model(x)
            return
    if why == "recorded":
        assert "batch_norm.forward" in ops(lambda: model(x))
        return
    with fastcnn.no_grad():
        assert "batch_norm.forward" in ops(lambda: model(x))
        if why.startswith("hook"):
            want = model[0].forward(x)
            want = want if at == 0 else model[1].forward(want)
            np.testing.assert_allclose(seen[0], want, rtol=1e-6)


def test_an_activation_alone_has_the_same_bits():
    for act in (nn.ReLU(), nn.ReLU6()):
        model = nn.Sequential(nn.Conv2d(3, 40, 3), act, nn.Conv2d(40, 5, 1, bias=False), act)
        for m in model:
            if isinstance(m, nn.Conv2d):
                m.weight.data.mul_(20.0)
        x = tensor(X)
        x[0, 0, 0, 0] = float("nan")
        with fastcnn.no_grad():
            assert ops(lambda: model(x)) == ["conv2d.forward"] * 2  # noqa: B023
            assert bits(model(x)) == bits(one_by_one(model, x))


@pytest.mark.parametrize("last", ["batch norm", "activation"])
def test_in_training_batch_norm_at_the_end_adds(last):
    from fastcnn.nn.fusion import add_to

    block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    if last == "activation":
        block.append(nn.ReLU())
    x = tensor(normal((2, 4, 9, 9), 4), requires_grad=True)
    assert ("add" in ops(lambda: add_to(x, block))) == (last == "activation")
    assert bits(add_to(x, block)) == bits(x + one_by_one(block, x))


@pytest.mark.parametrize("kind", ["end", "activation behind", "hooked", "recorded"])
def test_a_residual_is_added_last(kind):
    from fastcnn.nn.fusion import add_to

    fastcnn.manual_seed(1)
    layers = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)]
    block = nn.Sequential(*layers, *([nn.ReLU()] if kind == "activation behind" else [])).eval()
    if kind == "hooked":
        block.register_forward_hook(lambda *_: None)
    x = tensor(normal((2, 4, 9, 9), 4))
    if kind == "recorded":
        x.requires_grad_()
        add_to(x, block).sum().backward()
        assert x.grad is not None
        return
    with fastcnn.no_grad():
        found = ops(lambda: add_to(x, block))
        assert ("add" in found) == (kind != "end")
        np.testing.assert_allclose(add_to(x, block), x + one_by_one(block, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2", "googlenet", "unet"]
)
def test_models(name):
    entry = models.CATALOGUE[name]
    fastcnn.manual_seed(1)
    model = entry.factory().eval()
    for i, m in enumerate(model.modules()):
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(tensor(0.2 * normal(m.num_features, i)))
            m.running_var.copy_(tensor(abs(normal(m.num_features, i)) + 0.5))
    x = tensor(normal((1, entry.sample_shape[0], 64, 64), 2))
    want = model(x).detach()  # recorded: layer after layer
    with fastcnn.no_grad():
        assert "batch_norm.forward" not in ops(lambda: model(x))
        got = model(x)
    scale = float(abs(want.numpy()).max())
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * scale)


def test_same_bits_for_any_number_of_threads():
    model, x = net(), tensor(normal((3, 3, 40, 40), 5))
    found = set()
    for n in (1, 2, 3, 5):
        with threads(n), fastcnn.no_grad():
            found.add(bits(model(x)))
    assert len(found) == 1


def test_memory_is_predicted():
    model, x = net(), tensor(X)

    gc.collect()
    predicted = memory.estimate(model, X.shape, train=False)
    base = memory.allocated_bytes() - sum(
        -(-t.nbytes // 512) * 512 for t in (*model.parameters(), *model.buffers())
    )
    del x
    base -= -(-X.nbytes // 512) * 512
    with memory.track() as real, fastcnn.no_grad():
        for _ in range(2):
            model(tensor(X))
    assert real.peak_bytes - base == predicted.peak_bytes


def test_errors_name_what_does_not_fit():
    conv, norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
    fold = (norm.running_mean, norm.running_var, None, fastcnn.zeros(5), 1e-5)
    with pytest.raises(ValueError, match="the norm's bias has shape"), fastcnn.no_grad():
        conv(tensor(X), tail=(fold, None, "copy"))
    with pytest.raises(ValueError, match="cannot fuse tanh, expected relu or relu6"), fastcnn.no_grad():
        conv(tensor(X), tail=(None, None, "tanh"))


@pytest.mark.parametrize("device", ["meta", "meta:h200"])
def test_every_devices_rows_take_the_tail(device):
    with fastcnn.device(device):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.ReLU6()).eval()
    x = fastcnn.zeros(1, 3, 6, 6, device=device)
    with fastcnn.no_grad():
        assert ops(lambda: model(x)) == ["conv2d.forward"] * 2
