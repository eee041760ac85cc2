"""Count and draw the imports between the packages of dsactl.

    python tests/import_graph.py            counts, and the packages by layer
    python tests/import_graph.py --dot      the graph in Graphviz's language

A room is a package of `dsactl`, one of its loose modules, one of `PACKAGES_WITHIN`, or `registry`; an arrow is an
import of one room by another. Imports inside functions and for type checking count as well.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LAYERS: list[set[str]] = [
    {"registry"},
    {"dsactl", "dsactl.errors", "dsactl.paper", "dsactl.text"},
    {"dsactl.engine", "dsactl.augmentation", "dsactl.parametrisation"},
    {"dsactl.data", "dsactl.networks"},
    {"dsactl.recipes", "dsactl.training"},
    {"dsactl.expert_pools"},
    {"dsactl.methods"},
    {"dsactl.synthetic"},
    {"dsactl.evaluation", "dsactl.runs"},
    {"dsactl.studies", "dsactl.api", "dsactl.benchmark", "dsactl.diagnosis"},
    {"dsactl.studies.continual", "dsactl.studies.nas", "dsactl.pages"},
    {"dsactl.cli", "dsactl.__main__"},
]
"""The rooms, lowest layer first; a room imports only lower ones."""


PACKAGES_WITHIN = ("dsactl.studies.continual", "dsactl.studies.nas")
"""Packages within another one that are rooms of their own."""


def modules() -> Iterator[tuple[str, Path]]:
    """Yield every module with its file."""
    for package in ("dsactl", "registry"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imported(path: Path) -> set[str]:
    """Return the modules of dsactl and registry that a file imports.

    Raises:
        ValueError: it has a relative import.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path} has a relative import")
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if _is_module(whole) else str(node.module))
    return {name for name in found if name.split(".")[0] in ("dsactl", "registry")}


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def room(module: str) -> str:
    """Return the room of a module.

    Raises:
        KeyError: it has no place in the layers.
    """
    parts = module.split(".")
    name = parts[0] if parts[0] == "registry" else ".".join(parts[: 3 if ".".join(parts[:3]) in PACKAGES_WITHIN else 2])
    if not any(name in rooms for rooms in LAYERS):
        raise KeyError(f"{module} has no place in the layers")
    return name


def layer(name: str) -> int:
    """Return the layer of a room, from 0."""
    return next(index for index, rooms in enumerate(LAYERS) if name in rooms)


def arrows() -> dict[tuple[str, str], set[str]]:
    """Return the arrows between rooms, each with the modules that import; without the lazy exports of `dsactl`."""
    found: dict[tuple[str, str], set[str]] = {}
    for module, path in modules():
        if module != "dsactl":
            for name in imported(path):
                if room(name) != room(module):
                    found.setdefault((room(module), room(name)), set()).add(module)
    return found


def against_the_order() -> list[str]:
    """Return the arrows that do not go to a lower layer, with the modules that import."""
    return [
        f"{above} → {below}: {', '.join(sorted(who))}"
        for (above, below), who in sorted(arrows().items())
        if layer(below) >= layer(above) and (above, below) != ("dsactl.__main__", "dsactl.cli")
    ]


def circles() -> list[list[str]]:
    """Return the circles of modules: those that import each other, directly or by way of others (Tarjan, 1972)."""
    graph = {module: imported(path) for module, path in modules() if module != "dsactl"}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for name in graph[module]:
            if name in graph and name not in index:
                visit(name)
            if name in stack:
                low[module] = min(low[module], low[name])
        if low[module] == index[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def main() -> None:
    drawn = arrows()
    if "--dot" in sys.argv:
        print("digraph {\n  rankdir=BT; node [shape=box]")
        for rooms in LAYERS:
            print("  {rank=same; " + "; ".join(f'"{name}"' for name in sorted(rooms)) + "}")
        for above, below in sorted(drawn):
            print(f'  "{above}" -> "{below}"')
        print("}")
        return
    for number, rooms in reversed(list(enumerate(LAYERS, 1))):
        print(f"{number:2}  {'  '.join(sorted(rooms))}")
    loose = [path for path in (ROOT / "dsactl").glob("*.py") if not path.name.startswith("__")]
    print(f"{sum(map(len, LAYERS))} rooms, {len(LAYERS)} layers, {len(drawn)} arrows, {len(loose)} loose modules")
    print(f"{len(against_the_order())} arrows against the order, {len(circles())} circles of modules")


if __name__ == "__main__":
    main()
