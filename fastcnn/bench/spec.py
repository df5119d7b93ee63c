"""Convolution problems in benchdnn's notation: ``mb8ic64ih56oc64kh3ph1n"resnet.layer1"``.

``mb`` batch, ``g`` groups, ``ic`` and ``oc`` channels, then per axis (``d``, ``h``, ``w``) ``i`` input, ``o`` output,
``k`` kernel, ``s`` stride, ``p`` low padding, ``d`` dilation minus 1. Left out: batch, groups and stride 1, padding and
dilation 0; an axis takes the values of the next one outward (w of h, h of d). The high padding follows from the output
size, and is the low one where that is left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_KEYS = ("mb", "g", "ic", "oc", *(f"{k}{a}" for k in "ioksdp" for a in "dhw"))


class ConvSpec(NamedTuple):
    """A convolution: spatial tuples have one entry per axis (1 to 3 of them)."""

    N: int
    C: int
    K: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    name: str = ""

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.N, self.C, *self.size)

    @property
    def w_shape(self) -> tuple[int, ...]:
        return (self.K, self.C // self.groups, *self.kernel)

    @property
    def out(self) -> tuple[int, ...]:
        axes = zip(self.size, self.kernel, self.stride, self.padding, self.dilation)
        return tuple((n + low + high - d * (k - 1) - 1) // s + 1 for n, k, s, (low, high), d in axes)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.N, self.K, *self.out)

    @property
    def flops(self) -> float:
        """Multiplications and additions of one pass, padding counted."""
        total = 2.0 * self.N * self.K * (self.C // self.groups)
        for n in (*self.out, *self.kernel):
            total *= n
        return total

    @property
    def bytes(self) -> float:
        """The three tensors, each once, in float32."""
        total = 0.0
        for shape in (self.x_shape, self.w_shape, self.y_shape):
            count = 4.0
            for n in shape:
                count *= n
            total += count
        return total

    def __str__(self) -> str:
        letters = "dhw"[-len(self.size) :]
        text = f"mb{self.N}" + (f"g{self.groups}" if self.groups > 1 else "") + f"ic{self.C}oc{self.K}"
        low, high = zip(*self.padding)
        outputs = self.out if low != high else None
        keys = (
            ("i", self.size, None), ("o", outputs, None), ("k", self.kernel, None), ("s", self.stride, 1),
            ("p", low, 0), ("d", tuple(d - 1 for d in self.dilation), 0),
        )  # fmt: skip
        for key, values, default in keys:
            if values is None or all(v == default for v in values):
                continue
            if len(set(values)) == 1 and len(values) > 1 and key != "i":
                letters_of = letters[:1]
            else:
                letters_of = letters
            square = key == "i" and len(set(values[-2:])) == 1 and letters in ("hw", "dhw")
            for a, v in zip(letters_of, values):
                if not (square and a == "w"):
                    text += f"{key}{a}{v}"
        return text + (f'n"{self.name}"' if self.name else "")


def parse(text: str) -> ConvSpec:
    """Reads one problem; ValueError with what is wrong and an example."""
    match = re.fullmatch(r'((?:[a-z]+\d+_?)*)(?:n"([^"]*)")?', text.strip())
    if match is None or not match[1]:
        raise ValueError(f'problem: cannot read {text!r}, expected for example mb8ic64ih56oc64kh3ph1n"name"')
    values: dict[str, int] = {}
    for key, number in re.findall(r"([a-z]+)(\d+)", match[1]):
        if key not in _KEYS:
            raise ValueError(f"problem: unknown key {key!r} in {text!r}, expected {', '.join(_KEYS)}")
        values[key] = int(number)
    missing = [k for k in ("ic", "oc") if k not in values]
    missing += [] if any(k in values for k in ("iw", "ih", "id")) else ["ih or iw"]
    missing += [] if any(k in values for k in ("kw", "kh", "kd")) else ["kh or kw"]
    if missing:
        raise ValueError(f"problem: {text!r} lacks {', '.join(missing)}")
    axes = "dhw" if "id" in values else "hw" if "ih" in values else "w"

    def of(kind: str, axis: str, default: int | None) -> int | None:
        for a in (axis, *{"d": "hw", "h": "wd", "w": "hd"}[axis]):
            if a in axes and f"{kind}{a}" in values:
                return values[f"{kind}{a}"]
        return default

    size, kernel, stride, dilation, padding = [], [], [], [], []
    for a in axes:
        i, k, s, d, p = of("i", a, None), of("k", a, None), of("s", a, 1), of("d", a, 0), of("p", a, 0)
        o = of("o", a, None)
        assert i is not None and k is not None and s and d is not None and p is not None
        reach = (d + 1) * (k - 1) + 1
        high = p
        if o is not None and o != (i + 2 * p - reach) // s + 1:  # not the symmetric padding
            high = (o - 1) * s + reach - i - p
        size.append(i)
        kernel.append(k)
        stride.append(s)
        dilation.append(d + 1)
        padding.append((p, max(high, 0)))
    return ConvSpec(
        values.get("mb", 1), values["ic"], values["oc"], tuple(size), tuple(kernel), tuple(stride), tuple(padding),
        tuple(dilation), values.get("g", 1), match[2] or "",
    )  # fmt: skip
