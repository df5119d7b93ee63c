"""Named sets of convolutions: every distinct layer of a network, found by running the network on the meta twin."""

from __future__ import annotations

from fastcnn.bench.spec import ConvSpec, parse

#: set -> (model, batch size)
SETS = {
    "lenet": ("lenet5", 64),
    "mnist": ("mnist_cnn", 64),
    "vgg16": ("vgg16", 8),
    "resnet18": ("resnet18", 8),
    "resnet50": ("resnet50", 8),
    "mobilenet_v1": ("mobilenet_v1", 8),
    "mobilenet_v2": ("mobilenet_v2", 8),
    "unet": ("unet", 8),
}


class Layer(tuple[ConvSpec, int, bool]):
    """(problem, how often it occurs, whether it is the first layer, which needs no gradient of its input)."""

    __slots__ = ()

    @property
    def spec(self) -> ConvSpec:
        return self[0]

    @property
    def count(self) -> int:
        return self[1]

    @property
    def first(self) -> bool:
        return self[2]


def model_layers(name: str, batch: int) -> list[Layer]:
    """The distinct convolutions of a model of :data:`fastcnn.models.CATALOGUE`, in the order in which they run."""
    import fastcnn
    from fastcnn import models, nn

    found: dict[ConvSpec, int] = {}
    names: dict[ConvSpec, str] = {}
    with fastcnn.device("meta"):
        model = models.build(name).eval()

    def record(path: str):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, args: tuple[fastcnn.Tensor, ...]) -> None:
            shape = args[0].shape
            padding = tuple((p, p) for p in module.padding)
            spec = ConvSpec(
                batch, module.in_channels, module.out_channels, shape[2:], module.kernel_size, module.stride, padding,
                module.dilation, module.groups,
            )  # fmt: skip
            found[spec] = found.get(spec, 0) + 1
            names.setdefault(spec, f"{name}.{path}")

        return hook

    for path, module in model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            module.register_forward_pre_hook(record(path))
    with fastcnn.no_grad():
        model(fastcnn.empty(batch, *models.CATALOGUE[name].sample_shape, device="meta"))
    first = next(iter(found))
    return [Layer((s._replace(name=names[s]), n, s == first)) for s, n in found.items()]


def layers(text: str, batch: int | None = None) -> list[Layer]:
    """What `--set`, `--problem` and `--file` accept: set names with commas, a literal problem, a file of problems."""
    import os

    if text in SETS or ("," in text and all(t in SETS for t in text.split(","))):
        out = []
        for name in text.split(","):
            model, usual = SETS[name]
            out += model_layers(model, usual if batch is None else batch)
        return out
    if os.path.isfile(text):
        with open(text, encoding="utf-8") as file:
            lines = [line.split("#")[0].strip() for line in file]
        specs = [parse(line) for line in lines if line]
    elif text[:1].isalpha() and any(c.isdigit() for c in text) and "ic" in text:
        specs = [parse(text)]
    else:
        raise ValueError(
            f"bench: {text!r} is neither a set ({', '.join(SETS)}), a problem (mb8ic64...) nor a file"
        )
    return [Layer((s if batch is None else s._replace(N=batch), 1, False)) for s in specs]
