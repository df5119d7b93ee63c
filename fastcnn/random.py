"""Random numbers: one counter-based stream, the same bits on every device, thread count, instruction set and layout.

A :class:`Generator` is a 64-bit seed and the number of calls made on it. Every random op takes the next call number;
what it draws is Philox4x32-10 (Salmon et al., SC 2011) of key = seed and counter = (call, sample, position within the
sample in logical order). So the mask of sample i does not depend on how many samples, threads or bytes per pixel there
are, and a backward pass draws it again instead of keeping it. Nothing is seeded from a clock or an address: the default
generator starts at seed 0.
"""

from __future__ import annotations

import threading
from typing import Any

from fastcnn._loader import _core

__all__ = ["Generator", "default_generator", "get_rng_state", "manual_seed", "set_rng_state"]

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

    def __deepcopy__(self, memo: Any) -> Generator:
        copy = Generator(self.seed, self.first_sample)
        copy.calls = self.calls
        return copy


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
