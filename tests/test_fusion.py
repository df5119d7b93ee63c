"""Sequential runs some neighbours together: same bits as layer after layer, and hooks see layer after layer."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from cases import POOL
from helpers import FLOATS, assert_same_trace, bits, gradcheck, isa, isas, tensor, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models, nn, optim
from fastcnn.training import train_step

MAX = [c for c in POOL if c.kind == "max"]
AWKWARD = (0.0, -0.0, np.nan, np.inf, -np.inf, -1.0, -1e-40, 1e-40, 2.0, 2.0)


def awkward(shape, seed=0):
    """Mostly small integers (ties), with every value that a ReLU or a maximum treats specially."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 3, shape).astype(np.float64)
    special = rng.random(shape) < 0.3
    x[special] = rng.choice(AWKWARD, special.sum())
    return x


def pooled(case, x, dy_seed, fused):
    function = getattr(F, f"max_pool{len(case.size)}d")
    settings = dict(
        stride=case.stride, padding=case.padding, dilation=case.dilation, ceil_mode=case.ceil_mode
    )
    if fused:
        y = function(x, case.kernel, relu=True, **settings)
    else:
        y = function(F.relu(x), case.kernel, **settings)
    dy = np.random.default_rng(dy_seed).standard_normal(y.shape)
    y.backward(tensor(dy, x.dtype))
    return y, x.grad


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", MAX, ids=lambda c: c.name)
def test_relu_and_max_pool_have_the_bits_of_both(case, dtype):
    data = awkward((2, 5, *case.size), len(case.name))
    for name in isas() if dtype == "float32" else isas()[-1:]:
        with isa(name):
            y, dx = pooled(case, tensor(data, dtype, requires_grad=True), 3, True)
            want_y, want_dx = pooled(case, tensor(data, dtype, requires_grad=True), 3, False)
        assert bits(y) == bits(want_y)
        assert bits(dx) == bits(want_dx)
        with fastcnn.no_grad():
            x = tensor(data, dtype)
            function = getattr(F, f"max_pool{len(case.size)}d")
            plain = function(
                x, case.kernel, case.stride, case.padding, case.dilation, case.ceil_mode, relu=True
            )
        assert bits(plain) == bits(want_y)


@pytest.mark.parametrize(("size", "dtype"), [(15, "uint8"), (16, "int32"), (17, "int32")])
def test_a_window_of_256_cells_has_no_code_left(size, dtype):
    """255 means "stopped", so the window of 256 cells, which needs that code itself, takes wide positions."""
    data = awkward((1, 3, size, 2 * size))
    data[0, 0] = -1.0  # stopped
    data[0, 1, -1, -1] = 7.0  # the last cell wins
    x, z = (tensor(data, requires_grad=True) for _ in range(2))
    y = F.max_pool2d(x, size, relu=True)
    want = F.max_pool2d(F.relu(z), size)
    assert y._node.saved_tensors[0].dtype == dtype
    for out in (y, want):
        out.backward(tensor(np.ones(out.shape)))
    assert (bits(y), bits(x.grad)) == (bits(want), bits(z.grad))


@pytest.mark.parametrize("out", [1, 3, (4, 2)])
def test_adaptive(out):
    data = awkward((2, 3, 9, 7), 5)
    x, z = (tensor(data, requires_grad=True) for _ in range(2))
    y, want = F.adaptive_max_pool2d(x, out, relu=True), F.adaptive_max_pool2d(F.relu(z), out)
    for t in (y, want):
        t.backward(tensor(np.ones(t.shape)))
    assert (bits(y), bits(x.grad)) == (bits(want), bits(z.grad))


def test_indices_are_those_of_relu_and_pool():
    x = tensor(awkward((2, 3, 6, 6)))
    values, where = F.max_pool2d(x, 2, return_indices=True, relu=True)
    want, found = F.max_pool2d(F.relu(x), 2, return_indices=True)
    assert (bits(values), bits(where)) == (bits(want), bits(found))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integers(dtype):
    x = fastcnn.tensor(
        np.arange(-18, 18).reshape(1, 1, 6, 6).clip(0 if dtype == "uint8" else -99), dtype=dtype
    )
    assert bits(F.max_pool2d(x, 2, relu=True)) == bits(F.max_pool2d(F.relu(x), 2))


def test_gradients_of_any_order():
    x = np.random.default_rng(0).permutation(144).reshape(1, 4, 6, 6) - 70.5

    def cubed(t):
        return F.max_pool2d(t, 3, 2, relu=True).pow(3)

    gradcheck(cubed, x, rtol=1e-5)

    def slope(t):
        with fastcnn.enable_grad():
            t = t if t.requires_grad else t.detach().requires_grad_()
            (g,) = fastcnn.grad(cubed(t).sum(), [t], create_graph=True)
        return g

    gradcheck(slope, x, rtol=1e-5)


def test_threads_do_not_matter():
    found = []
    for n in (1, 2, 3, 5):
        with threads(n):
            x = tensor(awkward((3, 70, 33, 31)), requires_grad=True)
            y = F.max_pool2d(x, 3, 2, 1, relu=True)
            y.backward(y.detach())
            found.append((bits(y), bits(x.grad)))
    assert len(set(found)) == 1


# ---- Sequential ----


def one_by_one(model, x):
    """What Sequential did before it looked at neighbours, at every depth."""
    if type(model) is not nn.Sequential:
        return model(x)
    for module in model:
        x = one_by_one(module, x)
    return x


def block():
    return [
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout2d(0.25, seed=2),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, affine=False), nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.AdaptiveMaxPool2d(4),
        nn.ReLU(), nn.AdaptiveMaxPool2d(3), nn.Flatten(),
        nn.Linear(72, 32), nn.ReLU(), nn.Dropout(0.5, seed=1),
        nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 5), nn.Hardtanh(),
    ]  # fmt: skip


def train_twice(run, model, x):
    for module in model.modules():
        if getattr(module, "generator", None) is not None:
            module.generator.calls = 0
    out = []
    for _ in range(2):
        t = tensor(x, requires_grad=True)
        for p in model.parameters():
            p.grad = None
        y = run(model, t)
        (y * y).sum().backward()
        out += [bits(y), bits(t.grad), *(bits(p.grad) for p in model.parameters())]
    return out


@pytest.mark.parametrize("training", [True, False])
def test_sequential_has_the_bits_of_its_layers(training):
    fastcnn.manual_seed(3)
    model = nn.Sequential(*block()).train(training)
    x = np.random.default_rng(1).standard_normal((4, 3, 16, 16)).astype(np.float32)
    assert train_twice(lambda m, t: m(t), model, x) == train_twice(one_by_one, model, x)
    with fastcnn.no_grad():
        model.eval()
        x = tensor(x)
        before = bits(x)
        np.testing.assert_allclose(model(x), one_by_one(model, x), rtol=1e-5, atol=1e-5)  # norms are folded
        assert bits(x) == before


@pytest.mark.parametrize("name", ["digits_cnn", "lenet5", "mnist_cnn", "nin"])
def test_models_have_the_bits_of_their_layers(name):
    entry = models.CATALOGUE[name]
    fastcnn.manual_seed(1)
    model = entry.factory()
    x = np.random.default_rng(1).standard_normal((2, *entry.sample_shape)).astype(np.float32)

    def seeded(run):
        def go(m, t):
            fastcnn.manual_seed(7)
            return run(m, t)

        return go

    assert train_twice(seeded(lambda m, t: m(t)), model, x) == train_twice(seeded(one_by_one), model, x)


@pytest.mark.parametrize("kind", ["plain", "hooked", "replaced"])
def test_a_model_that_calls_its_pool_itself(kind):
    """ResNet's stem: one pass for a plain pool; whatever else stands there gets the ReLU's output."""
    fastcnn.manual_seed(2)
    model, inputs = models.ResNet(models.resnet.BasicBlock, (1, 1, 1, 1), 5), []
    if kind == "hooked":
        model.maxpool.register_forward_pre_hook(lambda _, args: inputs.append(float(args[0].min())))
    if kind == "replaced":
        model.maxpool = nn.Identity()
    x = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    got = train_twice(lambda m, t: m(t), model, x)
    assert inputs == ([0.0, 0.0] if kind == "hooked" else [])
    pool = model.maxpool
    model.maxpool = nn.Sequential(nn.ReLU(), pool)
    model.maxpool[0].register_forward_hook(lambda *_: None)
    assert train_twice(lambda m, t: m(t), model, x) == got


def test_fire_joins_before_its_relu():
    fastcnn.manual_seed(2)
    fire = models.squeezenet.Fire(4, 3, 5)
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype(np.float32)

    def parts(m, t):
        t = F.relu(m.squeeze(t))
        return F.cat([F.relu(m.expand1x1(t)), F.relu(m.expand3x3(t))], 1)

    assert train_twice(lambda m, t: m(t), fire, x) == train_twice(parts, fire, x)


def test_an_input_is_not_overwritten():
    x = tensor(np.linspace(-1, 1, 16).reshape(1, 1, 4, 4))
    before = bits(x)
    with fastcnn.no_grad():
        for model in (
            nn.Sequential(nn.ReLU(), nn.Dropout(0.5)),
            nn.Sequential(nn.Identity(), nn.ReLU()),
            nn.Sequential(nn.Dropout(0.0), nn.ReLU()),
            nn.Sequential(nn.ReLU(), nn.Dropout(0.5, inplace=True)),
            nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Flatten(), nn.LeakyReLU()),
        ):
            model(x)
            assert bits(x) == before, model


def test_a_layer_that_remembers_its_output_keeps_it():
    class Remembering(nn.Conv2d):
        def forward(self, input):
            self.last = super().forward(input)
            return self.last

    x = tensor(np.random.default_rng(0).standard_normal((1, 2, 5, 5)))
    layer = Remembering(2, 2, 3)
    with fastcnn.no_grad():
        nn.Sequential(layer, nn.ReLU())(x)
    assert float(layer.last.min()) < 0

    plain = nn.Conv2d(2, 2, 3)
    kept = []
    forward = plain.forward
    plain.forward = lambda t: (kept.append(forward(t)), kept[-1])[1]
    with fastcnn.no_grad():
        nn.Sequential(plain, nn.ReLU())(x)
    assert float(kept[0].min()) < 0


def pool_net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.ReLU()
    )


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
@pytest.mark.parametrize("at", [0, 1, 2, 5])
def test_hooks_see_every_layer(kind, at):
    fastcnn.manual_seed(0)
    model = pool_net()
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    want = train_twice(lambda m, t: m(t), model, x)
    seen = []

    def hook(module, *values):
        first = values[-1][0] if isinstance(values[-1], tuple) else values[-1]
        seen.append((type(module).__name__, first.shape))

    register = {
        "forward": "register_forward_hook", "forward_pre": "register_forward_pre_hook",
        "full_backward": "register_full_backward_hook", "full_backward_pre": "register_full_backward_pre_hook",
    }[kind]  # fmt: skip
    handle = getattr(model[at], register)(hook)
    got = train_twice(lambda m, t: m(t), model, x)
    shapes = {
        "forward": {0: (2, 4, 6, 6), 1: (2, 4, 6, 6), 2: (2, 4, 3, 3), 5: (2, 8)},
        "forward_pre": {0: (2, 3, 8, 8), 1: (2, 4, 6, 6), 2: (2, 4, 6, 6), 5: (2, 8)},
    }
    at_output = shapes["forward_pre" if kind == "forward_pre" else "forward"]
    if kind == "full_backward":  # sees (grad_input, grad_output)
        assert [name for name, _ in seen] == [type(model[at]).__name__] * 2
    else:
        assert seen == [(type(model[at]).__name__, at_output[at])] * 2
    assert got == want
    handle.remove()
    assert train_twice(lambda m, t: m(t), model, x) == want


def test_names_stay():
    model = pool_net()
    assert list(model.state_dict()) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    assert "(1): ReLU()\n  (2): MaxPool2d(kernel_size=2" in repr(model)
    with pytest.raises(ValueError, match=r"^in 2 \(MaxPool2d\): max_pool2d: kernel height"):
        model(fastcnn.zeros(1, 3, 3, 8))


def test_reports_name_the_layers():
    rows = {r.path: r for r in memory.estimate(pool_net(), (2, 3, 8, 8)).by_layer()}
    assert rows["2"].kind == "MaxPool2d"
    assert rows["2"].saved == 512  # the positions, 72 bytes in a block
    assert rows["3"].saved == 512  # a copy in logical order, kept by Linear
    assert rows["0"].saved == 0


def test_traces():
    gc.collect()
    base = memory.allocated_bytes()
    model = nn.Sequential(*block())
    for fused in (True, False):

        def step(device, fused=fused):
            x = fastcnn.zeros(2, 3, 16, 16, device=device, requires_grad=True)
            plain = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.ReLU(), nn.MaxPool2d(3, 1))
            if not fused:
                plain[0].register_forward_hook(lambda *_: None)
                plain[2].register_forward_hook(lambda *_: None)
            plain(x).sum().backward()

        assert_same_trace(step)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    predicted = memory.estimate(model, (2, 3, 16, 16), optimizer=optimizer)
    x, y = np.zeros((2, 3, 16, 16), np.float32), np.zeros(2, np.int64)
    with memory.track() as real:
        for _ in range(2):
            train_step(model, F.cross_entropy, optimizer, x, y)
    assert real.peak_bytes - base == predicted.peak_bytes


def test_layers_run_together_again_once_their_hooks_are_gone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    x = fastcnn.zeros((1, 3, 8, 8))

    def ops() -> list[str]:
        with fastcnn.profile() as p:
            model(x)
        return [c.op for c in p.calls]

    fused = ops()
    handles = [m.register_forward_hook(lambda *_: None) for m in model]
    assert "relu" in ops() and "relu" not in fused
    for handle in handles:
        handle.remove()
    assert ops() == fused
