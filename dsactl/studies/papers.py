"""The paper's tables as plans: their cells, as requests and protocols, and notes on what is scaled down."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dsactl.augmentation.strategy import default_strategy
from dsactl.data.catalogue import is_mirrored
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import DC, Protocol
from dsactl.networks.catalogue import PAPER_ARCHS, NetworkSpec
from dsactl.paper import FROM_DC, QUOTED, full_data_accuracy, paper_accuracy, tables
from dsactl.recipes.methods import BUILT_IN, WHOLE, find
from dsactl.recipes.recipe import Request
from dsactl.studies.ablations import SCHEME_KINDS, SCHEMES, schemes, strategies
from dsactl.studies.entries import Entry
from dsactl.studies.titles import TABLES
from dsactl.studies.transfer import transfer_entries

METHODS = ("random", "herding", "forgetting", "dd", "ld", "dc", "dsa", WHOLE)
PAPER_SETS, PAPER_NETWORKS = 5, 20


@dataclass(frozen=True)
class Plan:
    """A table of the paper.

    Attributes:
        name: "table1" …
        title: what it compares, and its number in the paper.
        names: of the parts of its cells' keys.
        entries: its cells.
    """

    name: str
    title: str
    names: tuple[str, ...]
    entries: tuple[Entry, ...]

    def only(self, wanted: Sequence[str]) -> "Plan":
        """Return the plan with only the cells whose keys begin with one of some texts, such as "mnist:1" or "cifar10".

        Raises:
            UsageError: no key begins with one of them.
        """
        for text in wanted:
            if not any(_begins(entry.key, text.split(":")) for entry in self.entries):
                known = ", ".join(":".join(entry.key) for entry in self.entries[:8])
                raise UsageError(f"{self.name} has no cell that begins with {text}.", f"Its cells are {known} …")
        kept = [entry for entry in self.entries if any(_begins(entry.key, text.split(":")) for text in wanted)]
        return replace(self, entries=tuple(kept))


def plan(name: str, sets: int, networks: int, scale: float, seed: int = 0) -> Plan:
    """Return a plan by its name.

    Args:
        name: a key of `TABLES`.
        sets: number of sets per cell.
        networks: number of networks per set and cell.
        scale: fraction of the paper's iterations.
        seed: the random seed.
    """
    title, names = TABLES[name]
    protocol = Protocol(networks=networks)
    entries = _entries(name, scaled_request(scale, seed), protocol, scale)
    return Plan(name, title, names, tuple(_with_remark(entry, sets) for entry in entries))


def _with_remark(entry: Entry, sets: int) -> Entry:
    """Return an entry with a remark on what is scaled down from the paper's; fewer iterations are not comparable."""
    request, networks = entry.request, entry.protocol.networks
    usual, iterations = _usual_iterations(request.method), request.settings.get("iterations")
    less = [
        f"{sets} of {PAPER_SETS} sets" if request.method != WHOLE and sets < PAPER_SETS else "",
        f"{networks} of {PAPER_NETWORKS} networks" if networks < PAPER_NETWORKS else "",
        f"{iterations} of {usual} iterations" if usual and iterations and int(iterations) < usual else "",
    ]
    return replace(entry, remark=", ".join(filter(None, less)), comparable=entry.comparable and not less[2])


def scaled_request(scale: float, seed: int) -> Request:
    """Return a request with a fraction of the paper's iterations, and without a dataset yet."""
    return Request("", 1, seed=seed).varied(iterations=_scaled("dsa", scale))


def _entries(name: str, base: Request, protocol: Protocol, scale: float) -> Iterable[Entry]:
    match name:
        case "table1" | "table2":
            rows = [row for row in tables()["accuracy"]["rows"] if (row["dataset"] == "cifar100") == (name == "table2")]
            for row in rows:
                for method in METHODS:
                    if row.get(method) is not None or (method == WHOLE and row["ipc"] == 1):
                        yield _accuracy(replace(base, dataset=row["dataset"], ipc=row["ipc"]), method, protocol, scale)
        case "table3":
            yield from transfer_entries(replace(base, dataset="mnist"), PAPER_ARCHS, PAPER_ARCHS, protocol, scaled=True)
        case "table4":
            request = replace(base, dataset="cifar10", ipc=10)
            yield from schemes(request, list(SCHEMES), SCHEME_KINDS, protocol, scaled=True)
        case _:
            for dataset in tables()["strategies"]["rows"]:
                kinds = default_strategy(mirrored=is_mirrored(dataset))
                for entry in strategies(replace(base, dataset=dataset, ipc=10), kinds, protocol, scaled=True):
                    yield replace(entry, key=(dataset, *entry.key))


def _accuracy(request: Request, method: str, protocol: Protocol, scale: float) -> Entry:
    """Return a cell of Tables 1 and 2, with the networks of the paper's result."""
    dataset, ipc = request.dataset, request.ipc
    if method == WHOLE:
        request = replace(request, method=WHOLE, settings={})
        return Entry((dataset, "all", WHOLE), request, protocol, full_data_accuracy(dataset), comparable=False)
    arch = QUOTED.get(method, {}).get(dataset, "convnet")
    condensed_on = arch if find(method).network else None
    return Entry(
        (dataset, str(ipc), method),
        replace(request, method=method, arch=arch).varied(iterations=_scaled(method, scale)),
        replace(
            protocol,
            network=None if arch == "convnet" else NetworkSpec(arch),
            strategy=DC if method in FROM_DC else None,
        ),
        paper_accuracy(dataset, ipc, method, condensed_on, arch),
        comparable=method not in QUOTED,
    )


def _usual_iterations(method: str) -> int | None:
    """Return the default number of iterations of a method; None for a method without iterations."""
    usual = find(method).settings.constant_default("iterations") if method in BUILT_IN else None
    return usual if isinstance(usual, int) else None


def _scaled(method: str, scale: float) -> int | None:
    """Return a fraction of the default iterations; None for all of them."""
    usual = _usual_iterations(method)
    scaled = None if usual is None else max(1, round(usual * scale))
    return None if scaled == usual else scaled


def _begins(key: tuple[str, ...], parts: Sequence[str]) -> bool:
    return key[: len(parts)] == tuple(parts)
