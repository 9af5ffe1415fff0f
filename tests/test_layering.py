"""The layering of the design: imports go down only, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import blast_deploy

PACKAGE = Path(blast_deploy.__file__).parent
ROOT = PACKAGE.parent

# A module may import from its own layer and from those after it.
LAYERS = (
    ("cli", "console"),
    ("demo", "calibration"),
    (
        "compression",
        "exporter",
        "quantizer",
        "compiler",
        "verification",
        "bench",
        "reporting",
        "inspection",
        "doctor",
    ),
    (
        *("planning", "passes", "families", "checkpoints", "artifact", "runner", "backends", "targets"),
        *(
            "epilogue",
            "factors",
            "portable",
            "runtime",
            "samples",
            "stock",
            "tolerance",
            "model_files",
            "quantization",
        ),
    ),
    ("structures",),
    (
        *(
            "native",
            "_native",
            "model_paths",
            "reference",
            "results",
            "staging",
            "temporary",
            "exchange",
            "locks",
        ),
        *("errors", "element_types"),
    ),
)
STAGES = LAYERS[2]
TORCH = {"compression", "exporter", "checkpoints", "families", "demo"}
TORCH_FILES = {"module.py", "mask.py", "gaudi.py", "shrinkage.py"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(part: str) -> int:
    found = [index for index, parts in enumerate(LAYERS) if part in parts]
    assert found, f"{part} has no layer: name it in LAYERS and in design.md"
    return found[0]


def imported(path: Path) -> set[str]:
    """Absolute names that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import absolutely"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def parts_imported(path: Path) -> set[str]:
    inside = (name.split(".") for name in imported(path) if name.startswith("blast_deploy."))
    return {words[1] for words in inside if words[1] != "__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = layer_of(part_of(path))
    upward = {part for part in parts_imported(path) if layer_of(part) < own}
    assert not upward, f"{path} imports from a higher layer: {upward}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_stay_where_they_belong(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    if "torch" in roots:
        assert path.name in TORCH_FILES or part_of(path) in TORCH, f"{path} imports torch"
    if "tvm" in roots:
        assert path.name == "schedule.py" or "tvm" in path.parts, f"{path} imports tvm"
    if "triton" in roots:
        assert path.name == "triton.py", f"{path} imports triton"


def test_verification_and_bench_know_no_backend() -> None:
    for path in modules():
        if part_of(path) in ("verification", "bench"):
            assert "backends" not in parts_imported(path), f"{path} imports a backend by name"


def test_stages_do_not_reach_into_each_other() -> None:
    for path in modules():
        part = part_of(path)
        if part in STAGES:
            others = parts_imported(path) & set(STAGES) - {part}
            assert not others, f"{path} imports the stage {others}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'tvm', 'onnxruntime', 'transformers', 'matplotlib', 'onnx'}"
    code = f"import sys, blast_deploy; sys.exit(', '.join(sorted({heavy} & set(sys.modules))) or 0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "name", ["BlastLinear", "GaudiGblrLinear", "compress", "export", "load", "replace_linear", "save"]
)
def test_what_needs_torch_says_so_where_it_is_missing(name: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import blast_deploy; blast_deploy.{name}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == (
        "blast_deploy.errors.MissingExtraError: torch is not installed, and this needs it; "
        "run: pip install 'blast-deploy[torch]'"
    )


def test_public_names() -> None:
    assert sorted(blast_deploy._HOMES) == sorted(blast_deploy.__all__)
    for name in blast_deploy.__all__:
        assert callable(getattr(blast_deploy, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        blast_deploy.nonsense  # noqa: B018  (the access is the test)


def test_no_file_is_long() -> None:
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    sources += [path for path in (ROOT / "custom_ops").rglob("*") if path.suffix in (".h", ".cc", ".inc")]
    for path in sources:
        assert len(path.read_text().splitlines()) <= 500, f"{path} is over 500 lines"
