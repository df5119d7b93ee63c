"""Who may include or import whom, what may not appear at all, and how long files may be (csrc/README.md)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "fastcnn"

# room -> rooms whose headers it may include (its own always)
ROOMS = {
    "common": set(),
    "memory": {"common"},
    "cpu": {"common"},
    "cuda": {"common"},
    "emulator": set(),
    "ops": {"common", "memory", "cpu", "cuda"},
    "bindings": {"ops", "memory", "common"},
}
# The only system headers that a source compiled for a wide instruction set may reach: no templates and no
# inline functions of the C++ library, whose wide copy the linker could keep for everyone.
KERNEL_HEADERS = {"stdint.h", "stddef.h", "string.h", "math.h", "float.h", "immintrin.h", "arm_neon.h"}
FORBIDDEN = {
    r"\b(?:s?rand|random|drand48)\s*\(": "random numbers come from common/philox.h",
    r"\bstd::(?:random_device|mt19937|default_random_engine)": "random numbers come from common/philox.h",
    r"(?<![\w.>])time\s*\(|\bsystem_clock\b": "nothing depends on the time of day",
    r"(?<![\w.>:])(?:printf|puts|exit|abort|_exit)\s*\(|\bstd::(?:cout|cerr|exit|abort|terminate)\b": (
        "library code never prints, exits or aborts"
    ),
}
# The package, lowest first; a module imports from its own layer and those before it. What is not named here
# belongs to the last layer.
LAYERS = (
    {"_core", "_loader", "_version", "arrays", "errors", "config", "grad_mode", "handles", "placement"},
    {"autograd"},
    {"algorithms", "functional", "random"},
    {"exchange", "numpy_functions", "tensor", "tensor_methods"},
    {"init", "nn"},
)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def sources(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in suffixes and "__pycache__" not in p.parts)


def cpp() -> list[Path]:
    return sources(CSRC, ".h", ".cpp", ".inl", ".cu", ".cuh")


def includes(path: Path) -> list[tuple[bool, str]]:
    """(is a quoted include, what it names) of each include line."""
    return [(kind == '"', name) for kind, name in INCLUDE.findall(path.read_text())]


def code_of(path: Path) -> str:
    """The text without comments and string literals."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def test_there_is_something_to_check():
    assert len(cpp()) > 10
    assert len(sources(PACKAGE, ".py")) >= 3


def test_rooms_include_only_what_they_may():
    wrong = []
    for path in cpp():
        room = path.relative_to(CSRC).parts[0]
        assert room in ROOMS, f"{path}: unknown room {room!r}; add it to ROOMS"
        for quoted, name in includes(path):
            if not quoted:
                continue
            if name == "fastcnn_build_info.h":  # generated
                assert room == "bindings", f"{path}: build facts belong to bindings/"
                continue
            if not (CSRC / name).is_file():
                wrong.append(f"{path.relative_to(ROOT)}: {name!r} is not a path below csrc/")
            elif name.split("/")[0] not in ROOMS[room] | {room}:
                wrong.append(f"{path.relative_to(ROOT)}: {room}/ may not include {name!r}")
    assert not wrong, "\n".join(wrong)


def test_system_headers_stay_in_their_rooms():
    wrong = []
    for path in cpp():
        room, relative = path.relative_to(CSRC).parts[0], path.relative_to(CSRC).as_posix()
        for quoted, name in includes(path):
            if quoted:
                continue
            python = name.startswith("pybind11/") or name == "Python.h"
            intrinsics = re.fullmatch(r"\w*intrin\.h|arm_\w+\.h|cpuid\.h", name)
            cuda = re.match(r"cuda|cub/|thrust/|cooperative_groups", name)
            if python and room != "bindings":
                wrong.append(f"{relative}: <{name}> outside bindings/")
            if intrinsics and room != "cpu":
                wrong.append(f"{relative}: <{name}> outside cpu/")
            if cuda and room not in ("cuda", "emulator") and relative != "memory/cuda.cpp":
                wrong.append(f"{relative}: <{name}> outside cuda/")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", sorted((CSRC / "cpu" / "kernels").glob("isa_*.cpp")), ids=lambda p: p.stem)
def test_wide_sources_reach_only_plain_c(path: Path):
    reached, queue = {path}, [path]
    while queue:
        current = queue.pop()
        for quoted, name in includes(current):
            if not quoted:
                assert name in KERNEL_HEADERS, (
                    f"{current.relative_to(ROOT)} includes <{name}> and is compiled for {path.stem}"
                )
            elif (CSRC / name) not in reached:
                reached.add(CSRC / name)
                queue.append(CSRC / name)
    assert len(reached) > 3, "the walk found nothing"
    for source in reached:
        assert not re.search(r"\bstd::", code_of(source)), f"{source.relative_to(ROOT)} uses std::"


def test_every_kernel_source_is_reached():
    """An .inl that all.inl does not include would silently not be compiled."""
    kernels = CSRC / "cpu" / "kernels"
    named = {name for p in cpp() for quoted, name in includes(p) if quoted}
    orphans = [p.name for p in kernels.glob("*.inl") if f"cpu/kernels/{p.name}" not in named]
    assert not orphans


@pytest.mark.parametrize("pattern", FORBIDDEN, ids=FORBIDDEN.values())
def test_forbidden_calls(pattern: str):
    found = [
        f"{path.relative_to(ROOT)}: {match.group(0)!r}: {FORBIDDEN[pattern]}"
        for path in cpp()
        if path.relative_to(CSRC).parts[0] != "emulator"
        for match in re.finditer(pattern, code_of(path))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["srand(1)", "x = time(NULL)", "std::exit(1)", "  abort();", 'printf("")'])
def test_forbidden_patterns_bite(text: str):
    assert any(re.search(p, text) for p in FORBIDDEN)


# ---- the package ----


def layer_of(module: str) -> int:
    """The layer of a dotted module: fastcnn.nn.conv -> that of nn; fastcnn itself is the last."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else ""
    return next((i for i, names in enumerate(LAYERS) if name in names), len(LAYERS))


def imports_at_import_time(tree: ast.Module, package: str) -> list[str]:
    """Dotted names imported when the module is, so neither in functions nor under TYPE_CHECKING."""
    found, queue = [], list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join(parents[: len(parents) - node.level + 1] + ([base] if base else []))
            found += [f"{base}.{a.name}" for a in node.names] if base == "fastcnn" else [base]
        queue += list(ast.iter_child_nodes(node))
    return [name for name in found if name.split(".")[0] == "fastcnn"]


@pytest.mark.parametrize("path", sources(PACKAGE, ".py"), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_package_imports_point_down(path: Path):
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = dotted.rpartition(".")[0]
    module = dotted.removesuffix(".__init__")
    wrong = [
        name
        for name in imports_at_import_time(ast.parse(path.read_text()), package)
        if layer_of(name) > layer_of(module)
    ]
    assert not wrong, f"{module} imports {wrong} from a higher layer; the order is {LAYERS}, then the rest"


def test_file_sizes():
    """Discussed above 400 lines, refused above 600."""
    files = cpp()
    for folder in ("fastcnn", "tests", "scripts", "benchmarks", "examples"):
        files += sources(ROOT / folder, ".py", ".pyi", ".cpp", ".h")
    sizes = {p.relative_to(ROOT).as_posix(): len(p.read_text().splitlines()) for p in files}
    sizes.pop("fastcnn/_core.pyi", None)  # generated
    long = sorted(((n, p) for p, n in sizes.items() if n > 400), reverse=True)
    for n, p in long:
        print(f"{n:5d} lines: {p}")
    assert not [p for n, p in long if n > 600], f"longer than 600 lines: {long}"
