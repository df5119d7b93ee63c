"""Initial values for weights: ``nn.init`` of torch (in-place, returning the tensor) and the variants of TensorFlow.

Values are drawn in float64 on the host and rounded once, so they are the same on every device. On a meta tensor
nothing happens. A weight has shape (K, C/groups, kernel...), hence fan_in = C/groups * taps and fan_out = K * taps.
"""

from __future__ import annotations

import math

import numpy as np

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.random import HostDraws, default_generator
from fastcnn.tensor import from_numpy

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "fan", "he_normal_", "he_uniform_", "kaiming_normal_",
    "kaiming_uniform_", "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_",
    "variance_scaling_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip


def _generator() -> HostDraws:
    return HostDraws(default_generator)


def _is_meta(t: Tensor) -> bool:
    return t.device.startswith("meta")


def _write(t: Tensor, values: np.ndarray) -> Tensor:
    if not _is_meta(t):
        _core.copy_(t, from_numpy(np.ascontiguousarray(values)))
    return t


def fan(t: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight with at least two axes."""
    if t.ndim < 2:
        raise ValueError(
            f"fan: got shape {t.shape}, expected a weight with at least 2 axes (outputs, inputs, ...)"
        )
    taps = math.prod(t.shape[2:])
    return t.shape[1] * taps, t.shape[0] * taps


def _fan_of(t: Tensor, mode: str, op: str) -> float:
    fan_in, fan_out = fan(t)
    sizes = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    if mode.lower() not in sizes:
        raise ValueError(f"{op}: mode is {mode!r}, expected one of {', '.join(sizes)}")
    return sizes[mode.lower()]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which an activation's weights should be larger: sqrt(2) for ReLU, 5/3 for tanh (as torch)."""
    linear = ("linear", "sigmoid", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))
    if nonlinearity in linear:
        return 1.0
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    known = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in known:
        raise ValueError(
            f"calculate_gain: nonlinearity is {nonlinearity!r}, expected leaky_relu or one of "
            f"{', '.join((*linear, *known))}"
        )
    return known[nonlinearity]


# ---- plain distributions and patterns -----------------------------------------------------------------------


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """U(a, b)."""
    if not a <= b:
        raise ValueError(f"uniform_: got a {a} and b {b}, expected a <= b")
    return tensor if _is_meta(tensor) else _write(tensor, a + (b - a) * _generator().random(tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """N(mean, std^2)."""
    if not std >= 0:
        raise ValueError(f"normal_: std is {std}, expected a number >= 0")
    return (
        tensor
        if _is_meta(tensor)
        else _write(tensor, mean + std * _generator().standard_normal(tensor.shape))
    )


def _truncated(count: int, low: float, high: float) -> np.ndarray:
    """`count` standard normal values inside [low, high], by rejection from whichever proposal wastes less."""
    draw = _generator()
    mass = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    nearest = min(max(0.0, low), high)  # where the density is highest
    # Beyond 10 from the peak of a tail the density is below 1e-21 of it.
    first, last = max(low, nearest - 10), min(high, nearest + 10)
    out = np.empty(0)
    while out.size < count:
        wanted = count - out.size
        if mass > 0.25:
            x = draw.standard_normal(wanted + wanted // 2 + 16)
            x = x[(x >= low) & (x <= high)]
        else:
            x = first + (last - first) * draw.random(4 * wanted + 16)
            x = x[draw.random(x.size) <= np.exp((nearest**2 - x**2) / 2)]
        out = np.concatenate((out, x[:wanted]))
    return out


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """N(mean, std^2) conditioned on [a, b]; the bounds are values, not multiples of std."""
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: got std {std}, a {a}, b {b}, expected std > 0 and a < b")
    if _is_meta(tensor):
        return tensor
    values = mean + std * _truncated(tensor.numel(), (a - mean) / std, (b - mean) / std)
    return _write(tensor, np.clip(values, a, b).reshape(tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element `val`."""
    _core.fill_(tensor, float(val))
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix, also for a matrix that is not square."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: got shape {tensor.shape}, expected a matrix")
    return _write(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight that passes its channels on unchanged (with "same" padding), within each group."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"dirac_: got shape {tensor.shape}, expected a convolution weight of 3 to 5 axes")
    if groups < 1 or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: {tensor.shape[0]} filters cannot be cut into {groups} groups")
    values = np.zeros(tensor.shape)
    per_group = tensor.shape[0] // groups
    centre = tuple(s // 2 for s in tensor.shape[2:])
    for k in range(tensor.shape[0]):
        if k % per_group < tensor.shape[1]:
            values[(k, k % per_group, *centre)] = 1.0
    return _write(tensor, values)


# ---- by fan -------------------------------------------------------------------------------------------------


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, mode: str = "fan_avg") -> Tensor:
    """U(-b, b), b = gain * sqrt(3 / n), n = (fan_in + fan_out) / 2 or fan_in (Glorot 2010)."""
    bound = gain * math.sqrt(3 / _fan_of(tensor, mode, "xavier_uniform_"))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, mode: str = "fan_avg") -> Tensor:
    """N(0, gain^2 / n), n = (fan_in + fan_out) / 2 or fan_in (Glorot 2010)."""
    return normal_(tensor, 0.0, gain / math.sqrt(_fan_of(tensor, mode, "xavier_normal_")))


def _kaiming(t: Tensor, a: float, mode: str, nonlinearity: str, op: str) -> float | None:
    """The standard deviation, or None for a weight without elements."""
    if t.numel() == 0:
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_fan_of(t, mode, op))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """U(-b, b), b = gain * sqrt(3 / fan); `a` is the slope of leaky_relu (He 2015). Nothing for 0 elements."""
    std = _kaiming(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return tensor if std is None else uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """N(0, gain^2 / fan); sqrt(2/n) for ReLU (He 2015). Nothing for a tensor of 0 elements."""
    std = _kaiming(tensor, a, mode, nonlinearity, "kaiming_normal_")
    return tensor if std is None else normal_(tensor, 0.0, std)


he_uniform_ = kaiming_uniform_
he_normal_ = kaiming_normal_

#: Standard deviation of a standard normal cut at +-2.
_STD_OF_TRUNCATED = 0.87962566103423978


def variance_scaling_(
    tensor: Tensor, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated"
) -> Tensor:
    """Variance about scale / n, n chosen by `mode`: "fan_in", "fan_out" or "fan_avg" (also in capitals, as TF 1 did).

    `distribution`:
        "truncated"      normal cut at two sigma, sigma = sqrt(scale/n) / 0.8796, so the variance is exact (Keras);
        "truncated_tf1"  normal cut at two sigma, sigma = sqrt(1.3 * scale / n) (tf.contrib.layers);
        "normal"         not cut;
        "uniform"        U(-b, b), b = sqrt(3 * scale / n).
    """
    if not scale > 0:
        raise ValueError(f"variance_scaling_: scale is {scale}, expected a number > 0")
    variance = scale / max(_fan_of(tensor, mode, "variance_scaling_"), 1)
    if distribution == "uniform":
        return uniform_(tensor, -math.sqrt(3 * variance), math.sqrt(3 * variance))
    if distribution == "normal":
        return normal_(tensor, 0.0, math.sqrt(variance))
    sigmas = {
        "truncated": math.sqrt(variance) / _STD_OF_TRUNCATED,
        "truncated_tf1": math.sqrt(1.3 * variance),
    }
    if distribution not in sigmas:
        raise ValueError(
            f"variance_scaling_: distribution is {distribution!r}, expected truncated, truncated_tf1, normal or uniform"
        )
    sigma = sigmas[distribution]
    return trunc_normal_(tensor, 0.0, sigma, -2 * sigma, 2 * sigma)


# ---- matrices -----------------------------------------------------------------------------------------------


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """A (semi-)orthogonal matrix, uniformly drawn, times gain; more axes are flattened into the second (Saxe 2013)."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: got shape {tensor.shape}, expected at least 2 axes")
    if tensor.numel() == 0 or _is_meta(tensor):
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    q, r = np.linalg.qr(_generator().standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # QR's sign convention would make the draw not uniform
    return _write(tensor, (gain * (q if rows >= columns else q.T)).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """N(0, std^2) with ceil(sparsity * rows) zeros in each column of a matrix (Martens 2010)."""
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: got shape {tensor.shape}, expected a matrix")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: sparsity is {sparsity}, expected a share between 0 and 1")
    if _is_meta(tensor):
        return tensor
    rows, columns = tensor.shape
    values = std * _generator().standard_normal((rows, columns))
    order = np.argsort(_generator().random((rows, columns)), axis=0)
    values[order[: math.ceil(sparsity * rows)], np.arange(columns)[None, :]] = 0.0
    return _write(tensor, values)
