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
    """References to stored sets and to those that come with the program; the latter alone if the store is unreadable.

    Names first; after a colon, the name's versions and tags.
    """
    found: list[str] = []
    for make in (registry.Store, bundled):
        with contextlib.suppress(registry.RegistryError):
            found += _references(make(), incomplete)
    return list(dict.fromkeys(found))


def _references(store: registry.Reader, incomplete: str) -> list[str]:
    text, colon, _ = incomplete.partition(":")
    if not colon:
        return list(map(str, store.names(incomplete)))
    name = registry.parse_name(text)
    return _complete([f"{name}:{each}" for each in (*store.versions(name), *store.tags(name))], incomplete)


Json = Annotated[bool, typer.Option("--json", help="Answer in compact JSON.", rich_help_panel="Output")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print identifiers only, one a line.", rich_help_panel="Output")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and take nothing away.")]
Device = Annotated[str, typer.Option(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N or mps.")]
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
