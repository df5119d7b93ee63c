"""The case catalogue: one list per problem kind, shared by tests, selftest, benchmarks and memory checks.

Shapes are small, so that every algorithm, pass, instruction set and dtype can run each of them, and awkward on
purpose: edges of register tiles and vectors, taps that only see padding, strides that skip input, empty extents.
Sizes that matter for speed are in the benchmarks.
"""

from __future__ import annotations

from typing import NamedTuple

Pairs = tuple[tuple[int, int], ...]


class ConvCase(NamedTuple):
    """A convolution: x (N, C, *size), w (K, C/groups, *kernel); every spatial tuple has one entry per axis."""

    name: str
    N: int
    C: int
    K: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs  # (low, high)
    groups: int = 1
    mode: str = "zeros"
    bias: bool = False

    @property
    def axes(self) -> int:
        return len(self.size)

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.N, self.C, *self.size)

    @property
    def w_shape(self) -> tuple[int, ...]:
        return (self.K, self.C // self.groups, *self.kernel)

    @property
    def out(self) -> tuple[int, ...]:
        return tuple(
            (n + low + high - d * (k - 1) - 1) // s + 1
            for n, k, s, d, (low, high) in zip(
                self.size, self.kernel, self.stride, self.dilation, self.padding
            )
        )

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.N, self.K, *self.out)

    @property
    def reduction(self) -> int:
        """Terms in one output element."""
        terms = self.C // self.groups
        for k in self.kernel:
            terms *= k
        return terms

    def keywords(self) -> dict[str, object]:
        """For fastcnn.functional.conv*d."""
        return dict(
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.mode,
        )


class PoolCase(NamedTuple):
    """A pooling window over (N, C, *size). `kind` is "max" or "avg"; the last three fields concern "avg" only."""

    name: str
    kind: str
    N: int
    C: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


class LinearCase(NamedTuple):
    """y (*lead, K) = x (*lead, C) w (K, C)^T + bias (K,)."""

    name: str
    lead: tuple[int, ...]
    C: int
    K: int
    bias: bool = True


def _pairs(padding: object, axes: int) -> Pairs:
    if isinstance(padding, int):
        return ((padding, padding),) * axes
    return tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)  # type: ignore[attr-defined]


def conv(name: str, N: int, C: int, K: int, size: object, kernel: object, stride: object = 1, padding: object = 0,
         dilation: object = 1, groups: int = 1, mode: str = "zeros", bias: bool = False) -> ConvCase:  # fmt: skip
    """A ConvCase from short forms; the number of axes is that of `size`."""
    size = (size,) if isinstance(size, int) else tuple(size)  # type: ignore[call-overload]
    axes = len(size)

    def each(v: object) -> tuple[int, ...]:
        return (v,) * axes if isinstance(v, int) else tuple(v)  # type: ignore[call-overload]

    return ConvCase(
        name, N, C, K, size, each(kernel), each(stride), each(dilation), _pairs(padding, axes), groups, mode, bias
    )  # fmt: skip


CONV: tuple[ConvCase, ...] = (
    # ---- 2-D, plain ----
    conv("3x3", 2, 4, 5, (7, 8), 3, bias=True),
    conv("3x3 same", 2, 16, 32, (9, 7), 3, padding=1),
    conv("first layer", 2, 3, 16, (12, 11), 3, padding=1, bias=True),
    conv("stem 7x7 s2", 1, 3, 17, (15, 13), 7, stride=2, padding=3),
    conv("1x1", 2, 8, 24, (6, 5), 1, bias=True),
    conv("1x1 s2", 2, 8, 9, (7, 8), 1, stride=2),
    conv("1x1 padded", 1, 3, 4, (4, 5), 1, padding=1, bias=True),
    conv("kernel is input", 3, 4, 6, (5, 4), (5, 4)),
    conv("one element", 1, 1, 1, (1, 1), 1, bias=True),
    conv("one pixel, many channels", 2, 33, 17, (1, 1), 1),
    conv("tile edges", 1, 17, 33, (7, 14), 3, padding=1),
    conv("deep sum", 1, 130, 3, (4, 4), 3, padding=1),
    conv("more pixels than a block", 2, 2, 3, (12, 17), 3, padding=1, bias=True),
    conv("wide row", 1, 2, 3, (1, 203), (1, 5), padding=((0, 0), (2, 2))),
    conv("tall column", 1, 2, 3, (131, 1), (4, 1)),
    # ---- kernels that are not square or not odd ----
    conv("2x2", 2, 3, 4, (5, 5), 2),
    conv("even same (0,1)", 1, 2, 3, (6, 6), 2, padding=((0, 1), (0, 1))),
    conv("1x7", 1, 3, 5, (4, 9), (1, 7), padding=((0, 0), (3, 3))),
    conv("5x2", 2, 3, 2, (6, 5), (5, 2)),
    # ---- strides, dilations, pads ----
    conv("s2", 2, 5, 6, (9, 8), 3, stride=2, padding=1),
    conv("s2 tiles of all sizes", 1, 19, 17, (13, 8), 3, stride=2, padding=1, bias=True),
    conv("s2 unpadded", 1, 3, 5, (10, 15), 3, stride=2),
    conv("s2x3", 1, 3, 4, (9, 11), 3, stride=(2, 3), padding=(1, 0)),
    conv("stride above kernel", 2, 3, 4, (9, 10), 2, stride=4),
    conv("stride above kernel, padded", 1, 2, 3, (7, 8), (1, 2), stride=(3, 5), padding=((1, 2), (0, 1))),
    conv("rows left over", 1, 2, 2, (8, 8), 3, stride=3),
    conv("dilation 2", 1, 4, 3, (9, 9), 3, padding=2, dilation=2),
    conv("dilation 3x2 s2", 2, 2, 3, (12, 9), (3, 2), stride=2, padding=((3, 0), (0, 2)), dilation=(3, 2)),
    conv("asymmetric", 1, 3, 4, (5, 6), 3, padding=((0, 2), (3, 1)), bias=True),
    conv("pad is kernel", 1, 2, 3, (4, 4), 3, padding=3),
    conv("pad above kernel", 1, 2, 2, (3, 2), 2, stride=2, padding=((4, 5), (3, 2))),
    conv("every window in the padding", 1, 2, 3, (2, 2), 1, stride=5, padding=((1, 5), (2, 6))),
    # ---- groups ----
    conv("groups 2", 2, 6, 4, (6, 5), 3, padding=1, groups=2, bias=True),
    conv("groups 3 s2 d2", 1, 9, 6, (9, 9), 2, stride=2, dilation=2, groups=3),
    conv("groups 1x1", 2, 8, 12, (3, 5), 1, groups=4),
    conv("depthwise", 2, 19, 19, (7, 6), 3, padding=1, groups=19, bias=True),
    conv("depthwise s2", 1, 8, 8, (9, 8), 3, stride=2, padding=1, groups=8),
    conv("depthwise 5x5 d2", 1, 3, 3, (11, 10), 5, padding=4, dilation=2, groups=3),
    conv("depthwise d2, four pixels at a time", 1, 19, 19, (6, 17), 3, padding=2, dilation=2, groups=19),
    conv("depthwise asymmetric", 1, 5, 5, (4, 6), (2, 3), stride=(2, 1), padding=((1, 0), (0, 2)), groups=5),
    conv("depthwise, multiplier 2", 2, 4, 8, (6, 6), 3, padding=1, groups=4),
    conv("depthwise vector edge", 1, 33, 33, (5, 5), 3, padding=1, groups=33),
    conv("depthwise 1x1", 2, 6, 6, (3, 4), 1, groups=6, bias=True),
    # 512 channels: pixels fall on few sets of a cache, so lines are copied
    conv("depthwise crowded", 2, 512, 512, (6, 5), 3, padding=1, groups=512, bias=True),
    conv("depthwise crowded s2", 1, 512, 512, (9, 7), 3, stride=2, padding=1, groups=512),
    conv("depthwise very crowded s2", 1, 1024, 1024, (9, 7), 3, stride=2, padding=1, groups=1024),
    conv("depthwise crowded circular", 1, 512, 512, (5, 4), 3, padding=1, groups=512, mode="circular"),
    conv("3d depthwise crowded", 1, 512, 512, (3, 4, 3), 2, padding=1, groups=512),
    # ---- padding modes ----
    conv("reflect", 1, 3, 4, (5, 6), 3, padding=((2, 1), (1, 3)), mode="reflect"),
    conv("replicate", 2, 2, 3, (3, 4), 3, padding=((4, 1), (0, 5)), mode="replicate", bias=True),
    conv("circular", 1, 3, 4, (4, 5), 3, padding=((4, 1), (2, 5)), mode="circular"),
    conv("reflect s2 d2", 1, 2, 3, (8, 7), 3, stride=2, padding=2, dilation=2, mode="reflect"),
    conv("circular depthwise", 1, 4, 4, (5, 5), 3, padding=1, groups=4, mode="circular"),
    conv("replicate one pixel", 1, 2, 2, (1, 1), 3, padding=1, mode="replicate"),
    # ---- 1-D and 3-D ----
    conv("1d", 2, 5, 7, 13, 3, padding=1, bias=True),
    conv("1d s3 d2 asymmetric", 2, 4, 3, 17, 4, stride=3, padding=((2, 5),), dilation=2),
    conv("1d depthwise", 2, 6, 6, 20, 5, padding=2, groups=6),
    conv("1d circular", 1, 2, 3, 6, 3, padding=((6, 4),), mode="circular"),
    conv("1d 1x1", 2, 3, 5, 8, 1),
    conv("3d", 1, 3, 4, (4, 5, 6), 3, padding=1, bias=True),
    conv("3d s2", 2, 2, 3, (5, 4, 6), (2, 3, 1), stride=(2, 1, 2), padding=((0, 1), (1, 1), (0, 0))),
    conv("3d d2 groups", 1, 4, 6, (5, 6, 5), 2, dilation=(2, 1, 3), groups=2),
    conv("3d depthwise", 1, 5, 5, (3, 4, 5), 3, padding=1, groups=5),
    conv("3d replicate", 1, 2, 2, (2, 3, 2), (3, 2, 2), padding=((1, 2), (0, 1), (1, 0)), mode="replicate"),
    conv("3d 1x1", 1, 4, 5, (2, 3, 4), 1),
    # ---- nothing in some extent ----
    conv("no batch", 0, 3, 4, (5, 5), 3, padding=1, bias=True),
    conv("no channels", 2, 0, 3, (4, 5), 3, padding=1, bias=True),
    conv("no rows", 2, 3, 4, (0, 3), 3, padding=2, bias=True),
    conv("no pixels", 1, 2, 3, (0, 0), 1, padding=1),
    conv("1d no batch", 0, 2, 3, 4, 2),
    conv("3d no depth", 1, 2, 2, (0, 2, 2), (1, 2, 2), padding=((1, 0), (0, 0), (1, 1))),
)  # fmt: skip


def pool(name: str, kind: str, N: int, C: int, size: object, kernel: object, stride: object = None,
         padding: object = 0, dilation: object = 1, **more: object) -> PoolCase:  # fmt: skip
    """A PoolCase from short forms; stride None is the kernel."""
    size = (size,) if isinstance(size, int) else tuple(size)  # type: ignore[call-overload]

    def each(v: object) -> tuple[int, ...]:
        return (v,) * len(size) if isinstance(v, int) else tuple(v)  # type: ignore[arg-type,call-overload]

    return PoolCase(
        name, kind, N, C, size, each(kernel), each(kernel if stride is None else stride), each(padding),
        each(dilation), **more,
    )  # fmt: skip


POOL: tuple[PoolCase, ...] = (
    pool("max 2x2", "max", 2, 5, (6, 8), 2),
    pool("max 2x2 odd", "max", 1, 17, (7, 9), 2),
    pool("max 3x3 s2 p1", "max", 2, 33, (9, 8), 3, stride=2, padding=1),
    pool("max overlapping", "max", 1, 3, (6, 7), 3, stride=1, padding=1),
    pool("max dilated", "max", 1, 4, (9, 10), 3, stride=2, padding=1, dilation=2),
    pool("max ceil", "max", 1, 2, (7, 6), 3, stride=2, ceil_mode=True),
    pool("max ceil, last window dropped", "max", 1, 2, (5, 5), 2, stride=3, padding=1, ceil_mode=True),
    pool("max kernel is input", "max", 2, 3, (4, 5), (4, 5)),
    pool("max stride above kernel", "max", 1, 3, (9, 9), 2, stride=4),
    pool("max more than 256 taps", "max", 1, 2, (20, 20), 17, stride=3),
    pool("max 1x1", "max", 1, 2, (3, 3), 1),
    pool("max 1d", "max", 2, 3, 11, 3, stride=2, padding=1),
    pool("max 3d", "max", 1, 3, (4, 5, 6), (2, 3, 2), stride=(2, 1, 2), padding=(1, 1, 0)),
    pool("max no batch", "max", 0, 3, (4, 4), 2),
    pool("max no channels", "max", 2, 0, (4, 4), 2),
    pool("avg 2x2", "avg", 2, 5, (6, 8), 2),
    pool("avg 3x3 s2 p1", "avg", 2, 33, (9, 8), 3, stride=2, padding=1),
    pool("avg without pad", "avg", 1, 3, (7, 8), 3, stride=2, padding=1, count_include_pad=False),
    pool("avg ceil", "avg", 1, 4, (6, 7), 3, stride=2, padding=1, ceil_mode=True),
    pool("avg ceil without pad", "avg", 1, 4, (6, 7), 3, stride=2, padding=1, ceil_mode=True,
         count_include_pad=False),
    pool("avg divisor", "avg", 1, 2, (5, 5), 2, stride=1, divisor_override=3),
    pool("avg negative divisor", "avg", 1, 2, (5, 5), 2, stride=1, divisor_override=-2),
    pool("avg kernel is input", "avg", 2, 3, (4, 5), (4, 5)),
    pool("avg 1d", "avg", 2, 3, 11, 3, stride=2, padding=1),
    pool("avg 3d", "avg", 1, 3, (4, 5, 6), 2, stride=(2, 1, 2), padding=(1, 0, 1)),
    pool("avg no batch", "avg", 0, 3, (4, 4), 2),
)  # fmt: skip

LINEAR: tuple[LinearCase, ...] = (
    LinearCase("plain", (4,), 7, 5),
    LinearCase("one element", (1,), 1, 1),
    LinearCase("no bias", (3,), 16, 16, bias=False),
    LinearCase("classifier", (32,), 128, 10),
    LinearCase("tile edges", (17,), 33, 49),
    LinearCase("deep sum", (2,), 1031, 3),
    LinearCase("one row", (1,), 100, 37),
    LinearCase("vector", (), 6, 4),
    LinearCase("extra axes", (2, 3, 5), 4, 6),
    LinearCase("no batch", (0,), 3, 4),
    LinearCase("no inputs", (3,), 0, 4),
)


def conv_case(name: str) -> ConvCase:
    """The catalogue's case of that name."""
    return next(c for c in CONV if c.name == name)
