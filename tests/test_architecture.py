"""The house rules that a machine can see: imports point down, the package is light, names are public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "course_lib"

# A module may import from lower levels only. Names are modules or packages of course_lib.
LEVELS = [
    {"names", "rng", "noise", "flat", "device", "progress", "data"},
    {"activations", "losses", "initialization", "gradients", "models", "recurrent", "dropout", "checkpoints"}
    | {"optimizers", "schedules", "clipping", "regularization", "normalization"},
    {"inputs", "resume"},
    {"training"},
    {"graphs", "mapped"},
    {"stacking"},
    {"groups"},
    {"grids"},
    {"sweeps"},
    {"statistics", "bias_variance", "designs", "cards"},
    {"trials"},
    {"plots", "interactive"},
    {"claims"},
    {"book", "homework", "cli", "bootstrap"},
]
LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}
WITHIN = {("data", "rng"), ("data", "names"), ("cli", "book"), ("book", "book"), ("data", "data")}
WITHIN |= {("homework", "homework"), ("homework", "book"), ("cli", "homework")}
WITHIN |= {("models", "dropout"), ("optimizers", "optimizers"), ("schedules", "schedules")}
WITHIN |= {("normalization", "normalization")}


def imports(path):
    """Yield (line, module) for every import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import: write course_lib.…"
            if node.module == "course_lib":
                yield from ((node.lineno, f"course_lib.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def modules():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    # catches: losses importing training; data importing plots; course_lib importing a chapter or a test
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no level: add it to LEVELS"
    for line, name in imports(path):
        assert name.split(".")[0] not in ("tests", "chapters"), f"{path}:{line} imports {name}"
        if name.split(".")[0] != "course_lib" or name == "course_lib":
            continue
        target = name.split(".")[1]
        if target in LEVEL:
            down = LEVEL[target] < LEVEL[own]
            assert down or (own, target) in WITHIN, f"{path}:{line}: {own} must not import {target}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_matplotlib_is_imported_by_plots_alone(path):
    names = {name.split(".")[0] for _, name in imports(path)}
    if path.stem != "plots":
        assert "matplotlib" not in names


def test_importing_the_package_is_light():
    # catches: an `import torch` at the top of __init__ or of the command line
    code = (
        "import sys, course_lib, course_lib.cli; "
        "print([m for m in ('torch', 'matplotlib', 'numpy', 'sklearn', 'jupytext') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_the_process_beside_the_students_code_is_light():
    # catches: torch or numpy in what reads hostile notebooks: its memory, and what there is to break in it
    code = (
        "import sys; from course_lib.homework import grade, feedback, summary, export, commands, release; "
        "print([m for m in ('torch', 'numpy', 'pandas', 'jupytext', 'nbformat') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_names_exist(path):
    # catches: a name in __all__ that was renamed
    import importlib

    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted)
    assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))
