"""The command `dsactl env`."""

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import registry
from dsactl import __version__
from dsactl.cli.output import Output
from dsactl.text.tables import Facts

EXAMPLES = """Examples:

  dsactl env
  dsactl env --json"""

_LIBRARIES = ("torch", "torchvision", "numpy", "safetensors", "pydantic", "typer")
_OF_EXTRAS = ("matplotlib", "scipy", "huggingface_hub", "pyarrow", "ray", "tensorboard")


def command(*, output: Output) -> None:
    """Show versions, device, engine and folders, for bug reports."""
    from dsactl.data.catalogue import data_root
    from dsactl.engine.device import describe, resolve_device, resolve_precision
    from dsactl.engine.mode import best_mode

    device = resolve_device("auto")
    value = {
        "dsactl": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{library: _version(library) for library in (*_LIBRARIES, *_OF_EXTRAS)},
        "device": describe(device),
        "precision": resolve_precision("auto", device),
        "engine": str(best_mode(device, long=True, capture=True)),
        "store": _folder(registry.default_home),
        "data": _folder(data_root),
    }
    shown = Facts()
    for key, item in value.items():
        shown.add(key, item or "not installed", whole=key in ("store", "data"))
    output.answer(value, [__version__], [shown])


def _folder(find: Callable[[], Path]) -> str:
    """Return a folder, or why there is none."""
    try:
        return str(find())
    except registry.StoreError as error:
        return f"none: {error.message} {error.hint}"


def _version(library: str) -> str | None:
    """Return the version of a library, or None if it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None
