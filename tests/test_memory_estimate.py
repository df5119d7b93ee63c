"""The estimate is the measurement, to the byte; and an estimate leaves no trace in what it estimates."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
from helpers import bits, threads
from memory_nets import OPTIMIZERS, RandomNet

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models, nn, optim
from fastcnn.algorithms import limit_workspace
from fastcnn.training import eval_step, predict_training, shapes_of, train_step


def measured(step, base: int, steps: int = 2) -> memory.track:
    """A trace of `steps` calls; its peak is counted from `base`, what lived before the model was made."""
    gc.collect()
    with memory.track() as t:
        for _ in range(steps):
            step()
    t.peak_bytes -= base
    return t


def own_bytes(model) -> int:
    """What the model's tensors take, in blocks."""
    return sum(-(-t.nbytes // 512) * 512 for t in (*model.parameters(), *model.buffers()))


def images(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, *shape), dtype=np.float32)


def step_events(events):
    """What happens from the first step on, without the blocks' numbers before it."""
    start = next((i for i, e in enumerate(events) if e.kind == "mark"), None)
    known = {e.id for e in events[:start]} if start is not None else set()
    base = events[start].allocated_after
    return [
        (e.kind, e.category, e.requested, e.rounded, e.allocated_after - base, e.op, e.phase, e.layer)
        for e in events[start:]
        if e.kind != "mark" and e.id not in known
    ]


@pytest.mark.parametrize("seed", range(28))
def test_random_nets(seed):
    name, make = list(OPTIMIZERS.items())[seed % len(OPTIMIZERS)]
    n = (1, 2, 3, 5, 7, 13)[seed % 6]
    gc.collect()
    base = memory.allocated_bytes()
    model = RandomNet(seed)
    optimizer = make([p for p in model.parameters() if p.requires_grad])
    x, y = images(n, 3, 12, 12), np.zeros(n, np.int64)
    with threads(1 + seed % 3), limit_workspace((None, 0, 1 << 20)[seed % 3]):
        predicted = memory.estimate(model, x.shape, optimizer=optimizer)
        real = measured(lambda: train_step(model, F.cross_entropy, optimizer, x, y), base)
        assert real.peak_bytes == predicted.peak_bytes, name
        assert sum(predicted.by_category().values()) == predicted.peak_bytes
        optimizer.zero_grad()
        for p in model.parameters():
            p._bump()  # filters that frozen layers keep are not the model's own bytes
        predicted = memory.estimate(model, x.shape, train=False)
        model.eval()
        base = memory.allocated_bytes() - own_bytes(model)
        real = measured(lambda: eval_step(model, None, x, None), base)
        assert real.peak_bytes == predicted.peak_bytes


def test_traces_are_equal_event_by_event():
    from fastcnn._loader import _core

    model = RandomNet(3)
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad])
    x, y = images(3, 3, 12, 12), np.zeros(3, np.int64)

    def step(device="cpu", mark=True):
        if mark:
            _core.memory_mark(device, "begin")
        train_step(model, F.cross_entropy, optimizer, x, y)

    step(mark=False)
    optimizer.zero_grad()
    predicted = memory.estimate(model, x.shape, optimizer=optimizer, steps=1)
    gc.collect()
    with memory.track() as real:
        step()
    twin, cpu = step_events(predicted.events), step_events(real.events)
    assert len(cpu) > 50
    assert {e[7] for e in cpu} >= {"head", "layers.0"}
    assert [e for e in cpu if e[0] != "drop"] == [e for e in twin if e[0] != "drop"]
    assert cpu == twin


@pytest.mark.parametrize("name", ["digits_cnn", "lenet5", "nin"])
def test_named_models(name):
    gc.collect()
    base = memory.allocated_bytes()
    entry = models.CATALOGUE[name]
    model = entry.factory()
    optimizer = optim.SGD(model.parameters(), momentum=0.9)
    x, y = images(3, *entry.sample_shape), np.zeros(3, np.int64)
    predicted = memory.estimate(model, x.shape, optimizer=optimizer)
    real = measured(lambda: train_step(model, F.cross_entropy, optimizer, x, y), base)
    assert real.peak_bytes == predicted.peak_bytes
    for category in ("gradient", "saved", "workspace", "layout"):  # of the others, other tests may have some
        assert real.by_category()[category] == predicted.by_category()[category]
    assert str(real.peak_at) == str(predicted.peak_at)


def test_twenty_epochs_with_a_smaller_last_batch():
    from fastcnn.data import Batches
    from fastcnn.training import evaluate, train_epoch

    gc.collect()
    base = memory.allocated_bytes()
    model = RandomNet(5)
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad])
    train = Batches(images(23, 3, 12, 12), np.zeros(23, np.int64), 8)
    held = Batches(images(11, 3, 12, 12), np.zeros(11, np.int64), 8, shuffle=False)
    predicted = predict_training(model, F.cross_entropy, optimizer, train, held)
    with memory.track() as t:
        for _ in range(3):
            train_epoch(model, F.cross_entropy, optimizer, train)
            evaluate(model, F.cross_entropy, held)
    assert t.peak_bytes - base == predicted.peak_bytes
    assert [len(y) for _, y in shapes_of(train)] == [8, 8, 7]


def test_nothing_is_touched():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5, seed=3), nn.Flatten(), nn.Linear(400, 5)
    )
    optimizer = optim.Adam(model.parameters())
    x, y = images(2, 3, 12, 12), np.zeros(2, np.int64)
    train_step(model, F.cross_entropy, optimizer, x, y)
    model.eval()

    def everything():
        state = [bits(t) for t in model.state_dict().values()] + [bits(p.grad) for p in model.parameters()]
        state += [bits(t) for s in optimizer.state.values() for t in s.values()]
        state += [p.data_ptr() for p in model.parameters()] + [model.training, model[2].generator.calls]
        steps = [s["step"] for s in optimizer.state_dict()["state"].values()]
        return state, steps, bits(fastcnn.get_rng_state()), memory.allocated_bytes()

    before = everything()
    memory.estimate(model, x.shape, optimizer=optimizer)
    memory.estimate(model, x.shape, optimizer="adagrad", dtype="float64")
    memory.max_batch_size(model, (3, 12, 12), budget="10MB", optimizer=optimizer)
    with pytest.raises(ValueError, match="to have 3 channels, got 5"):
        memory.estimate(model, (2, 5, 12, 12), optimizer=optimizer)
    assert everything() == before
    train_step(model.train(), F.cross_entropy, optimizer, x, y)  # it still works


def test_attributes_that_a_step_sets_are_put_back():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.calls, self.last = 0, None
            self.register_buffer("mean", fastcnn.zeros(4))
            self.offset = fastcnn.ones(4)  # neither parameter nor buffer

        def forward(self, x):
            self.calls += 1
            self.mean = self.mean * 0.5
            self.last = self.layer(x) + self.offset + fastcnn.zeros(4)
            return self.last

    model = Counting()
    mean = model.mean
    memory.estimate(model, (3, 4))
    assert (model.calls, model.last) == (0, None)
    assert model.mean is mean and mean.device == "cpu" and bits(mean) == bytes(16)


# ---- step functions ----


def test_a_step_function_by_its_closure():
    gc.collect()
    base = memory.allocated_bytes()
    model = RandomNet(1)
    optimizer = optim.RMSprop([p for p in model.parameters() if p.requires_grad])
    schedule = optim.lr_scheduler.StepLR(optimizer, 1)
    x, y = fastcnn.tensor(images(4, 3, 12, 12)), fastcnn.zeros(4, dtype="int64")

    def step():
        optimizer.zero_grad()
        noise = fastcnn.randn(4, 3, 12, 12)
        loss = F.cross_entropy(model(x + noise), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss

    rate = optimizer.lr
    predicted = memory.estimate_step(step)
    assert optimizer.lr == rate
    assert measured(step, base).peak_bytes == predicted.peak_bytes
    assert optimizer.lr != rate


def test_several_inputs_and_own_targets():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(4, 3)

        def forward(self, x, z):
            return self.a(x), self.b(z)

    gc.collect()
    base = memory.allocated_bytes()
    model = Two()

    def loss(outputs, y):
        return F.mse_loss(outputs[0], y) + F.mse_loss(outputs[1], y)

    with pytest.raises(ValueError, match=r"returns a tuple, expected a tensor.*pass target="):
        memory.estimate(model, [(5, 6), (5, 4)], loss=loss)
    predicted = memory.estimate(
        model, [(5, 6), (5, 4)], loss=loss, target=((5, 3), "float32"), optimizer="adam"
    )
    optimizer = optim.Adam(model.parameters())
    batch = images(5, 6), images(5, 4)
    real = measured(lambda: train_step(model, loss, optimizer, batch, images(5, 3)), base)
    assert real.peak_bytes == predicted.peak_bytes


@pytest.mark.parametrize("read", [lambda t: t.item(), bool, lambda t: t.detach().numpy()])
def test_a_step_that_reads_values_is_refused(read):
    model = nn.Linear(3, 1)

    def step():
        read(model(fastcnn.zeros(1, 3)).sum())

    with pytest.raises((TypeError, ValueError), match=r"item: a meta tensor has no values|numpy: .*on meta#"):
        memory.estimate_step(step)
    assert model.weight.device == "cpu"
    memory.estimate(model, (2, 3), loss="mse")


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (lambda t: t.nonzero(), "nonzero"),
        (lambda t: fastcnn.masked_select(t, t > 0), "masked_select"),
        (lambda t: t[t > 0], "index"),
    ],
)
def test_ops_whose_memory_depends_on_values_are_refused(op, name):
    class Net(nn.Module):
        def forward(self, x):
            return op(x)

    expected = (
        rf"{name}: the size of the result depends on values, which a meta#\d+ tensor does not have; use where"
    )
    with pytest.raises(TypeError, match=expected):
        memory.estimate(Net(), (2, 3), train=False)
    x = fastcnn.ones(2, 3)
    with pytest.raises(TypeError, match=expected):
        memory.estimate_step(lambda: op(x))


# ---- reports ----


def test_report():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5))
    report = memory.estimate(model, (6, 3, 12, 12), optimizer="adam,lr=0.1")
    layers = {r.path: r for r in report.by_layer()}
    assert set(layers) == {"0", "1", "2", "3", ""}
    assert layers["3"].parameter == 8192 + 512  # (5, 400) and (5,) float32 in blocks of 512 bytes
    assert layers["3"].optimizer == 2 * layers["3"].parameter
    assert sum(r.at_peak for r in layers.values()) == report.peak_bytes
    assert all(sum(r.by_category.values()) == r.at_peak for r in layers.values())
    line = report.timeline()
    assert line.bytes.sum(1).max() == report.peak_bytes
    assert len(line.op) == len(line.bytes) == len(report.events)
    assert line.bytes[report.peak_at.event].tolist() == list(report.by_category().values())
    assert sorted(set(line.step)) == [0, 1, 2]
    assert {"forward", "backward"} <= set(line.phase)
    assert "█" in report.sparkline() and len(report.sparkline()) <= 72
    data = json.loads(report.to_json())
    assert data["peak_bytes"] == report.peak_bytes == max(sum(r[5:]) for r in data["timeline"]["rows"])
    assert data["settings"]["optimizer"] == "adam,lr=0.1"
    held = [name for name, size in report.by_category().items() if size]
    for part in ("peak", *held, f"{report.peak_bytes:,}"):
        assert part in str(report)
    page = report.to_html(budget="1MB")
    assert page.count("<script") == 2 and "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert '"budget":1000000' in page and f"{report.peak_bytes:,}" in page
    assert "<title>Memory of Sequential, training, batch of 6</title>" in page
    assert "Fits</b>: budget 1,000,000 bytes (977 KiB), " in page and "input 6 × 3 × 12 × 12 float32" in page
    assert "Does not fit</b>: budget 1,000 bytes" in report.to_html(budget=1000)
    rows = json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"]
    assert [r[1] for r in rows[:2]] == [0, 1]  # what lived before the first step is one row
    assert max(sum(r[5:]) for r in rows) == report.peak_bytes
    assert "inference, batch of 6" in memory.estimate(model, (6, 3, 12, 12), train=False).to_html()


def test_cards_have_a_size_and_a_context_of_their_own():
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    report = memory.estimate(model, (6, 3, 4), device="rtx3060")
    assert report.total_bytes == 12_622_168_064
    assert report.context.low < report.context.high and "not measured" in report.context.source
    assert report.device_bytes[0] - report.context.low == report.reserved_bytes
    assert report.fits() and not report.fits(report.peak_bytes - 1) and report.fits(report.peak_bytes)
    assert memory.estimate(model, (6, 3, 4)).context is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"optimizer": "sgdd"}, r"no optimizer of that name, got 'sgdd', expected one of .*adam"),
        ({"optimizer": "sgd,momentum=x"}, "setting 'momentum=x' cannot be read"),
        ({"loss": "relu"}, "no loss of that name, got 'relu'"),
        ({"device": "voodoo2"}, r"unknown device, got 'voodoo2', expected cpu.*meta:h200"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"device": "meta:voodoo2"}, r"got 'meta:voodoo2', expected cpu.*meta:h200"),
        ({"input_shape": (-1, 3)}, "expected extents of 0 or more"),
    ],
)
def test_bad_questions(change, error):
    with pytest.raises(ValueError, match=error):
        memory.estimate(nn.Linear(3, 2), **{"input_shape": (2, 3), **change})


def test_nothing_to_train():
    model = nn.Linear(3, 2).requires_grad_(False)
    with pytest.raises(ValueError, match=r"no parameter to train.*train=False"):
        memory.estimate(model, (2, 3))
    assert memory.estimate(model, (2, 3), train=False).peak_bytes > 0


def test_a_dry_run_on_every_thread():
    from concurrent.futures import ThreadPoolExecutor

    nets = [RandomNet(seed) for seed in range(4)]
    alone = [memory.estimate(net, (3, 3, 12, 12)).peak_bytes for net in nets]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda net: memory.estimate(net, (3, 3, 12, 12)).peak_bytes, nets * 5))
    assert together == alone * 5


def test_the_first_estimate_of_a_process_is_like_any_other():
    """Traces are compared by the addresses of their texts, so the empty one must be the same from the start."""
    import subprocess
    import sys

    code = (
        "from fastcnn import memory, models\n"
        "m = models.digits_cnn()\n"
        "a, b = (memory.estimate(m, (2, 1, 8, 8)) for _ in range(2))\n"
        "assert a._trace == b._trace and a.events == b.events\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(bool(fastcnn._core.build_info()["sanitizer"]), reason="sanitized builds are slower")
def test_an_estimate_takes_milliseconds():
    import time

    with fastcnn.device("meta"):
        model = models.resnet50()
    times = []
    for _ in range(12):
        start = time.process_time()
        report = memory.estimate(model, (32, 3, 224, 224), optimizer="sgd,momentum=0.9", device="cpu")
        times.append(time.process_time() - start)
    print(f"ResNet-50: {1e3 * min(times):.1f} ms, peak {report.peak_bytes:,}")
    assert min(times) <= 0.020
    assert 2.4e9 < report.peak_bytes < 3.2e9  # features of the layers alone


def test_matrix_covers_every_pair():
    import importlib.util
    import itertools
    from pathlib import Path

    path = Path(__file__).resolve().parents[1] / "scripts" / "memory_matrix.py"
    spec = importlib.util.spec_from_file_location("memory_matrix", path)
    matrix = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(matrix)
    factors = {"a": [0, 1, 2, 3], "b": ["x", "y"], "c": [None, 1, 2]}
    cells = matrix.pairwise(factors)
    for one, two in itertools.combinations(factors, 2):
        assert {(c[one], c[two]) for c in cells} == set(itertools.product(factors[one], factors[two]))
    assert len(cells) <= 18


GLOBAL_NET = None  # made by the test, so that it does not live in the others'


def global_step(scale=2.0):
    (GLOBAL_NET(fastcnn.ones(5, 6)) * scale).sum().backward()


class Trainer:
    def __init__(self):
        self.net, self.noise = nn.Linear(6, 3), fastcnn.Generator(5)

    def step(self, rows):
        self.net.zero_grad()
        self.net(fastcnn.randn(rows, 6, generator=self.noise)).sum().backward()

    __call__ = step


@pytest.mark.parametrize("kind", ["global", "method", "object", "partial"])
def test_what_a_step_uses_is_found(kind, monkeypatch):
    import functools

    if kind == "global":
        monkeypatch.setitem(globals(), "GLOBAL_NET", nn.Linear(6, 3))
    trainer = Trainer()
    step, args = {
        "global": (global_step, ()),
        "method": (trainer.step, (4,)),
        "object": (trainer, (4,)),
        "partial": (functools.partial(trainer.step, rows=4), ()),
    }[kind]
    net = GLOBAL_NET if kind == "global" else trainer.net
    net.zero_grad()
    gc.collect()
    base = memory.allocated_bytes() - own_bytes(net)
    predicted = memory.estimate_step(step, *args)
    assert (net.weight.device, net.weight.grad, trainer.noise.calls) == ("cpu", None, 0)
    assert measured(lambda: step(*args), base).peak_bytes == predicted.peak_bytes
    net.zero_grad()


def test_workspace_limit_of_a_whole_model():
    x, w = fastcnn.randn(2, 16, 20, 20), fastcnn.randn(24, 16, 3, 3)
    with memory.track() as free:
        F.conv2d(x, w, algo="im2col")
    with memory.track() as none, limit_workspace(0):
        F.conv2d(x, w)
        with limit_workspace(None), memory.track("meta"):
            pass
    assert any(e.category == "workspace" for e in free.events)
    assert not any(e.category == "workspace" for e in none.events)
    with pytest.raises(ValueError, match="limit_workspace: got -1, expected bytes"), limit_workspace(-1):
        pass


@pytest.mark.parametrize(
    ("body", "shape", "loss", "passes"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), (4, 3, 4, 4), "cross_entropy", 2),
        (lambda: nn.Conv2d(3, 5, 1), (4, 3, 4, 4), "cross_entropy", 3),  # a class to each pixel
        (lambda: nn.Conv2d(3, 5, 1), (4, 3, 4, 4), nn.CrossEntropyLoss(), 3),
        (lambda: nn.Conv2d(3, 5, 1), (4, 3, 4, 4), "mse", 3),
    ],
)
def test_targets_that_are_guessed_wrong_leave_no_trace(body, shape, loss, passes):
    """The target of a classifier needs no forward pass of its own; after a wrong guess all starts anew."""
    net, ran = body(), []
    net.register_forward_pre_hook(lambda module, args: ran.append(1))
    report = memory.estimate(net, shape, loss=loss)
    assert len(ran) == passes
    with fastcnn.no_grad():
        output = net(fastcnn.zeros(*shape)).shape
    target = (output, "float32") if loss == "mse" else (output[:1] + output[2:], "int64")
    known = memory.estimate(net, shape, loss=loss, target=target)
    assert [tuple(e) for e in report.events] == [tuple(e) for e in known.events]
    assert report.reserved_bytes == known.reserved_bytes and report.peak_bytes == known.peak_bytes
