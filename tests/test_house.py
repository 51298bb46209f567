"""The shape of the package, read from its own text: rooms and floors, sizes, names that say something."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "unlogit"

FLOORS = (
    *("", "settings", "data", "model", "objectives", "training", "evaluate", "strength", "writer"),
    *("runs", "compare", "report", "demo", "cli"),
)
"""Rooms from the ground up; a room imports from those before it and from itself. "" is the root's own files."""

TOP = ("__init__", "__main__", "api")
"""Files of the root that stand above all rooms."""

MOST_FILES_IN_ROOT = 8
MOST_LINES = 400
MOST_LINES_A_FUNCTION = 60
MOST_VAGUE_NAMES = 2
"""Only ever lowered."""

VAGUE = frozenset(
    [
        "found",
        "own",
        "wanted",
        "made",
        "given",
        "taken",
        "known",
        "chosen",
        "asked",
        "told",
        "kept",
        "one",
        "some",
        "others",
        "new",
        "began",
        "before",
        "after",
        "here",
        "there",
        "where",
        "place",
        "places",
        "whole",
        "way",
        "words",
        "said",
        "few",
        "part",
        "parts",
    ]
)

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_of(path) for path in FILES}


def imports_of(tree: ast.Module) -> set[str]:
    """Modules of the package that a file imports anywhere, inside functions and for types too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and (node.module + ".").startswith("unlogit."):
            base = node.module.removeprefix("unlogit").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                names.add(inner if inner in MODULES else base or "__init__")
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("unlogit.") for alias in node.names if alias.name.startswith("unlogit.")}
    return names


IMPORTS = {module_of(path): imports_of(tree) for path, tree in TREES.items()}


def floor_of(module: str) -> int:
    room, dot, _ = module.partition(".")
    if not dot and room in TOP:
        return len(FLOORS)
    return FLOORS.index(room if dot or room in FLOORS else "")


def test_arrows_run_down() -> None:
    up = [
        f"{module} -> {other}"
        for module, others in IMPORTS.items()
        for other in others
        if floor_of(other) > floor_of(module) and (module, other) != ("cli.main", "__init__")
    ]
    assert up == []


def test_there_are_no_import_circles() -> None:
    """Depth-first search; a module that is met again on its own path closes a circle."""
    done: set[str] = set()
    circles: list[list[str]] = []

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            circles.append([*path[path.index(module) :], module])
            return
        if module in done:
            return
        for other in sorted(IMPORTS.get(module, ())):
            if module not in TOP and other not in TOP:
                visit(other, [*path, module])
        done.add(module)

    for module in sorted(IMPORTS):
        visit(module, [])
    assert circles == []


def test_sizes() -> None:
    assert len(list(PACKAGE.glob("*"))) - len([p for p in PACKAGE.glob("*") if p.is_dir()]) <= MOST_FILES_IN_ROOT
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
    functions = {
        f"{module_of(path)}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: count for name, count in functions.items() if count > MOST_LINES_A_FUNCTION} == {}


def test_names_say_something() -> None:
    """What is assigned to: locals and attributes."""
    assigned = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node.id if isinstance(node, ast.Name) else node.attr)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store)
    ]
    vague = [f"{place}: {name}" for place, name in assigned if name in VAGUE]
    assert len(vague) <= MOST_VAGUE_NAMES, vague


def test_the_steps_print_nothing() -> None:
    """Only what shows results prints: the command line, and the terminal's own functions."""
    printing = [
        f"{module_of(path)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    allowed = ("cli.", "report.", "terminal:")
    assert [line for line in printing if not line.startswith(allowed)] == []
