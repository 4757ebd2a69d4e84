"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("coordserver", "druidroles", "cli")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70


def name(path: Path) -> str:
    """A path as it is said: relative to the project."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_has_one_concern_and_says_which(path: Path) -> None:
    """A module opens with a docstring and fits in one sitting, and each of its functions on a screen."""
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{name(path)} has no docstring"
    assert text.count("\n") <= MODULE_LINES_MAX, f"{name(path)} may hold more than one concern"
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or f.lineno) - f.lineno > FUNCTION_LINES_MAX]
    assert not long, f"{name(path)}: {long} do not fit on a screen"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_is_used(path: Path) -> None:
    """A module that nothing imports is dead, unless it is a way in."""
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    ways_in = {"cli.main", "cli.__main__", "druidroles.middlemanager.peon"}
    if path.name == "__init__.py" or dotted in ways_in or dotted.startswith("cli.commands."):
        return
    stem, package = path.stem, ".".join(dotted.split(".")[:-1])
    wanted = (f"from {dotted} import", f"import {dotted}", f"from {package} import")
    searched = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    users = [other for other in searched if other != path and any(form in other.read_text() for form in wanted)]
    if any(f"from {dotted} import" in u.read_text() or f"import {dotted}" in u.read_text() for u in users):
        return
    assert any(stem in other.read_text() for other in users), f"nothing imports {dotted}"


@pytest.mark.parametrize("package", ["coordserver.core", "coordserver.wire", "druidroles.model", "druidroles.timeline"])
def test_the_pure_packages_load_without_trio(package: str) -> None:
    """The core is pure: importing it brings in no event loop, not even through a neighbour."""
    code = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module({package!r})\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert 'trio' not in sys.modules, 'trio was imported'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


STATE = sorted((ROOT / "coordserver" / "core" / "state").glob("*.py"))


def find_nondeterminism(tree: ast.Module) -> Iterator[str]:
    """Yield what may differ between two members that apply the same records.

    Sets have no order of their own, `hash()` of text differs between processes, and floats round. A module-level
    frozenset is allowed, because it serves for membership tests only.
    """
    constants = {
        id(node) for statement in tree.body for node in ast.walk(statement) if isinstance(statement, ast.Assign)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Set() | ast.SetComp() if id(node) not in constants:
                yield f"line {line}: a set"
            case ast.Call(func=ast.Name(id="set" | "frozenset" as called)) if id(node) not in constants:
                yield f"line {line}: {called}()"
            case ast.Call(func=ast.Name(id="hash" | "float" | "id" as called)):
                yield f"line {line}: {called}()"
            case ast.Constant(value=float()):
                yield f"line {line}: a float"
            case ast.BinOp(op=ast.Div()):
                yield f"line {line}: a division that gives a float"
            case _:
                pass


@pytest.mark.parametrize("path", STATE, ids=name)
def test_the_replicated_state_is_deterministic(path: Path) -> None:
    """No module of the state iterates a set, computes with floats or depends on `hash()`."""
    assert list(find_nondeterminism(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    return {1, 2}",
        "x = hash('a')",
        "y = 1.5",
        "def f(a):\n    return a / 2",
        "def f():\n    return set()",
    ],
)
def test_nondeterminism_is_found(code: str) -> None:
    """The check above can fail."""
    assert list(find_nondeterminism(ast.parse(code)))


ROLES = sorted(
    path for path in (ROOT / "druidroles").rglob("*.py") if "coordination" not in path.relative_to(ROOT).parts[:2]
)
TREE_NAMES = ("internal-discovery", "_COORDINATOR", "_OVERLORD", "coord/published", "coord/status", "loadQueue/")


@pytest.mark.parametrize("path", ROLES, ids=name)
def test_only_the_coordination_package_knows_paths_of_the_tree(path: Path) -> None:
    """Other packages ask `coordination.paths` for a path. Docstrings and metric names are no paths."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]
    found = [text for text in texts for known in TREE_NAMES if known in text and not text.startswith("segment/")]
    assert not found, f"{name(path)} names a path of the tree: {found}"
