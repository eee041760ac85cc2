"""Packages: whether they are installed, and new enough."""

import importlib
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from dsactl.diagnosis.finding import Finding, first_line

REQUIRED: Mapping[str, str] = {
    "filelock": "4.2.11",
    "jinja2": "3.1",
    "numpy": "2.0",
    "pillow": "11.0",
    "platformdirs": "4.3",
    "pydantic": "2.10",
    "rich": "13.9",
    "safetensors": "0.5",
    "torch": "2.11",
    "torchvision": "0.26",
    "typer": "0.15",
}
"""The oldest version of each package that dsactl needs."""

EXTRAS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "studies": ("Plots and statistics of studies", {"matplotlib": "3.9", "scipy": "1.15"}),
    "hub": ("Sharing sets through the Hub, parquet files", {"huggingface_hub": "1.0", "pyarrow": "18.0"}),
    "svhn": ("Reading SVHN", {"scipy": "1.15"}),
    "ray": ("Tasks on several machines, GPUs or processes", {"ray": "2.40"}),
    "tensorboard": ("Logs of runs for TensorBoard", {"tensorboard": "2.18"}),
}
"""For each extra what it is for, and its packages with the oldest version."""


def required() -> Iterator[Finding]:
    """Load torch, and compare the versions of the packages that dsactl needs."""
    try:
        for package in ("torch", "torchvision"):
            importlib.import_module(package)
    except (ImportError, OSError, RuntimeError) as error:
        found = f"Torch or torchvision cannot be loaded: {first_line(error)}."
        yield Finding("packages", "broken", found, "pip install --force-reinstall torch torchvision")
        return
    faults = _faults(REQUIRED)
    if faults:
        yield Finding("packages", "broken", f"{'; '.join(faults)}.", "pip install --upgrade dsactl")
    else:
        yield Finding("packages", "ok", f"torch {version('torch')}; all that dsactl needs, new enough.")


def extras() -> Iterator[Finding]:
    """Say which extras are installed."""
    for extra, (purpose, packages) in EXTRAS.items():
        faults = _faults(packages)
        install = f"pip install --upgrade 'dsactl[{extra}]'"
        name = f"extra {extra}"
        if not faults:
            have = ", ".join(f"{package} {version(package)}" for package in packages)
            yield Finding(name, "ok", f"{purpose}: {have}.")
        elif all(installed(package) for package in packages):
            yield Finding(name, "broken", f"{purpose}: {'; '.join(faults)}.", install)
        else:
            yield Finding(name, "not here", f"{purpose}: {'; '.join(faults)}.", install)


def installed(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _faults(packages: Mapping[str, str]) -> list[str]:
    """Return what is missing or too old."""
    faults = []
    for package, least in packages.items():
        have = installed(package)
        if have is None:
            faults.append(f"{package} is not installed")
        elif _numbers(have) < _numbers(least):
            faults.append(f"{package} {have} is too old ({least} or newer)")
    return faults


def _numbers(text: str) -> list[int]:
    """Return the numbers of a version, without what follows them: of "2.15.0+cpu" 2, 15 and 0."""
    found = re.match(r"\d+(\.\d+)*", text)
    return [int(part) for part in found[0].split(".")] if found else []
