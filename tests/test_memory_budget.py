"""The largest batch, and refusals before a step starts."""

from __future__ import annotations

import numpy as np
import pytest
from memory_nets import RandomNet

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn, optim
from fastcnn.data import Batches
from fastcnn.errors import OutOfMemoryError
from fastcnn.training import fit, predict_training, train_step


def peak(model, n, optimizer):
    return memory.estimate(model, (n, 3, 12, 12), optimizer=optimizer).peak_bytes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", [600_000, 3_000_000])
def test_largest_batch(seed, budget):
    model = RandomNet(seed)
    found = memory.max_batch_size(model, (3, 12, 12), budget=budget, optimizer="adam")
    assert found == memory.max_batch_size(
        model, (3, 12, 12), budget=budget, optimizer="adam", exhaustive=True
    )._replace(peaks=found.peaks)
    for n in range(max(1, found.batch - 3), found.batch + 1):
        assert peak(model, n, "adam") <= budget
    assert peak(model, found.first_too_large, "adam") == found.too_large_peak_bytes > budget
    assert found.batch == 0 or peak(model, found.batch, "adam") == found.peak_bytes
    assert int(found) == found.batch and found.breaks_at in str(found)


def test_multiples_and_cards():
    model = RandomNet(2)
    found = memory.max_batch_size(model, (3, 12, 12), budget="2MB", multiple_of=8)
    assert found.batch % 8 == 0 and found.first_too_large == found.batch + 8
    huge = memory.max_batch_size(model, (3, 12, 12), budget="t4")
    assert huge.device == "cpu" and "kernels of cpu" in str(huge)
    assert huge.budget_bytes == memory.parse_bytes("t4") - 667_000_000
    with pytest.raises(ValueError, match=r"parameters and optimizer state alone need .* got a budget of 512"):
        memory.max_batch_size(model, (3, 12, 12), budget=512)
    with pytest.raises(ValueError, match="multiple_of is 0"):
        memory.max_batch_size(model, (3, 12, 12), multiple_of=0)


@pytest.mark.parametrize("budget", ["voodoo2", "12 gallons", "", "-5GB"])
def test_budgets_that_are_none(budget):
    model = RandomNet(2)
    error = rf"parse_bytes: not a size, got '{budget}', expected bytes, a number with one of B, KB.*or a card \(.*h200"
    for ask in (
        lambda: memory.max_batch_size(model, (3, 12, 12), budget=budget),
        lambda: memory.check(model, (2, 3, 12, 12), limit=budget),
        lambda: memory.estimate(model, (2, 3, 12, 12)).fits(budget),
        lambda: memory.set_limit(budget),
    ):
        with pytest.raises(ValueError, match=error):
            ask()


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.5, r"^in 2 \(Conv2d\): conv2d\.forward: out of"), (0.97, r"^in 2 \(Conv2d\): conv2d\.backward_w")],
)
def test_out_of_memory_names_the_layer(share, text):
    """Forward the error passes the modules on its way up; backward the layer's parameters tell."""
    import gc

    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )
    model.append(nn.Linear(64 * 14 * 14, 10))
    gc.collect()
    own = sum(-(-p.nbytes // 512) * 512 for p in model.parameters())
    base = memory.allocated_bytes() - own
    predicted = memory.estimate(model, (8, 3, 32, 32))
    assert predicted.peak_at.op == "conv2d.backward_weight"
    x, y = np.zeros((8, 3, 32, 32), np.float32), np.zeros(8, np.int64)
    optimizer = optim.SGD(model.parameters())
    memory.set_limit(base + int(predicted.peak_bytes * share))
    try:
        with pytest.raises(OutOfMemoryError, match=text):
            train_step(model, F.cross_entropy, optimizer, x, y)
    finally:
        memory.set_limit(None)


@pytest.mark.parametrize(
    ("watched", "text"),
    [
        (False, r"^behind 0 \(Conv2d\): avg_pool2d: out of memory"),
        (True, r"^in 1 \(AvgPool2d\): avg_pool2d: out of memory"),
    ],
)
def test_out_of_memory_in_the_backward_of_a_layer_without_parameters(watched, text):
    import contextlib

    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.AvgPool2d(2), nn.AvgPool2d(16), nn.Flatten())
    x = fastcnn.randn(8, 3, 32, 32)
    with memory.track() if watched else contextlib.nullcontext():
        total = model(x).sum()
        # The gradient of the second pool still fits, that of the first beside it does not.
        memory.set_limit(memory.allocated_bytes() + 8 * 16 * 16 * 16 * 4 + 4096)
        try:
            with pytest.raises(OutOfMemoryError, match=text):
                total.backward()
        finally:
            memory.set_limit(None)


def test_out_of_memory_behind_two_branches_names_the_later_one():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)

        def forward(self, x):
            return F.tanh(F.avg_pool2d(self.a(x), 1) * self.b(x)).mean()

    net = Net()
    total = net(fastcnn.randn(4, 3, 16, 16))
    memory.set_limit(memory.allocated_bytes() + 4 * 8 * 16 * 16 * 4 + 4096)
    try:
        with pytest.raises(OutOfMemoryError, match=r"^behind b \(Conv2d\): mul: out of memory"):
            total.backward()
    finally:
        memory.set_limit(None)


def test_under_a_limit_n_runs_and_the_next_is_refused():
    import gc

    gc.collect()
    base = memory.allocated_bytes()
    model = RandomNet(7)
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], momentum=0.9)
    found = memory.max_batch_size(model, (3, 12, 12), budget=2_000_000, optimizer=optimizer)
    n = found.batch
    assert n > 2
    x, y = np.zeros((n + 1, 3, 12, 12), np.float32), np.zeros(n + 1, np.int64)
    memory.set_limit(base + 2_000_000)
    try:
        memory.check(model, (n, 3, 12, 12), optimizer=optimizer, limit=2_000_000)
        for _ in range(3):
            train_step(model, F.cross_entropy, optimizer, x[:n], y[:n])
        with pytest.raises(OutOfMemoryError, match="nothing has run") as refused:
            memory.check(model, (n + 1, 3, 12, 12), optimizer=optimizer, limit=2_000_000)
        with pytest.raises(OutOfMemoryError, match="out of memory on cpu"):
            train_step(model, F.cross_entropy, optimizer, x, y)
    finally:
        memory.set_limit(None)
    fixes = refused.value.fixes
    assert 1 <= len(fixes) <= 3
    assert any(
        f.text == f"a batch of {n} instead of {n + 1}" and f.peak_bytes == found.peak_bytes for f in fixes
    )
    assert all(f.fits == (f.peak_bytes <= 2_000_000) for f in fixes)
    assert f"{fixes[0].peak_bytes:,}" in str(refused.value)
    assert refused.value.report.peak_bytes == found.too_large_peak_bytes


def test_fixes_are_what_they_say():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 200))
    optimizer = optim.Adam(model.parameters())
    whole = peak(model, 4, optimizer)
    with pytest.raises(OutOfMemoryError) as refused:
        memory.check(model, (4, 3, 12, 12), optimizer=optimizer, limit=whole - 1)
    by_text = {f.text: f.peak_bytes for f in refused.value.fixes}
    with fastcnn.limit_workspace(0):
        without = peak(model, 4, optimizer)
    for text, size in by_text.items():
        if text.startswith("workspace_limit"):
            assert size == without < whole
        elif "without state" in text:
            assert size == peak(model, 4, None)
        elif text.startswith("training only 3"):
            for p in model[0].parameters():
                p.requires_grad_(False)
            assert size == peak(model, 4, optim.Adam(model[3].parameters()))
    assert len(by_text) >= 2


def test_check_of_a_step_function():
    model = nn.Linear(1000, 1000)

    def step():
        model(fastcnn.zeros(64, 1000)).sum().backward()

    memory.check(step)  # the device's whole memory
    with pytest.raises(OutOfMemoryError, match=r"(?s)check: the step does not fit.*parameter.*in \(Linear\)"):
        memory.check(step, limit="1MB")
    with pytest.raises(TypeError, match="without input_shape"):
        memory.check(model)


def digits_like(count, batch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 1, 8, 8), dtype="float32")
    return Batches(x, rng.integers(0, 3, count), batch)


def small_net():
    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 3))


def test_fit_refuses_before_it_starts():
    import gc

    model = small_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train, held = digits_like(70, 32), digits_like(20, 16)
    before = [np.array(p.detach()) for p in model.parameters()]
    gc.collect()
    others = memory.estimate(model, (32, 1, 8, 8), optimizer=optimizer).others_bytes
    peak = predict_training(model, F.cross_entropy, optimizer, train, held, device="cpu").peak_bytes
    memory.set_limit(others + peak - 1)
    try:
        with pytest.raises(OutOfMemoryError, match="nothing has run") as refused:
            fit(model, F.cross_entropy, optimizer, train, held, epochs=2)
        assert 1 <= len(refused.value.fixes) <= 3 and "cheapest ways out" in str(refused.value)
        assert train.passes == 0 and all(p.grad is None for p in model.parameters())
        for a, p in zip(before, model.parameters()):
            assert np.array_equal(a, np.asarray(p.detach()))
        del refused
        gc.collect()
        memory.set_limit(others + peak)
        seen = []
        history = fit(model, F.cross_entropy, optimizer, train, held, epochs=3, after_epoch=seen.append)
    finally:
        memory.set_limit(None)
    assert len(history) == len(seen) == train.passes == 3
    assert history[-1].train_loss < history[0].train_loss and 0 <= history[-1].accuracy <= 1
    assert len(fit(model, F.cross_entropy, optimizer, train, epochs=3, after_epoch=lambda e: True)) == 1
    with pytest.raises(ValueError, match="fit: epochs is 0, expected at least 1"):
        fit(model, F.cross_entropy, optimizer, train, epochs=0)


def test_check_counts_what_others_hold():
    """Tensors beside the step leave less of the limit; the step's own parameters and gradients are no others."""
    import gc

    model = small_net()
    optimizer = optim.SGD(model.parameters(), momentum=0.9)
    gc.collect()
    report = memory.estimate(model, (8, 1, 8, 8), optimizer=optimizer)
    base = report.others_bytes
    train_step(model, F.cross_entropy, optimizer, np.zeros((8, 1, 8, 8), "float32"), np.zeros(8, "int64"))
    gc.collect()
    again = memory.estimate(model, (8, 1, 8, 8), optimizer=optimizer)
    assert again.others_bytes == base and again.peak_bytes == report.peak_bytes
    memory.set_limit(base + report.peak_bytes)
    try:
        memory.check(model, (8, 1, 8, 8), optimizer=optimizer)
        held = fastcnn.zeros(1024)
        assert memory.estimate(model, (8, 1, 8, 8), optimizer=optimizer).others_bytes == base + 4096
        with pytest.raises(OutOfMemoryError, match=r"other tensors hold [\d,]+ bytes more"):
            memory.check(model, (8, 1, 8, 8), optimizer=optimizer)
        del held
        memory.check(model, (8, 1, 8, 8), optimizer=optimizer)
    finally:
        memory.set_limit(None)


def test_inputs_keep_their_own_extents():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x, table):
            return self.fc(x) + table.mean(0)

    small = memory.estimate(Table(), [(5, 6), (3, 4)])
    large = memory.estimate(Table(), [(5, 6), (4096, 4)])
    assert large.peak_bytes - small.peak_bytes >= 4096 * 4 * 4 - 512

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x, y):
            return self.fc(x) + self.fc(y)

    with pytest.raises(ValueError, match=r"\(7, 4\) and \(6, 4\)"):
        memory.estimate(Sum(), [(7, 6), (6, 6)])


def test_a_report_says_its_granularity():
    report = memory.estimate(nn.Linear(3, 2), (2, 3))
    assert (report.block_bytes, report.segment_bytes) == (512, 2 << 20)
    assert report.peak_bytes % report.block_bytes == 0 == report.reserved_bytes % report.segment_bytes
    assert "in segments of 2.00 MiB" in str(report) and report.to_dict()["block_bytes"] == 512
