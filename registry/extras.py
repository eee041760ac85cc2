"""Packages that only some work needs. They come with an extra: `pip install 'dsactl[EXTRA]'`."""

import importlib.util

from registry.errors import MissingPackageError


def is_installed(package: str) -> bool:
    """Whether a package can be imported; told without importing it."""
    return importlib.util.find_spec(package) is not None


def require(what: str, extra: str, *packages: str, otherwise: str = "") -> None:
    """Refuse work, before it begins, that needs packages which are not installed.

    Args:
        what: needs them, as the user wrote it: a command, an option, a data set.
        extra: that they come with.
        packages: by the names that they are imported by.
        otherwise: what else can be done; added to the hint.

    Raises:
        MissingPackageError: some are not installed.
    """
    missing = [package for package in packages if not is_installed(package)]
    if not missing:
        return
    one = len(missing) == 1
    named = f"the package {missing[0]}, which is" if one else f"{' and '.join(missing)}, which are"
    hint = f"Install {'it' if one else 'them'}: pip install 'dsactl[{extra}]'. {otherwise}"
    raise MissingPackageError(f"`{what}` needs {named} not installed.", hint.strip())
