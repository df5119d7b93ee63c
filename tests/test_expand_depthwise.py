"""In evaluation a 1x1 convolution and the depthwise one behind it are one pass: same bits, less memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from helpers import bits, isa, isas, tensor, threads

import fastcnn
from fastcnn import memory, nn
from fastcnn.nn.fusion import run

#: name -> (x, wide channels, kernel, stride, padding): the wide tensor has 384 Ki elements or more
CASES = {
    "3x3": ((1, 7, 63, 65), 100, 3, 1, 1),
    "stride 2": ((1, 16, 65, 63), 130, 3, 2, 1),
    "batch": ((5, 3, 21, 20), 200, 3, 1, 1),
    "batch, stride 2": ((3, 4, 34, 33), 150, 3, 2, "same"),
    "5x5": ((1, 4, 70, 70), 90, 5, 2, 2),
    "no padding": ((1, 4, 66, 66), 96, 3, 1, 0),
    "one side": ((1, 4, 66, 66), 96, (3, 2), 1, ((0, 2), (1, 0))),
    "wide lines": ((1, 2, 10, 2000), 20, 3, 2, 1),
}


def values(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unit(inputs, outputs, kernel, stride, padding, groups, act):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=groups == 1)]
    norm = nn.BatchNorm2d(outputs)
    norm.running_mean.copy_(tensor(0.3 * values(outputs, 1)))
    norm.running_var.copy_(tensor(abs(values(outputs, 2)) + 0.2))
    return nn.Sequential(*layers, norm, act).eval()


def pair(name="3x3", relu=False):
    x, wide, kernel, stride, padding = CASES[name]
    fastcnn.manual_seed(3)
    first = unit(x[1], wide, 1, 1, 0, 1, nn.ReLU6())
    second = unit(wide, wide, kernel, stride, padding, wide, nn.ReLU() if relu else nn.ReLU6())
    return nn.Sequential(first, second).eval(), tensor(values(x, 5)).contiguous("channels_last")


def algorithms(call):
    with fastcnn.profile() as p:
        call()
    return [c.algorithm for c in p.calls if c.algorithm]


@pytest.mark.parametrize("name", CASES)
def test_same_bits_as_one_after_the_other(name):
    model, x = pair(name, relu=name == "batch")
    with fastcnn.no_grad():
        for set_ in isas():
            with isa(set_):
                want = bits(model[1](model[0](x)))
                for n in (1, 2, 3, 5, 16) if set_ == isas()[-1] else (2,):
                    with threads(n):
                        assert algorithms(lambda: model(x)) == ["expand+depthwise"]
                        assert bits(model(x)) == want, (set_, n)


def test_nan_and_infinity_go_the_same_way():
    model, x = pair()
    x[0, 0, 0, 0], x[0, 1, 30, 30], x[0, 2, 62, 64] = float("nan"), float("inf"), float("-inf")
    with fastcnn.no_grad():
        together, apart = model(x), model[1](model[0](x))
    np.testing.assert_array_equal(together, apart)
    assert np.isnan(together.numpy()).any()


def test_layers_in_one_row_are_found_too():
    model, x = pair()
    flat = nn.Sequential(*model[0], *model[1], nn.Conv2d(100, 5, 1)).eval()
    with fastcnn.no_grad():
        assert algorithms(lambda: flat(x)) == ["expand+depthwise", "im2col"]
        assert bits(run(list(flat)[:6], x)) == bits(model(x))


@pytest.mark.parametrize(
    "why", ["recorded", "training", "hook on a layer", "hook on a unit", "algo", "limit", "small", "nchw", "3x3 first"]
)  # fmt: skip
def test_one_after_the_other_otherwise(why):
    model, x = pair()
    seen = []
    if why == "training":
        model[1][1].train()
    elif why == "hook on a layer":
        model[0][0].register_forward_hook(lambda m, a, y: seen.append(y.shape))
    elif why == "hook on a unit":
        model[0].register_forward_hook(lambda m, a, y: seen.append(y.shape))
    elif why == "algo":
        model[1][0].algo = "im2col"
    elif why == "limit":
        model[0][0].workspace_limit = 10**7
    elif why == "small":
        x = x[:, :, :20].contiguous("channels_last")
    elif why == "nchw":
        x = x.contiguous()
    elif why == "3x3 first":
        model[0] = unit(7, 100, 3, 1, 1, 1, nn.ReLU6())
    if why == "recorded":
        assert len(algorithms(lambda: model(x))) == 2
        return
    with fastcnn.no_grad():
        found = algorithms(lambda: model(x))
        assert len(found) == 2 and "expand+depthwise" not in found
        assert bool(seen) == why.startswith("hook")
        model.train(False)
        np.testing.assert_allclose(model(x), model[1](model[0](x)), rtol=1e-5, atol=1e-5)


def test_filters_are_kept_and_never_stale():
    model, x = pair()
    with fastcnn.no_grad():
        model(x)
        gc.collect()
        before = memory.allocated_bytes()
        model(x)
        gc.collect()
        assert memory.allocated_bytes() == before
        for at in (0, 1):
            old = bits(model(x))
            model[at][0].weight.mul_(1.5)
            assert bits(model(x)) == bits(model[1](model[0](x))) != old
        array = model[0][0].weight.detach().numpy()  # may be written to unseen: nothing is kept
        array *= 2
        assert bits(model(x)) == bits(model[1](model[0](x)))


@pytest.mark.parametrize("name", ["3x3", "batch, stride 2"])
def test_memory_is_predicted_and_less(name):
    model, x = pair(name)
    n, channels, height, width = x.shape
    shape, wide = (n, 3, height, width), n * CASES[name][1] * height * width * 4
    net = nn.Sequential(nn.Conv2d(3, channels, 1), model).eval()  # whose output has channels innermost
    del x
    gc.collect()
    own = sum(-(-t.nbytes // 512) * 512 for t in (*net.parameters(), *net.buffers()))
    base = memory.allocated_bytes() - own
    peaks = []
    for count in (1, 2, 3):
        with threads(count):
            predicted = memory.estimate(net, shape, train=False)
            with memory.track() as real, fastcnn.no_grad():
                for _ in range(2):
                    net(fastcnn.zeros(shape))
            assert real.peak_bytes - base == predicted.peak_bytes
            peaks.append(predicted.peak_bytes)
    assert peaks[0] < peaks[1]  # scratch of each thread
    model[0].register_forward_hook(lambda *_: None)
    with threads(1):
        assert peaks[0] + wide // 2 < memory.estimate(net, shape, train=False).peak_bytes


def test_what_does_not_fit_is_named():
    model, x = pair()
    model[1][1].running_mean = fastcnn.zeros(7)
    with pytest.raises(ValueError, match="the norm's mean has shape"), fastcnn.no_grad():
        model(x)
