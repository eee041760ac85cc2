"""Options and completions that several commands share. No torch here."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

import registry
from dsactl.data.catalogue import CATALOGUE
from dsactl.engine.words import PRECISIONS, check_cluster, check_device, check_gpu_share, check_precision
from dsactl.networks.catalogue import ACTIVATIONS, ARCHITECTURES, NORMS, POOLINGS
from dsactl.recipes import methods as methods
from dsactl.synthetic import bundled


def _complete(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def complete_dataset(incomplete: str) -> list[str]:
    """Names of data sets."""
    return _complete(list(CATALOGUE), incomplete)


def complete_arch(incomplete: str) -> list[str]:
    """Names of networks."""
    return _complete(list(ARCHITECTURES), incomplete)


def complete_reference(incomplete: str) -> list[str]:
    """References to stored sets and to those that come with the program; the latter alone if the store is unreadable.

    Names first; after a colon, the name's versions and tags.
    """
    with contextlib.suppress(registry.RegistryError):
        text, colon, _ = incomplete.partition(":")
        if colon:
            return _complete([f"{text}:{each}" for each in _versions_and_tags(registry.parse_name(text))], incomplete)
    own = [*map(str, bundled.bundled().names(incomplete)), *map(str, bundled.names(incomplete))]
    with contextlib.suppress(registry.RegistryError):
        return list(dict.fromkeys([*map(str, registry.Store().names(incomplete)), *own]))
    return own


def _versions_and_tags(name: registry.SetName) -> list[int | str]:
    for store, known in ((registry.Store(), name), (bundled.bundled(), bundled.bare(name))):
        versions = store.versions(known)
        if versions:
            return [*versions, *store.tags(known)]
    return []


def complete_method(incomplete: str) -> list[str]:
    """Names of methods."""
    return _complete(methods.names(), incomplete)


def one_of(*words: str) -> Callable[[str], list[str]]:
    """A completion with these words."""
    return lambda incomplete: _complete(words, incomplete)


Json = Annotated[bool, typer.Option("--json", help="Answer in compact JSON.", rich_help_panel="Output")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print identifiers only, one a line.", rich_help_panel="Output")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and take nothing away.")]


def _checked(check: Callable[[Any], None]) -> Callable[[Any], Any]:
    """A callback for a value that is refused by `check`, or taken as it is."""

    def callback(value: Any) -> Any:
        check(value)
        return value

    return callback


Device = Annotated[
    str,
    typer.Option(
        callback=_checked(check_device),
        help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N or mps.",
        autocompletion=one_of("auto", "cpu", "cuda", "mps"),
    ),
]
Ray = Annotated[
    str,
    typer.Option(
        callback=_checked(check_cluster),
        metavar="auto|HOST:PORT|off",
        help="Where tasks go: this machine's cores or GPUs, if Ray is installed; a cluster; this process.",
        autocompletion=one_of("auto", "off"),
    ),
]
GpuShare = Annotated[
    float, typer.Option(callback=_checked(check_gpu_share), help="What each task takes of a GPU on Ray, 0 … 1.")
]
complete_precision = one_of(*PRECISIONS)
Precision = Annotated[
    str,
    typer.Option(
        callback=_checked(check_precision), help=f"{', '.join(PRECISIONS)}.", autocompletion=complete_precision
    ),
]
Reference = Annotated[
    str,
    typer.Argument(metavar="REF", help="name, name:version, name:tag or @sha256:…", autocompletion=complete_reference),
]
References = Annotated[
    list[str],
    typer.Argument(metavar="REF…", help="name, name:version, name:tag or @sha256:…", autocompletion=complete_reference),
]

_NETWORK = "Network"
Arch = Annotated[
    str | None,
    typer.Option(help="See: dsactl archs", autocompletion=complete_arch, rich_help_panel=_NETWORK),
]
Depth = Annotated[
    int | None,
    typer.Option(help="Blocks of the ConvNet  \\[3; 2 below 16×16 pixels, 1 below 8×8]", rich_help_panel=_NETWORK),
]
Width = Annotated[int | None, typer.Option(help="Filters per block  \\[128]", rich_help_panel=_NETWORK)]
Norm = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(NORMS)}  \\[instance]", autocompletion=one_of(*NORMS), rich_help_panel=_NETWORK),
]
Activation = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(ACTIVATIONS)}  \\[relu]", autocompletion=one_of(*ACTIVATIONS), rich_help_panel=_NETWORK
    ),
]
Pooling = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(POOLINGS)}  \\[avg]", autocompletion=one_of(*POOLINGS), rich_help_panel=_NETWORK),
]
