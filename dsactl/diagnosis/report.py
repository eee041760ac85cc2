"""A report of the findings for a bug report, without anything private."""

import getpass
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import platformdirs

import registry
from dsactl import __version__
from dsactl.data.catalogue import data_root
from dsactl.diagnosis.finding import Finding
from dsactl.diagnosis.packages import EXTRAS, REQUIRED, installed
from registry.hub.errors import masked


def versions() -> dict[str, str | None]:
    """Return the versions of dsactl, Python, the system, the processor and all packages; None if not installed."""
    optional = (package for _, packages in EXTRAS.values() for package in packages)
    return {
        "dsactl": __version__,
        "Python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        **{package: installed(package) for package in (*REQUIRED, *optional)},
    }


def _processor() -> str:
    """Return the processor's name and features; what Python knows where torch cannot be loaded."""
    try:
        from dsactl.diagnosis.processor import features
        from dsactl.engine.device import capabilities
    except (ImportError, OSError, RuntimeError):
        return platform.machine()
    can = capabilities()
    has = [name for name, here in features(can).items() if here]
    return ", ".join([str(can.get("cpu_name") or platform.machine()), f"{os.cpu_count()} cores", *has])


def lines(findings: Iterable[Finding]) -> list[str]:
    """Return the report: versions, then the findings. Paths, names of the user and machine, and tokens are left out."""
    have = [f"{name} {text}" for name, text in versions().items() if text and name not in ("system", "processor")]
    head = [", ".join(have), f"{versions()['system']}; {versions()['processor']}"]
    rows = [f"{found.state:<8}  {found.check}: {found.found}" for found in findings]
    return [without_private(text) for text in [*head, *rows]]


def without_private(text: str) -> str:
    """Replace folders by what they are, other paths, the names of the user and of the machine, and tokens."""
    text = masked(text)
    for folder, name in sorted(_folders(), key=lambda pair: -len(pair[0])):
        text = text.replace(folder, name)
    text = re.sub(r"(?<![\w<>/.])(?!/dev/shm\b|//)(?:~|/|[A-Za-z]:\\)[\w.@+~\\/-]*[\w@+~-]/?", "PATH", text)
    for name in _names():
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "…", text)
    return text


def _folders() -> Iterator[tuple[str, str]]:
    """Yield the folders that findings may name."""
    known: dict[str, Callable[[], Path]] = {
        "STORE": registry.default_home,
        "DATA": data_root,
        "CACHE": lambda: Path(platformdirs.user_cache_dir("dsactl", appauthor=False)),
        "TEMPORARY": lambda: Path(tempfile.gettempdir()),
        "HERE": Path.cwd,
        "HOME": Path.home,
    }
    for name, find in known.items():
        try:
            folder = str(find())
        except (registry.Error, RuntimeError, KeyError, OSError):  # there is none
            continue
        if len(folder) > 1:
            yield folder, name


def _names() -> Iterator[str]:
    """Yield the names of the user and of the machine."""
    for find in (getpass.getuser, platform.node, lambda: platform.node().partition(".")[0]):
        try:
            name = find()
        except (KeyError, OSError, ImportError):  # a user without a name
            continue
        if name:
            yield name
