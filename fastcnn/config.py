"""Every ``FASTCNN_*`` variable, in one table: read by ``fastcnn info`` and the documentation.

A test looks for the names in the sources and demands that each one stands here.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Variable(NamedTuple):
    """One row of the table."""

    name: str
    #: "run": environment variable read by the library; "build": environment variable for pip or -D for CMake;
    #: "cmake": -D only.
    scope: str
    default: str
    meaning: str


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "FASTCNN_NUM_THREADS",
        "run",
        "OMP_NUM_THREADS, else the CPUs of the affinity mask",
        "number of threads of the CPU kernels, 1 to 1024; results do not depend on it",
    ),
    Variable(
        "FASTCNN_ISA",
        "run",
        "the best one that CPU and system support",
        "forces the instruction set of the CPU kernels: baseline, avx2, avx512 or neon",
    ),
    Variable(
        "FASTCNN_MEMORY_GUARD",
        "run",
        "0",
        "1 fills new and freed memory with NaN and checks a canary behind each block; same accounting",
    ),
    Variable(
        "FASTCNN_CORE",
        "run",
        "the installed module",
        "path of the compiled module to load instead (development: sanitized or emulated builds)",
    ),
    Variable(
        "FASTCNN_CUDA",
        "build",
        "auto",
        "CUDA kernels: auto (not yet; one line says why), on (by nvcc, or fail), off, emulate (on the CPU, for tests)",
    ),
    Variable("FASTCNN_CUDA_ARCHITECTURES", "cmake", "80;90a-real", "CUDA architectures to compile for"),
    Variable(
        "FASTCNN_EMULATOR_CARD",
        "run",
        "a100",
        "emulated CUDA builds: the card that is reported, v100 (too old), t4, a100 or h200",
    ),
    Variable(
        "FASTCNN_EMULATOR_MEMORY",
        "run",
        "exact",
        "emulated CUDA builds: exact, where each block is seen to its last byte, or segments, as on a card",
    ),
    Variable(
        "FASTCNN_EMULATOR_ORDER",
        "run",
        "forward",
        "emulated CUDA builds: the order of GPU threads, forward, reverse or the seed of a shuffled one",
    ),
    Variable(
        "FASTCNN_EMULATOR_STREAMS",
        "run",
        "eager",
        "emulated CUDA builds: eager, or late: a stream works only when something waits for it",
    ),
    Variable(
        "FASTCNN_EMULATOR_THREADS",
        "run",
        "the CPUs of the affinity mask",
        "emulated CUDA builds: number of CPU threads that share the blocks of a launch, 1 to 64",
    ),
    Variable(
        "FASTCNN_SANITIZE",
        "cmake",
        "none",
        "builds with sanitizers: address,undefined or thread",
    ),
    Variable("FASTCNN_ISAS", "cmake", "all", "which kernels to compile: avx2;avx512; the same for its tests"),
    Variable("FASTCNN_WERROR", "cmake", "OFF", "compiler warnings are errors (on in CI)"),
    Variable("FASTCNN_BUILD_TESTS", "cmake", "ON outside pip", "builds the C++ tests, run by ctest"),
)


def settings() -> dict[str, str]:
    """The run-time variables that are set in this process's environment, by name."""
    return {v.name: os.environ[v.name] for v in VARIABLES if v.scope == "run" and v.name in os.environ}
