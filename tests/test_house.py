"""The house of the design: a room imports only from rooms below it, and no two files import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "client" / "wardround"

# From the ground up; rooms of one line may use each other only in the order in which they stand.
FLOORS = [
    "errors",
    "shipped",
    "text",
    "rows",
    "letters",
    "task",
    "catalogue",
    "sources",
    "study",
    "serving",
    "wire",
    "endpoints",
    "journal",
    "scoring",
    "retrieval",
    "running",
    "building",
    "load",
    "statistics",
    "reports",
    "baseline",
    "cli",
    "__main__",
]


def _modules() -> dict[str, Path]:
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = _modules()


def imports_of(source: str, modules: dict[str, Path]) -> set[str]:
    """The modules of the package that `source` imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (submodules & modules.keys()) or {node.module}
    return {name for name in found if name == "wardround" or name.startswith("wardround.")}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def climbs(importer: str, imported: str) -> bool:
    """Whether an import goes from a lower room to a higher one."""
    low, high = room_of(importer), room_of(imported)
    # The package's own __init__ is the front door: it shows the ground floor, and holds the version.
    if not low or not high:
        return bool(high) and FLOORS.index(high) > FLOORS.index("task")
    return FLOORS.index(high) > FLOORS.index(low)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_from_rooms_below_it(module: str) -> None:
    imported = imports_of(MODULES[module].read_text(encoding="utf-8"), MODULES)
    assert [name for name in sorted(imported) if climbs(module, name)] == []


def test_an_import_upwards_would_be_seen() -> None:
    assert climbs("wardround.wire.client", "wardround.journal")
    assert climbs("wardround.journal", "wardround.cli.app")
    assert climbs("wardround", "wardround.running")
    assert not climbs("wardround.journal", "wardround.endpoints.replies")
    source = "def f():\n    from wardround.cli import app\n"
    assert imports_of(source, {"wardround.cli.app": PACKAGE}) == {"wardround.cli.app"}


def test_no_import_cycle() -> None:
    edges = {
        name: {
            imported
            for imported in imports_of(path.read_text(encoding="utf-8"), MODULES)
            # A package's __init__ and its own modules see each other by construction.
            if not name.startswith(f"{imported}.") and imported != name
        }
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name in done:
            return
        for imported in sorted(edges.get(name, ())):
            visit(imported, (*trail, name))
        done.add(name)

    for name in MODULES:
        visit(name, ())


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(name) for name in MODULES} - {""}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").glob("*.py")), ids=lambda path: path.stem)
def test_a_task_imports_nothing_of_a_sibling(path: Path) -> None:
    siblings = {other.stem for other in path.parent.glob("*.py")} - {path.stem}
    source = path.read_text(encoding="utf-8")
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & siblings
    assert not any(name.startswith("wardround.tasks") for name in imports_of(source, MODULES))
