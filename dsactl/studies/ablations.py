"""Ablations: which batches are augmented (Table 4), by what (Table 5), where images start (Section 5.2), and how many
there are.
"""

from collections.abc import Sequence
from dataclasses import replace

from dsactl.augmentation.strategy import Strategy, default_strategy
from dsactl.data.catalogue import is_mirrored
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import Figure, tables
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Request
from dsactl.studies.entries import Entry

SCHEMES: dict[str, tuple[str, bool]] = {
    "siamese": ("siamese", True),
    "A": ("none", False),
    "B": ("none", True),
    "C": ("real", True),
    "D": ("synthetic", True),
    "E": ("siamese", False),
    "F": ("both", True),
}
"""The rows of Table 4: the scheme of condensing, and whether networks that are trained on the set augment it."""
SCHEME_KINDS = ("crop", "flip", "scale", "rotate")
"""The columns of Table 4."""
COMBINATION = "combination"


def schemes(
    request: Request, rows: Sequence[str], kinds: Sequence[str], protocol: Protocol, *, scaled: bool = False
) -> list[Entry]:
    """Table 4: for each scheme and kind of augmentation a cell.

    Where nothing is augmented while condensing, one set serves all kinds.

    Args:
        request: the set, but for its scheme and strategy.
        rows: keys of `SCHEMES`.
        kinds: of augmentation, one at a time.
        protocol: of every cell, but for its strategy.
        scaled: whether the paper's figures stand beside ours though iterations are cut; the caller says so.
    """
    beside = is_comparable(request, protocol, scaled=scaled)
    entries = []
    for row in rows:
        scheme, augmented = SCHEMES[row]
        for kind in kinds:
            made_with = "none" if scheme == "none" else kind
            entries.append(
                Entry(
                    (row, kind),
                    replace(
                        request.varied(scheme=None if scheme in ("siamese", "none") else scheme), strategy=made_with
                    ),
                    replace(protocol, strategy=kind if augmented else "none"),
                    _scheme_paper(request, row, kind) if beside else None,
                )
            )
    return entries


def strategies(request: Request, kinds: Strategy, protocol: Protocol, *, scaled: bool = False) -> list[Entry]:
    """Table 5: no augmentation, each kind alone, and all of them together; where some are left out, by their names.

    Args:
        request: the set, but for its strategy.
        kinds: to compare.
        protocol: of every cell.
        scaled: as of `schemes`.
    """
    beside = is_comparable(request, protocol, scaled=scaled)
    together = "_".join(kinds)
    every = set(kinds) == set(default_strategy(mirrored=is_mirrored(request.dataset)))
    columns = {"none": "none", **{kind: kind for kind in kinds}, COMBINATION if every else together: together}
    return [
        Entry(
            (name,),
            replace(request, strategy=strategy),
            protocol,
            _strategy_paper(request, name) if beside else None,
        )
        for name, strategy in columns.items()
    ]


def starts(request: Request, protocol: Protocol) -> list[Entry]:
    """Images that start as noise and as real ones, watched on their way (Section 5.2)."""
    return [Entry((init,), request.varied(init=init), protocol, watched=True) for init in ("noise", "real")]


def refuse_batch_norm(network: NetworkSpec) -> None:
    """Refuse a network whose statistics a run freezes before each matching.

    Raises:
        UsageError: it has batch norm.
    """
    if network.has_batch_norm:
        raise UsageError("Gradient norms are not measured for networks with batch norm.", 'Use `arch="convnet"`.')


def with_and_without(request: Request, protocol: Protocol) -> list[Entry]:
    """With the strategy of the request, and without augmentation (Figure 5).

    Raises:
        UsageError: as of `refuse_batch_norm`.
    """
    refuse_batch_norm(request.network())
    return [Entry(("with",), request, protocol), Entry(("without",), replace(request, strategy="none"), protocol)]


def ipcs(request: Request, numbers: Sequence[int], methods: Sequence[str], protocol: Protocol) -> list[Entry]:
    """Accuracy over the number of images per class, for some methods, all tested on one network.

    The request's iterations are those of methods with the same settings as its own.
    """
    protocol = replace(protocol, network=request.network().instance_twin)

    def made(ipc: int, method: str) -> Request:
        same = find(method).settings is find(request.method).settings
        return replace(request, ipc=ipc, method=method, settings=request.settings if same else {})

    return [Entry((method, str(ipc)), made(ipc, method), protocol) for method in methods for ipc in numbers]


def _scheme_paper(request: Request, row: str, kind: str) -> Figure | None:
    table = tables()["schemes"]
    if (request.dataset, request.ipc, request.method) != ("cifar10", 10, "dsa") or kind not in table["columns"]:
        return None
    accuracy = next(each["accuracy"] for each in table["rows"] if each["scheme"] == row)
    return tuple(accuracy[table["columns"].index(kind)])


def _strategy_paper(request: Request, name: str) -> Figure | None:
    table = tables()["strategies"]
    if (request.ipc, request.method) != (10, "dsa") or request.dataset not in table["rows"]:
        return None
    figure = dict(zip(table["columns"], table["rows"][request.dataset], strict=True)).get(name)
    return None if figure is None else tuple(figure)


def is_comparable(request: Request, protocol: Protocol, *, scaled: bool = False) -> bool:
    """Whether all but what a study varies is the paper's: network, hyper-parameters, protocol.

    Args:
        request, protocol: of the study; what it varies is not looked at.
        scaled: pass over the number of iterations.
    """
    usual = Request(request.dataset, request.ipc, request.method, seed=request.seed, precision=request.precision)
    if scaled:
        request = request.varied(iterations=None)
    return replace(request, name=None) == usual and protocol.is_papers
