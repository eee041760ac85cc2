"""Optional packages, which come with an extra: `pip install 'dsactl[EXTRA]'`."""

import importlib.util

from registry.errors import MissingPackageError


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def require(what: str, extra: str, *packages: str, otherwise: str = "") -> None:
    """Refuse work before it begins if a package for it is not installed.

    Args:
        what: the subject of the message: a call or parameter in backticks, a dataset.
        extra: the extra that installs the packages.
        packages: their import names.
        otherwise: an alternative, added to the hint.

    Raises:
        MissingPackageError: a package is not installed.
    """
    missing = [package for package in packages if not is_installed(package)]
    if not missing:
        return
    one = len(missing) == 1
    named = f"the package {missing[0]}, which is" if one else f"{' and '.join(missing)}, which are"
    hint = f"Install {'it' if one else 'them'}: pip install 'dsactl[{extra}]'. {otherwise}"
    raise MissingPackageError(f"{what} needs {named} not installed.", hint.strip())
