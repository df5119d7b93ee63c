"""The architectures: published parameter counts, torchvision's names, output shapes, one training step each."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import fastcnn
from fastcnn import models, nn, optim

# SHA-256 over the lines "name (shape)" of torchvision 0.24's state_dict.
TORCHVISION = {
    "alexnet": "214045a0c08ffc98ff336e7ee348039c2e2bb93a04b93a56d14e322a2b59928c",
    "vgg11": "a4a2a4a84e73de05a2fb6869320ae9b0cf602896d293acd8b57cd2308d58be35",
    "vgg13": "9dc9518e7646fe4778181141fb0e3c16f32dcad7ba283a6c8db174b621fac5b6",
    "vgg16": "6f36a6fd49b61819fe3429a1d054b4aed43d5607734cb122547b4e09a5b717a1",
    "vgg19": "e05a894c9ad1325173cf05b938c67b446817c3a103b60ef3617e85b7a06d9026",
    "resnet18": "761022b221a39ceb0afbf6540088f2c88938ca83e3adf823383af010f42a10c3",
    "resnet34": "1a060acae7a42530781fa7013ea03dae3b11715076d9e3c04fdb6c70ddceb544",
    "resnet50": "3fa57287149b51c43a043a424dcd918aaa5a894c977b50e35a9154f41f9c8fd0",
    "resnet101": "0e9191dd134cb07d7d14b0502545020b49f200c87fa62369fd7a6c70ca9c2aef",
    "resnet152": "47360b6062c7afaa4637676cdcf1afde20d68c0eedec75d9aaa7b530641441fe",
    "mobilenet_v2": "5c45000c8dea04dbc07d2038c9b43d2aac4b77dad25001a7e10fc6fb67ffdd1e",
    "squeezenet1_0": "dc8fa2e3e593554cce0c69cce2b86d49f4f61263adfec5397fd1f42cfd7a6ca6",
    "squeezenet1_1": "9879b1f214fa02449e826cba2451198b8346abcf7972d5e8a9a3bbd8e2745498",
    "googlenet": "2da49e8b3dc68c7ddb27e016cba3e70990f4bb56b9db574c9e40aa23970e9a4a",
}


def names(model: nn.Module) -> str:
    text = "".join(f"{name} {tuple(t.shape)}\n" for name, t in model.state_dict().items())
    return hashlib.sha256(text.encode()).hexdigest()


def on_meta(name: str, **arguments: object) -> nn.Module:
    with fastcnn.device("meta"):
        return models.build(name, **arguments)


@pytest.mark.parametrize("name", models.CATALOGUE)
def test_parameter_count(name: str):
    entry = models.CATALOGUE[name]
    assert sum(p.numel() for p in on_meta(name).parameters()) == entry.parameters


@pytest.mark.parametrize("name", TORCHVISION)
def test_state_dict_is_torchvisions(name: str):
    assert names(on_meta(name)) == TORCHVISION[name]


def test_variants_of_torchvision():
    assert names(on_meta("vgg11", batch_norm=True)) == (
        "6aaf84aad41592008d4af2f8726fff3e95c8c06bf4825c90118141f2651c1c2a"
    )
    auxiliary = on_meta("googlenet", aux_logits=True)
    assert names(auxiliary) == "e2cf6c5ea7661faddd21ef8021b3150a0ce368e1d2a952fdeba8db9444c62064"
    outputs = auxiliary(fastcnn.empty(2, 3, 224, 224, device="meta"))
    assert [t.shape for t in outputs] == [(2, 1000)] * 3
    assert auxiliary.eval()(fastcnn.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize("name", models.CATALOGUE)
def test_output_shape(name: str):
    entry = models.CATALOGUE[name]
    y = on_meta(name)(fastcnn.empty(2, *entry.sample_shape, device="meta"))
    classes = {"digits_cnn": 10, "lenet5": 10, "mnist_cnn": 10, "nin": 10, "c3d": 487}.get(name, 1000)
    assert y.shape == ((2, 2, 256, 256) if name == "unet" else (2, classes))


# The smallest input that each accepts, with few classes, so that a step is quick.
SMALL = {
    "digits_cnn": ((1, 8, 8), {}),
    "lenet5": ((1, 28, 28), {}),
    "mnist_cnn": ((1, 28, 28), {}),
    "nin": ((3, 32, 32), {}),
    "squeezenet1_0": ((3, 40, 40), {}),
    "squeezenet1_1": ((3, 40, 40), {}),
    "mobilenet_v1": ((3, 32, 32), {"width": 0.25}),
    "mobilenet_v2": ((3, 32, 32), {"width": 0.25}),
    "googlenet": ((3, 32, 32), {}),
    "resnet18": ((3, 32, 32), {}),
    "resnet50": ((3, 32, 32), {}),
    "unet": ((3, 20, 19), {"width": 8}),
    "vgg11": ((3, 32, 32), {"image_size": 32}),
}


@pytest.mark.parametrize("name", SMALL)
def test_trains_one_step(name: str):
    shape, arguments = SMALL[name]
    fastcnn.manual_seed(1)
    classes = {} if name == "unet" else {"num_classes" if name != "digits_cnn" else "classes": 5}
    model = models.build(name, **classes, **arguments)
    rng = np.random.default_rng(0)
    x = fastcnn.tensor(rng.standard_normal((3, *shape), dtype=np.float32))
    y = model(x)
    target = rng.integers(0, y.shape[1], (3, *y.shape[2:]))
    before = {k: np.array(v) for k, v in model.state_dict().items()}
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    loss = nn.CrossEntropyLoss()(y, fastcnn.tensor(target))
    loss.backward()
    optimizer.step()
    assert np.isfinite(loss.item())
    after = model.state_dict()
    trained = [name for name, _ in model.named_parameters()]
    still = [k for k in trained if np.array_equal(before[k], np.asarray(after[k]))]
    assert not still, f"not trained: {still}"


def test_same_seed_same_weights():
    def weights() -> bytes:
        fastcnn.manual_seed(7)
        return b"".join(np.asarray(v).tobytes() for v in models.resnet18(num_classes=3).state_dict().values())

    assert weights() == weights()


def test_errors():
    with pytest.raises(
        ValueError, match=r"there is no model 'resnet', expected one of digits_cnn, .*resnet50"
    ):
        models.build("resnet")
    with pytest.raises(ValueError, match=r"VGG: depth is 12, expected one of \(11, 13, 16, 19\)"):
        models.VGG(12)
    with pytest.raises(ValueError, match="image_size is 64, expected 32 or 224"):
        models.vgg11(image_size=64)
    with pytest.raises(ValueError, match="version is '2', expected '1_0' or '1_1'"):
        models.SqueezeNet("2")
    with pytest.raises(ValueError, match=r"device: .*'gpu'"), fastcnn.device("gpu"):
        pass


def test_device_context_goes_back():
    def fail() -> None:
        with fastcnn.device("meta"):
            assert nn.Linear(2, 3).weight.device == "meta"
            assert nn.BatchNorm2d(2).running_mean.device == "meta"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert nn.Linear(2, 3).weight.device == "cpu"
