"""Ablations: scheme (Table 4) and strategy (Table 5) of augmentation, initial images (Section 5.2), and ipc."""

from collections.abc import Sequence
from dataclasses import replace

from dsactl.augmentation.strategy import Strategy, default_strategy, parse_strategy
from dsactl.data.layout import mirrors
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import MeanStd, tables
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
"""The rows of Table 4: the scheme while condensing, and whether networks are trained on the set with augmentation."""
SCHEME_KINDS = ("crop", "flip", "scale", "rotate")
"""The columns of Table 4."""
COMBINATION = "combination"


def schemes(
    request: Request, rows: Sequence[str], kinds: Sequence[str], protocol: Protocol, *, scaled: bool = False
) -> list[Entry]:
    """Return a cell for each scheme and kind of augmentation (Table 4).

    Rows without augmentation while condensing use one set for all kinds.

    Args:
        request: of the sets, without scheme and strategy.
        rows: keys of `SCHEMES`.
        kinds: of augmentation, one at a time.
        protocol: of every cell, without its strategy.
        scaled: whether to show the paper's results also with fewer iterations, which the caller must state.
    """
    comparable = is_comparable(request, protocol, scaled=scaled)
    entries = []
    for row in rows:
        scheme, augmented = SCHEMES[row]
        for kind in kinds:
            made_with = "none" if scheme == "none" else kind
            entries.append(
                Entry(
                    (row, kind),
                    replace(
                        request.varied(scheme=None if scheme in ("siamese", "none") else scheme),
                        strategy=parse_strategy(made_with),
                    ),
                    replace(protocol, strategy=kind if augmented else "none"),
                    _scheme_paper(request, row, kind) if comparable else None,
                )
            )
    return entries


def strategies(request: Request, kinds: Sequence[str], protocol: Protocol, *, scaled: bool = False) -> list[Entry]:
    """Return cells for no augmentation, each kind alone, and all given kinds together (Table 5).

    Args:
        request: of the sets, without strategy.
        kinds: to compare; their combination is called `COMBINATION` only if they are the default strategy.
        protocol: of every cell.
        scaled: see `schemes`.
    """
    comparable = is_comparable(request, protocol, scaled=scaled)
    together = "_".join(kinds)
    every = set(kinds) == set(default_strategy(mirrored=mirrors(request.dataset)))
    columns = {"none": "none", **{kind: kind for kind in kinds}, COMBINATION if every else together: together}
    return [
        Entry(
            (name,),
            replace(request, strategy=parse_strategy(strategy)),
            protocol,
            _strategy_paper(request, name) if comparable else None,
        )
        for name, strategy in columns.items()
    ]


def starts(request: Request, protocol: Protocol) -> list[Entry]:
    """Return cells for images initialised from noise and from real images, recorded while learned (Section 5.2)."""
    return [Entry((init,), request.varied(init=init), protocol, watched=True) for init in ("noise", "real")]


def refuse_batch_norm(network: NetworkSpec) -> None:
    """Refuse a network with batch norm, whose statistics a run freezes before each matching.

    Raises:
        UsageError: it has batch norm.
    """
    if network.has_batch_norm:
        raise UsageError("Gradient norms are not measured for networks with batch norm.", 'Use `arch="convnet"`.')


def with_and_without(request: Request, protocol: Protocol) -> list[Entry]:
    """Return cells with the strategy of the request, and without augmentation (Figure 5).

    Raises:
        UsageError: see `refuse_batch_norm`.
    """
    refuse_batch_norm(request.network())
    return [Entry(("with",), request, protocol), Entry(("without",), replace(request, strategy=Strategy()), protocol)]


def ipcs(request: Request, numbers: Sequence[int], methods: Sequence[str], protocol: Protocol) -> list[Entry]:
    """Return cells for numbers of images per class and methods, all tested on one network.

    The request's settings apply to the methods that share its class of settings.
    """
    protocol = replace(protocol, network=request.network().instance_twin)

    def made(ipc: int, method: str) -> Request:
        same = find(method).settings is find(request.method).settings
        return replace(request, ipc=ipc, method=method, settings=request.settings if same else {})

    return [Entry((method, str(ipc)), made(ipc, method), protocol) for method in methods for ipc in numbers]


def _scheme_paper(request: Request, row: str, kind: str) -> MeanStd | None:
    table = tables()["schemes"]
    if (request.dataset, request.ipc, request.method) != ("cifar10", 10, "dsa") or kind not in table["columns"]:
        return None
    accuracy = next(each["accuracy"] for each in table["rows"] if each["scheme"] == row)
    return tuple(accuracy[table["columns"].index(kind)])


def _strategy_paper(request: Request, name: str) -> MeanStd | None:
    table = tables()["strategies"]
    if (request.ipc, request.method) != (10, "dsa") or request.dataset not in table["rows"]:
        return None
    figure = dict(zip(table["columns"], table["rows"][request.dataset], strict=True)).get(name)
    return None if figure is None else tuple(figure)


def is_comparable(request: Request, protocol: Protocol, *, scaled: bool = False) -> bool:
    """Return whether network, hyper-parameters and protocol are the paper's, apart from what a study varies.

    Args:
        request, protocol: of the study, before it varies them.
        scaled: whether to ignore the number of iterations.
    """
    usual = Request(request.dataset, request.ipc, request.method, seed=request.seed, precision=request.precision)
    if scaled:
        request = request.varied(iterations=None)
    return replace(request, name=None) == usual and protocol.is_papers
