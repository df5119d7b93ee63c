"""Random numbers: one counter-based stream, the same bits on every device, thread count, instruction set and layout.

A :class:`Generator` is a 64-bit seed and the number of calls made on it. Every random op takes the next call number;
what it draws is Philox4x32-10 (Salmon et al., SC 2011) of key = seed and counter = (call, sample, position within the
sample in logical order). So the mask of sample i does not depend on how many samples, threads or bytes per pixel there
are, and a backward pass draws it again instead of keeping it. Nothing is seeded from a clock or an address: the default
generator starts at seed 0.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from fastcnn._loader import _core

__all__ = [
    "Generator", "bernoulli", "default_generator", "get_rng_state", "manual_seed", "rand", "rand_like", "randint",
    "randn", "randn_like", "randperm", "set_rng_state",
]  # fmt: skip

Tensor = _core.Tensor
_STATE_BYTES = 24  # seed, calls, first_sample: little-endian 64-bit words


class Generator:
    """A stream of random numbers.

    Args:
        seed: an integer; taken modulo 2^64. The default is 0.
        first_sample: row i of a batch draws as sample ``first_sample + i``. A worker that holds rows 32..63 of a batch
            sets 32 and gets the masks that one process would have drawn.

    Attributes:
        seed, calls, first_sample: the whole state; ``calls`` counts the random ops that were run.
    """

    def __init__(self, seed: int = 0, first_sample: int = 0) -> None:
        self._lock = threading.Lock()
        self.first_sample = int(first_sample)
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of `seed` from its beginning; returns the generator."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(f"manual_seed: got {type(seed).__name__}, expected an int")
        self.seed = seed.__index__() % 2**64
        self.calls = 0
        return self

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self.seed

    def key(self, device: str = "cpu") -> Any:
        """The key of the next random op, which is thereby used up (not on meta devices: nothing is drawn there)."""
        with self._lock:
            call = self.calls
            if not device.startswith("meta"):
                self.calls += 1
        return _core.RandomKey(self.seed, call, self.first_sample)

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor of 24 elements."""
        import numpy as np

        from fastcnn.tensor import tensor

        with self._lock:
            words = [self.seed, self.calls, self.first_sample]
        return tensor(np.array(words, "<u8").view(np.uint8))

    def set_state(self, state: Tensor) -> None:
        """Continues from a state of :meth:`get_state`."""
        import numpy as np

        data = np.asarray(state)
        if data.dtype != np.uint8 or data.shape != (_STATE_BYTES,):
            raise ValueError(
                f"set_rng_state: got {data.dtype} of shape {data.shape}, expected uint8 of shape ({_STATE_BYTES},); "
                "pass what get_rng_state returned"
            )
        words = np.ascontiguousarray(data).view("<u8")
        with self._lock:
            self.seed, self.calls, self.first_sample = (int(w) for w in words)

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, calls={self.calls}, first_sample={self.first_sample})"

    def __getstate__(self) -> dict[str, int]:
        return {"seed": self.seed, "calls": self.calls, "first_sample": self.first_sample}

    def __setstate__(self, state: dict[str, int]) -> None:
        self._lock = threading.Lock()
        self.__dict__.update(state)


default_generator = Generator(0)


def generator_of(op: str, seed: int | None, generator: Generator | None) -> Generator:
    """The stream an op draws from: a fresh one of `seed`, the given one, or the default."""
    if seed is not None and generator is not None:
        raise ValueError(f"{op}: got both seed and generator, expected one of them")
    if seed is not None:
        return Generator(seed)
    return default_generator if generator is None else generator


def manual_seed(seed: int) -> Generator:
    """Starts the default stream of `seed` from its beginning; returns the default generator."""
    return default_generator.manual_seed(seed)


def get_rng_state() -> Tensor:
    """The state of the default generator: a uint8 tensor of 24 elements, to be saved with a checkpoint."""
    return default_generator.get_state()


def set_rng_state(state: Tensor) -> None:
    """Continues the default stream from a state of :func:`get_rng_state`."""
    default_generator.set_state(state)


class HostDraws:
    """float64 NumPy arrays from a stream, for initial values; method names of numpy.random.Generator."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def random(self, shape: Any) -> Any:
        """Uniform in [0, 1), 53 bits."""
        return self._draw(_core.random_uniform, shape)

    def standard_normal(self, shape: Any) -> Any:
        """Standard normal."""
        return self._draw(_core.random_normal, shape)

    def _draw(self, fill: Any, shape: Any) -> Any:
        shape = (int(shape),) if isinstance(shape, int) else tuple(int(s) for s in shape)
        return _core.to_numpy(fill(shape, "float64", 0.0, 1.0, self._generator.key(), "cpu"))


# ---- tensors of random numbers ----------------------------------------------------------------------------------
# Drawn in logical order (element i is position i of sample 0), so every device gets the same bits. On a meta device
# nothing is drawn.


def _fresh(
    op: str, size: tuple[Any, ...], dtype: Any, device: str, generator: Generator | None, draw: Any
) -> Tensor:
    from fastcnn.tensor import dtype_name, empty, to

    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    shape = tuple(int(s) for s in size)
    name = dtype_name(dtype)
    if draw is None:
        return empty(shape, dtype=name, device=device)
    key = generator_of(op, None, generator).key(device)
    return to(draw(shape, name, key), dtype=name, device=device)


def _floats(
    op: str, size: Any, dtype: Any, device: str, requires_grad: bool, generator: Any, draw: Any
) -> Tensor:
    out = _fresh(op, size, dtype, device, generator, draw)
    if requires_grad:
        out.requires_grad = True
    return out


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = "float32", device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers uniform in [0, 1) with as many random bits as the dtype holds (float32 24, float64 53, bfloat16 8)."""

    def draw(shape: tuple[int, ...], name: str, key: Any) -> Tensor:
        return _core.random_uniform(shape, name, 0.0, 1.0, key, device)

    return _floats("rand", size, dtype, device, requires_grad, generator, draw)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = "float32", device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Standard normal numbers: Box and Muller in float64, rounded once. |z| stays below 6.7 (float64: 8.6)."""

    def draw(shape: tuple[int, ...], name: str, key: Any) -> Tensor:
        return _core.random_normal(shape, name, 0.0, 1.0, key, device)

    return _floats("randn", size, dtype, device, requires_grad, generator, draw)


def rand_like(
    input: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """:func:`rand` with the shape, dtype and device of `input`."""
    return rand(
        input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
    )


def randn_like(
    input: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """:func:`randn` with the shape, dtype and device of `input`."""
    return randn(
        input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
    )


def randint(
    low: int, high: int | None = None, size: Sequence[int] | None = None, *, generator: Generator | None = None,
    dtype: Any = "int64", device: str = "cpu",
) -> Tensor:  # fmt: skip
    """Integers in [low, high), each within 2^-64 of its probability; `randint(high, size)` starts at 0."""
    if size is None:
        if not isinstance(high, (tuple, list)):
            raise TypeError("randint: got no size, expected randint(low, high, size) or randint(high, size)")
        low, high, size = 0, low, high
    if not low < high:  # before a number is drawn
        raise ValueError(f"randint: got low {low} and high {high}, expected low < high")

    def draw(shape: tuple[int, ...], name: str, key: Any) -> Tensor:
        return _core.random_integers(shape, low, high, key, device)

    return _fresh("randint", tuple(size), dtype, device, generator, draw)


def randperm(n: int, *, generator: Generator | None = None, device: str = "cpu") -> Tensor:
    """The numbers 0 .. n-1 (int64) in random order (Fisher and Yates).

    Drawn on the host for every device: each swap builds on the one before, and the order for a seed is released.
    """
    if n < 0:
        raise ValueError(f"randperm: n is {n}, expected a number >= 0")
    if device.startswith("meta"):
        return _fresh("randperm", (n,), "int64", device, generator, None)
    key = generator_of("randperm", None, generator).key(device)
    return _core.random_permutation(n, key).to(device=device)


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability given by each element of `input`, else 0, in its dtype; no gradient.

    Raises:
        ValueError: a probability outside [0, 1] or NaN. On CUDA such an element gives NaN instead: the host would
            have to wait for the card.
    """
    return _core.bernoulli(input.detach(), generator_of("bernoulli", None, generator).key(input.device))
