"""Options and completions that several commands share. No torch here."""

import contextlib
from typing import Annotated

import typer

import registry
from dsactl.bundled import bundled
from dsactl.data.catalogue import CATALOGUE
from dsactl.networks.catalogue import ACTIVATIONS, ARCHITECTURES, NORMS, POOLINGS


def _complete(words: list[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def complete_dataset(incomplete: str) -> list[str]:
    """Names of data sets."""
    return _complete(list(CATALOGUE), incomplete)


def complete_arch(incomplete: str) -> list[str]:
    """Names of networks."""
    return _complete(list(ARCHITECTURES), incomplete)


def complete_reference(incomplete: str) -> list[str]:
    """Names of stored sets and of those that come with the program; the latter alone where the store is unreadable."""
    names = bundled().names()
    with contextlib.suppress(registry.RegistryError):
        names = registry.Store().names() + names
    return _complete(list(dict.fromkeys(map(str, names))), incomplete)


Json = Annotated[bool, typer.Option("--json", help="Answer in compact JSON.", rich_help_panel="Output")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print identifiers only, one a line.", rich_help_panel="Output")
]
Device = Annotated[str, typer.Option(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N or mps.")]
Reference = Annotated[
    str, typer.Argument(metavar="REF", help="name, name:version or @sha256:…", autocompletion=complete_reference)
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
    typer.Option(help=f"{', '.join(NORMS)}  \\[instance]", rich_help_panel=_NETWORK),
]
Activation = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(ACTIVATIONS)}  \\[relu]", rich_help_panel=_NETWORK),
]
Pooling = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(POOLINGS)}  \\[avg]", rich_help_panel=_NETWORK),
]
