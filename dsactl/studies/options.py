"""What the options of studies have in common. Importing this loads no torch."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dsactl.engine.arguments import check_whole
from dsactl.errors import UnknownNameError, UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.recipes.recipe import Request
from dsactl.runs.request_check import check_request
from dsactl.text.formatting import many

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset


def request_of(dataset: str, ipc: int, **given: Any) -> Request:
    """Return the request of a study from its options; None selects the default.

    Raises:
        DsactlError: an invalid option, or an unknown dataset.
    """
    known = {name: value for name, value in given.items() if value is not None}
    request = Request.parse({"dataset": dataset, "ipc": ipc, **known})
    check_request(request)
    return request


def plan_of(request: Request, sets: int, protocol: Protocol, dataset: "Dataset") -> dict[str, Any]:
    """Return the settings that identify a study, independent of the requested cells."""
    return {
        "dataset": dataset.name,
        "images": dataset.checksums,
        "ipc": request.ipc,
        "method": request.method,
        "arch": request.arch,
        "seed": request.seed,
        "iterations": request.settings.get("iterations"),
        "image_size": request.image_size,
        "sets": sets,
        "networks": protocol.networks,
        "epochs": protocol.epochs,
        **({"formation": request.formation} if request.formation > 1 else {}),
    }


def about(request: Request) -> str:
    """Describe a request in a title: "1 image per class, dsa, formation 2, 100 iterations"."""
    tiled = f", formation {request.formation}" if request.formation > 1 else ""
    return f"{per_class(request)}, {request.method}{tiled}{fewer(request)}"


def fewer(request: Request) -> str:
    """Return the number of iterations for a title, after a comma; empty for the default."""
    iterations = request.settings.get("iterations")
    return "" if iterations is None else f", {many(iterations, 'iteration')}"


def per_class(request: Request) -> str:
    """Format the images per class for titles: "1 image per class"."""
    return f"{many(request.ipc, 'image')} per class"


def checked_names(names: Iterable[str], what: str, known: Sequence[str], see: str = "") -> tuple[str, ...]:
    """Return names from a catalogue, without repetitions.

    Args:
        names: that the user gives.
        what: the kind of thing, in the singular.
        known: the catalogue.
        see: more for the hint on an unknown name.

    Raises:
        UnknownNameError: an unknown name.
        UsageError: there are none.
    """
    found = tuple(dict.fromkeys(names))
    if not found:
        raise UsageError(f"No {what} was given.", f"Known: {', '.join(known)}.")
    for name in found:
        if name not in known:
            raise UnknownNameError(what, name, known, see)
    return found


def at_least_one(**numbers: int | None) -> None:
    """Refuse numbers below 1; None is allowed.

    Raises:
        UsageError: one is, or is no integer.
    """
    for name, number in numbers.items():
        if number is not None:
            check_whole(name, number)
