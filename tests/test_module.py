"""Module: torch's behaviour of attributes, walking, state, hooks, copies; errors that carry the layer's path."""

from __future__ import annotations

import copy
import gc
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import nn
from fastcnn.autograd import Tensor


class Block(nn.Module):
    """A module with every kind of member; needs only ops that exist everywhere."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.scale = nn.Parameter(fastcnn.ones(channels))
        self.register_parameter("shift", None)
        self.register_buffer("mean", fastcnn.zeros(channels))
        self.register_buffer("scratch", fastcnn.zeros(2), persistent=False)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x * self.scale)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1, bias=False))
        self.block = Block()
        self.shared = self.block

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.block(fastcnn.functional.permute(x, (0, 2, 3, 1)))


def image(seed: int = 0) -> Tensor:
    return fastcnn.tensor(np.random.default_rng(seed).standard_normal((2, 2, 5, 5)), dtype="float32")


# ---- attributes ---------------------------------------------------------------------------------------------


def test_members_are_registered_and_found() -> None:
    b = Block()
    assert isinstance(b.scale, nn.Parameter) and b.shift is None and b.mean.shape == (3,)
    assert set(b._parameters) == {"scale", "shift"} and set(b._buffers) == {"mean", "scratch"}
    assert {"scale", "mean", "act"} <= set(dir(b))
    del b.scale
    with pytest.raises(AttributeError, match="'Block' object has no attribute 'scale'"):
        _ = b.scale
    b.act = None
    assert b.act is None and list(b.children()) == []


def test_an_attribute_changes_its_kind() -> None:
    m = nn.Module()
    m.x = 3
    m.x = nn.Parameter(fastcnn.ones(2))
    assert "x" in m._parameters and "x" not in m.__dict__
    m.x = nn.ReLU()
    assert "x" in m._modules and "x" not in m._parameters
    with pytest.raises(TypeError, match="cannot assign int as child module 'x'"):
        m.x = 3
    m.p = nn.Parameter(fastcnn.ones(2))
    with pytest.raises(TypeError, match="cannot assign Tensor as parameter 'p'"):
        m.p = fastcnn.ones(2)


def test_without_super_init_the_error_says_so() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.conv = nn.Conv2d(1, 1, 1)

    class Late(nn.Module):
        def __init__(self) -> None:
            self.register_buffer("b", fastcnn.ones(1))

    with pytest.raises(AttributeError, match=r"cannot assign 'conv' before .*super\(\).__init__\(\) first"):
        Forgetful()
    with pytest.raises(AttributeError, match=r"Late: .*super\(\).__init__\(\) first"):
        Late()


def test_registration_is_checked() -> None:
    m = nn.Module()
    for name, error in (("", KeyError), ("a.b", KeyError), (3, TypeError), ("forward", KeyError)):
        with pytest.raises(error):
            m.register_buffer(name, fastcnn.ones(1))
    with pytest.raises(TypeError, match="expected a Parameter or None"):
        m.register_parameter("p", fastcnn.ones(1))
    with pytest.raises(TypeError, match="expected a Module or None"):
        m.add_module("m", 3)


# ---- walking ------------------------------------------------------------------------------------------------


def test_walks_see_shared_members_once() -> None:
    net = Net()
    assert [n for n, _ in net.named_modules()] == [
        "", "features", "features.0", "features.1", "features.2", "block", "block.act",
    ]  # fmt: skip
    assert [n for n, _ in net.named_parameters()] == [
        "features.0.weight", "features.0.bias", "features.2.weight", "block.scale",
    ]  # fmt: skip
    assert [n for n, _ in net.named_parameters(remove_duplicate=False)][-1] == "shared.scale"
    assert [n for n, _ in net.named_buffers()] == ["block.mean", "block.scratch"]
    assert [n for n, _ in net.named_children()] == ["features", "block"]
    assert [n for n, _ in net.named_parameters(prefix="model", recurse=False)] == []
    assert net.get_submodule("features.2") is net.features[2]
    assert net.get_parameter("block.scale") is net.block.scale
    assert net.get_buffer("block.mean") is net.block.mean
    with pytest.raises(AttributeError, match=r"Sequential has no child '7' \(of 'features.7'\)"):
        net.get_submodule("features.7")


def test_switches() -> None:
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train().block.act.training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    names = []
    net.apply(lambda m: names.append(type(m).__name__))
    assert names[-1] == "Net" and names[0] == "Conv2d"


def test_zero_grad_frees() -> None:
    net = Net()
    for p in net.parameters():
        p.grad = fastcnn.ones(*p.shape)
    net.zero_grad(set_to_none=False)
    assert all(not np.asarray(p.grad).any() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_to_keeps_the_objects() -> None:
    net = Net()
    before = list(net.parameters())
    before[0].grad = fastcnn.ones(*before[0].shape)
    net.register_buffer("count", fastcnn.zeros(1, dtype="int64"))
    net.register_buffer("again", net.block.mean)
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters()))
    assert {p.dtype for p in net.parameters()} == {"float64"} and before[0].grad.dtype == "float64"
    assert net.count.dtype == "int64" and net.block.mean.dtype == "float64" and net.again is net.block.mean
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
    net.to("meta", dtype="float16")
    assert net.block.scale.device == "meta" and net.block.mean.dtype == "float16"
    with pytest.raises(TypeError, match="expected a float dtype"):
        net.to("int32")


# ---- text ---------------------------------------------------------------------------------------------------


def test_repr_equals_torch() -> None:
    torch = pytest.importorskip("torch")

    def build(n: Any) -> Any:
        inner = n.Sequential(
            n.Conv2d(4, 4, (3, 1), stride=2, padding=(1, 0), groups=2, bias=False), n.Sigmoid()
        )
        layers = [
            n.Conv2d(3, 4, 3, padding="same", padding_mode="reflect"), n.LeakyReLU(0.2, True), n.ReLU6(), inner,
            n.ModuleList([n.Linear(3, 4), n.Linear(4, 2, bias=False)]), n.ModuleDict({"a": n.ELU()}),
            n.ConvTranspose2d(4, 2, 3, 2, output_padding=1), n.Flatten(), n.Unflatten(1, (2, 2)), n.GELU("tanh"),
            n.Softplus(), n.Hardtanh(-2.0, 2.0), n.Threshold(0.1, 20), n.Identity(), n.PReLU(), n.Softshrink(),
            n.Conv1d(1, 1, 2, dilation=3), n.Bilinear(2, 3, 4), n.Softmax(1), n.Hardswish(), n.SiLU(inplace=True),
        ]  # fmt: skip
        return n.Sequential(*layers)

    assert repr(build(nn)) == repr(build(torch.nn))
    assert repr(nn.Sequential()) == "Sequential()"


# ---- state --------------------------------------------------------------------------------------------------


def test_state_dict_names_and_memory() -> None:
    net = Net()
    state = net.state_dict()
    assert list(state) == [
        "features.0.weight", "features.0.bias", "features.2.weight", "block.scale", "block.mean", "shared.scale",
        "shared.mean",
    ]  # fmt: skip
    assert not state["block.scale"].requires_grad
    state["block.scale"].fill_(7.0)
    assert net.block.scale.tolist() == [7.0] * 3  # shared memory, as in torch
    assert net.state_dict(keep_vars=True)["block.scale"] is net.block.scale
    assert next(iter(net.block.state_dict(prefix="m."))) == "m.scale"


@pytest.mark.parametrize("kind", ["tensor", "numpy", "torch", "list", "float64", "fortran"])
def test_load_takes_any_mapping_of_arrays(kind: str) -> None:
    source, target = Net(), Net()
    arrays = {k: np.asarray(v).copy() for k, v in source.state_dict().items()}
    if kind == "torch":
        torch = pytest.importorskip("torch")
        state: dict[str, Any] = {k: torch.tensor(v, requires_grad=True) for k, v in arrays.items()}
    else:
        convert = {
            "tensor": fastcnn.tensor, "numpy": np.array, "list": lambda a: a.tolist(),
            "float64": lambda a: a.astype(np.float64), "fortran": np.asfortranarray,
        }[kind]  # fmt: skip
        state = {k: convert(v) for k, v in arrays.items()}
    result = target.load_state_dict(state)
    assert result == ([], []) and str(result) == "<All keys matched successfully>"
    for k, v in target.state_dict().items():
        np.testing.assert_array_equal(np.asarray(v), arrays[k])


def test_states_go_both_ways_with_torch() -> None:
    torch = pytest.importorskip("torch")

    def build(n: Any) -> Any:
        return n.Sequential(
            OrderedDict(
                conv=n.Conv2d(2, 4, 3, groups=2),
                up=n.ConvTranspose2d(4, 2, 2),
                act=n.PReLU(2),
                flat=n.Flatten(),
                list=n.ModuleList([n.Linear(3, 2, bias=False), n.Bilinear(2, 2, 2)]),
            )
        )

    ours, theirs = build(nn), build(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(
        {k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()}, strict=True
    )
    ours_again = build(nn)
    ours_again.load_state_dict(theirs.state_dict(), strict=True)
    for k, v in ours.state_dict().items():
        assert v.numpy().tobytes() == ours_again.state_dict()[k].numpy().tobytes()


def test_a_state_that_does_not_fit_changes_nothing_and_names_every_key() -> None:
    net = Net()
    before = {k: np.asarray(v).copy() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    state["features.0.bias"] = np.ones(32)
    state["block.mean"] = np.ones((3, 1))
    state["block.scale"] = np.array(["a"])
    del state["features.2.weight"]
    state["extra"] = np.ones(1)
    with pytest.raises(ValueError, match="load_state_dict") as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    for line in (
        "features.0.bias: bias has 32 entries, layer has 4 filters",
        "block.mean: has shape (3, 1), expected (3,)",
        "block.scale: ",
        "features.2.weight: missing",
        "extra: unexpected",
        "nothing was loaded",
    ):
        assert line in text
    for k, v in net.state_dict().items():
        np.testing.assert_array_equal(np.asarray(v), before[k])
    with pytest.raises(ValueError, match="5 of the entries"):
        net.load_state_dict(state)
    with pytest.raises(TypeError, match="expected a mapping"):
        net.load_state_dict([1])


def test_loading_without_strict_reports() -> None:
    net = Net()
    state = {"features.0.bias": np.ones(4), "extra": np.ones(1)}
    result = net.load_state_dict(state, strict=False)
    assert "features.0.weight" in result.missing_keys and result.unexpected_keys == ["extra"]
    assert net.features[0].bias.tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="bias has 5 entries"):  # shapes are never skipped
        net.load_state_dict({"features.0.bias": np.ones(5)}, strict=False)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_keep_bits_strides_and_sharing(how: str) -> None:
    net = Net()
    net.block.scale.data = fastcnn.tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 5))).contiguous(
        "channels_last"
    )
    net.register_buffer("low", fastcnn.tensor([1.5, -2.0], dtype="bfloat16"))
    net.register_buffer("scalar", fastcnn.tensor(3, dtype="int64"))
    net.features[0].weight.requires_grad_(False)
    net.eval()
    twin = copy.deepcopy(net) if how == "deepcopy" else pickle.loads(pickle.dumps(net))
    assert twin.shared is twin.block and twin.shared is not net.block and not twin.training
    assert [n for n, _ in twin.named_parameters()] == [n for n, _ in net.named_parameters()]
    for a, b in zip(net.state_dict(keep_vars=True).values(), twin.state_dict(keep_vars=True).values()):
        assert type(a) is type(b) and a.strides == b.strides and a.requires_grad == b.requires_grad
        assert a.dtype == b.dtype and np.asarray(a.detach()).tobytes() == np.asarray(b.detach()).tobytes()
    assert set(twin.block._non_persistent) == {"scratch"}
    twin.block.mean.fill_(9.0)
    assert net.block.mean.tolist() == [0.0] * 3


def test_copies_of_computed_tensors_are_refused() -> None:
    p = nn.Parameter(fastcnn.ones(2))
    with pytest.raises(ValueError, match=r"deepcopy: got the result of .*expected a leaf"):
        copy.deepcopy(p * 2)
    with pytest.raises(ValueError, match="pickle: a meta tensor"):
        pickle.dumps(fastcnn.empty(2, device="meta"))


# ---- calling ------------------------------------------------------------------------------------------------


def test_errors_carry_the_path_of_the_layer() -> None:
    net = nn.Sequential(OrderedDict(body=Net()))
    with pytest.raises(ValueError, match=r"^in body\.features\.0 \(Conv2d\): conv2d: given groups=1"):
        net(fastcnn.zeros(1, 7, 5, 5))
    with pytest.raises(ValueError, match=r"^in features\.0 \(Conv2d\): conv2d"):
        net.body(fastcnn.zeros(1, 7, 5, 5))
    with pytest.raises(ValueError, match=r"^conv2d: given"):
        net.body.features[0](fastcnn.zeros(1, 7, 5, 5))

    class Own(nn.Module):
        def forward(self, x: Any) -> Any:
            raise KeyError("mine")

    with pytest.raises(KeyError, match=r"^'mine'$"):
        nn.Sequential(Own())(1)


def test_forward_hooks() -> None:
    m, log = nn.ReLU(), []
    first = m.register_forward_pre_hook(lambda mod, args: log.append("pre") or (args[0] + 1,))
    m.register_forward_hook(lambda mod, args, out: log.append(("post", args[0].tolist())) or out * 2)
    with m.register_forward_hook(
        lambda mod, args, kwargs, out: log.append(kwargs), with_kwargs=True, prepend=True
    ):
        assert m(fastcnn.tensor([1.0, -3.0])).tolist() == [4.0, 0.0]
    assert log == ["pre", {}, ("post", [2.0, -2.0])]
    first.remove()
    first.remove()
    log.clear()
    assert m(fastcnn.tensor([1.0, -3.0])).tolist() == [2.0, 0.0]
    assert log == [("post", [1.0, -3.0])]

    class Scaled(nn.Module):
        def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
            return x * factor

    s = Scaled()
    s.register_forward_pre_hook(lambda mod, args, kwargs: (args, {"factor": 5.0}), with_kwargs=True)
    assert s(fastcnn.ones(1), factor=2.0).tolist() == [5.0]


def test_backward_hooks_see_and_replace_gradients() -> None:
    m, log = nn.Sigmoid(), []
    m.register_full_backward_pre_hook(lambda mod, go: log.append(("pre", go[0].tolist())) or (go[0] * 2,))
    m.register_full_backward_hook(
        lambda mod, gi, go: log.append((gi[0].tolist(), go[0].tolist())) or (gi[0] * 10,)
    )
    x = fastcnn.tensor([0.0, 0.0], requires_grad=True)
    m(x).backward(fastcnn.ones(2))
    assert log == [("pre", [1.0, 1.0]), ([0.5, 0.5], [2.0, 2.0])]
    assert x.grad.tolist() == [5.0, 5.0]


def test_backward_hook_without_input_gradient() -> None:
    block, seen = Block(), []
    block.register_full_backward_hook(lambda mod, gi, go: seen.append((gi, go[0].shape)))
    with fastcnn.no_grad():
        block(fastcnn.ones(2, 3))
    assert not seen
    y = block(fastcnn.ones(2, 3))
    y.backward(fastcnn.ones(2, 3))
    assert seen == [((None,), (2, 3))] and block.scale.grad is not None


def test_hooks_of_tensors() -> None:
    x = fastcnn.tensor([1.0, 2.0], requires_grad=True)
    seen: list[Any] = []
    handle = x.register_hook(lambda g: seen.append(g.tolist()) or g * 10)
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.retain_grad()
    (y + x).backward(fastcnn.ones(2))
    assert seen == [[1.0, 1.0], [3.0, 3.0]]  # the leaf's hook gets the sum of both ways
    assert x.grad.tolist() == [30.0, 30.0] and y.grad.tolist() == [1.0, 1.0]
    handle.remove()
    assert fastcnn.grad((x * 2), x, fastcnn.ones(2))[0].tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="does not require a gradient"):
        fastcnn.ones(1).register_hook(print)
    bad = x * 1
    bad.register_hook(lambda g: fastcnn.ones(5))
    with pytest.raises(ValueError, match=r"hook: returned float32 \(5,\)"):
        bad.backward(fastcnn.ones(2))


def test_no_reference_cycles() -> None:
    """Memory must not depend on the garbage collector: a hooked call dies with its output."""
    net = Net()
    net.block.register_full_backward_hook(lambda *a: None)
    gc.collect()
    gc.disable()
    try:
        before = fastcnn.memory.allocated_bytes()
        y = net(image())
        del y
        assert fastcnn.memory.allocated_bytes() == before
        twin = copy.deepcopy(net)
        del twin
        assert fastcnn.memory.allocated_bytes() == before
    finally:
        gc.enable()


# ---- containers ---------------------------------------------------------------------------------------------


def test_sequential() -> None:
    s = nn.Sequential(nn.ReLU(), nn.Sigmoid())
    s.append(nn.Tanh()).insert(1, nn.Identity()).extend([nn.ELU()])
    names = [type(m).__name__ for m in s]
    assert names == ["ReLU", "Identity", "Sigmoid", "Tanh", "ELU"] and list(s._modules) == list("01234")
    assert isinstance(s[1:3], nn.Sequential) and list(s[1:3]._modules) == ["1", "2"] and s[1:3][0] is s[1]
    del s[1]
    assert list(s._modules) == list("0123") and type(s[1]).__name__ == "Sigmoid"
    s[-1] = nn.Softsign()
    assert type(s.pop(-1)).__name__ == "Softsign" and len(s) == 3
    assert len(s + s) == 6
    with pytest.raises(IndexError, match="index 5 is out of range, expected -3 to 2"):
        _ = s[5]
    with pytest.raises(TypeError, match="expected a Module or None"):
        nn.Sequential(3)


def test_lists_and_dicts() -> None:
    items = nn.ModuleList([nn.ReLU()]) + [nn.Tanh()]
    items += [nn.ELU()]
    assert len(items) == 3 and type(items[-1]).__name__ == "ELU" and len(items[:2]) == 2
    with pytest.raises(TypeError, match="ModuleList: forward is not defined"):
        items(1)
    table = nn.ModuleDict({"a": nn.ReLU()})
    table["b"] = nn.Tanh()
    assert list(table) == ["a", "b"] and "a" in table and len(table) == 2
    assert type(table.pop("a")).__name__ == "ReLU" and list(table.keys()) == ["b"]
    with pytest.raises(KeyError, match="attribute 'keys' exists already"):
        table["keys"] = nn.ReLU()
    parameters = nn.ParameterList([fastcnn.ones(2), nn.Parameter(fastcnn.zeros(3))])
    parameters += [fastcnn.ones(1)]
    assert [p.shape for p in parameters] == [(2,), (3,), (1,)] and len(list(parameters.parameters())) == 3
    by_name = nn.ParameterDict({"x": fastcnn.ones(2)})
    by_name["y"] = fastcnn.zeros(1)
    assert list(by_name.state_dict()) == ["x", "y"] and by_name["x"].requires_grad
    assert "(x): Parameter containing: [float32 of size 2]" in repr(by_name)


# ---- memory -------------------------------------------------------------------------------------------------


def test_parameters_and_buffers_hold_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hold has one drop: when a parameter dies or changes memory, when a buffer is replaced."""
    from fastcnn.nn import module as module_file
    from fastcnn.nn import parameter as parameter_file

    balance = {"parameter": 0, "buffer": 0}

    class Counting:
        @staticmethod
        def hold(t: Tensor, category: str) -> None:
            balance[category] += 1

        @staticmethod
        def drop(t: Tensor, category: str) -> None:
            balance[category] -= 1

    monkeypatch.setattr(parameter_file, "_hold", Counting.hold)
    monkeypatch.setattr(parameter_file, "_drop", Counting.drop)
    monkeypatch.setattr(module_file, "_hold", Counting.hold)
    monkeypatch.setattr(module_file, "_drop", Counting.drop)
    gc.collect()
    balance.update(parameter=0, buffer=0)
    block = Block()
    assert balance == {"parameter": 1, "buffer": 2}
    block.double()
    block.mean = fastcnn.ones(3)
    assert balance == {"parameter": 1, "buffer": 2}
    block.scratch = None
    assert balance == {"parameter": 1, "buffer": 1}
    del block
    assert balance == {"parameter": 0, "buffer": 0}
