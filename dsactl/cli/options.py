"""Options, groups of options and completions shared by several commands. Importing this does not import torch."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

import registry
from dsactl.data.catalogue import CATALOGUE
from dsactl.engine.words import PRECISIONS, check_cluster, check_device, check_gpu_share, check_precision
from dsactl.networks.catalogue import ACTIVATIONS, ARCHITECTURES, NORMS, POOLINGS, NetworkSpec
from dsactl.recipes import methods as methods
from dsactl.synthetic import bundled


def _complete(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def complete_dataset(incomplete: str) -> list[str]:
    """Complete dataset names."""
    return _complete(list(CATALOGUE), incomplete)


def complete_arch(incomplete: str) -> list[str]:
    """Complete network names."""
    return _complete(list(ARCHITECTURES), incomplete)


def complete_reference(incomplete: str) -> list[str]:
    """Complete references: names of stored and bundled sets or, after a colon, versions and tags.

    If the store is unreadable, only bundled sets are offered.
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
    """Complete method names."""
    return _complete(methods.names(), incomplete)


def one_of(*words: str) -> Callable[[str], list[str]]:
    """Return a completion that offers these words."""
    return lambda incomplete: _complete(words, incomplete)


Yes = Annotated[bool, typer.Option("--yes", "-y", help="No confirmation prompt.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List of what would be removed; nothing is removed.")]


def _checked(check: Callable[[Any], None]) -> Callable[[Any], Any]:
    """Return an option callback that raises what `check` raises, and returns the value unchanged otherwise."""

    def callback(value: Any) -> Any:
        check(value)
        return value

    return callback


Device = Annotated[
    str,
    typer.Option(
        callback=_checked(check_device),
        help="Device: auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N or mps.",
        autocompletion=one_of("auto", "cpu", "cuda", "mps"),
    ),
]
PRECISION_HELP = "Floating-point precision: auto (bfloat16 if faster on the device), float32 or bfloat16."
complete_precision = one_of(*PRECISIONS)
Precision = Annotated[
    str,
    typer.Option(
        callback=_checked(check_precision),
        help=PRECISION_HELP,
        autocompletion=complete_precision,
    ),
]
DATASET = typer.Argument(
    metavar="DATASET",
    help="Dataset name (list: dsactl datasets) or image folder with one sub-folder per class.",
    autocompletion=complete_dataset,
)
FOLDERS = "Image folders"
"""The panel of the options that an image folder is read with."""
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Side of the images in pixels; the shorter side is resized to it, then the centre is cropped.",
        rich_help_panel=FOLDERS,
    ),
]
TestFraction = Annotated[
    float | None, typer.Option(help="Share of the images held out for testing.  \\[0.2]", rich_help_panel=FOLDERS)
]
SET_HELP = "Set: name, name:version, name:tag or @sha256:…"
REFERENCE_HELP = "Set or pool of experts: name, name:version, name:tag or @sha256:…"
Reference = Annotated[
    str,
    typer.Argument(metavar="REF", help=REFERENCE_HELP, autocompletion=complete_reference),
]
References = Annotated[
    list[str],
    typer.Argument(
        metavar="REF",
        help="Sets or pools of experts: name, name:version, name:tag or @sha256:…",
        autocompletion=complete_reference,
    ),
]

_NETWORK = "Network"
Arch = Annotated[
    str | None,
    typer.Option(
        help="Network architecture (list: dsactl archs).  \\[convnet; in evaluate the set's own]",
        autocompletion=complete_arch,
        rich_help_panel=_NETWORK,
    ),
]


@dataclass(frozen=True)
class NetworkOptions:
    """A network and the variants of the ConvNet; None selects the default."""

    arch: Arch = None
    depth: Annotated[
        int | None,
        typer.Option(
            help="Number of ConvNet blocks.  \\[3; 2 below 16×16 pixels, 1 below 8×8]", rich_help_panel=_NETWORK
        ),
    ] = None
    width: Annotated[int | None, typer.Option(help="Filters per ConvNet block.  \\[128]", rich_help_panel=_NETWORK)] = (
        None
    )
    norm: Annotated[
        str | None,
        typer.Option(
            help=f"Normalisation: {', '.join(NORMS)}.  \\[instance]",
            autocompletion=one_of(*NORMS),
            rich_help_panel=_NETWORK,
        ),
    ] = None
    activation: Annotated[
        str | None,
        typer.Option(
            help=f"Activation function: {', '.join(ACTIVATIONS)}.  \\[relu]",
            autocompletion=one_of(*ACTIVATIONS),
            rich_help_panel=_NETWORK,
        ),
    ] = None
    pooling: Annotated[
        str | None,
        typer.Option(
            help=f"Pooling: {', '.join(POOLINGS)}.  \\[avg]", autocompletion=one_of(*POOLINGS), rich_help_panel=_NETWORK
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def spec(self) -> NetworkSpec | None:
        """Return the network, or None if no option was given.

        Raises:
            DsactlError: an unknown network, or a variant that it does not have.
        """
        given = self.given()
        return NetworkSpec(**given) if given else None


@dataclass(frozen=True)
class RunOptions:
    """Where tasks run."""

    device: Device = "auto"
    ray: Annotated[
        str,
        typer.Option(
            callback=_checked(check_cluster),
            metavar="auto|HOST:PORT|off",
            help="Where tasks run: on this machine's cores or GPUs if Ray is installed (auto), on a Ray cluster "
            "(HOST:PORT), or in this process (off).",
            autocompletion=one_of("auto", "off"),
        ),
    ] = "off"
    gpu_share: Annotated[
        float,
        typer.Option(
            callback=_checked(check_gpu_share), help="Share of a GPU for each Ray task, above 0 and at most 1."
        ),
    ] = 1.0
