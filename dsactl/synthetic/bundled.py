"""The bundled sets: condensed at the paper's scale, evaluated, and read like any other.

They are in a read-only store inside the package and are named `bundled/NAME`. A bare name refers to the user's sets, in
all versions, if the store has the name, and otherwise to the bundled set.
"""

from dataclasses import replace
from pathlib import Path

import registry
from dsactl.data.catalogue import CATALOGUE

_FOLDER = Path(__file__).with_name("bundled_sets")
NAMESPACE = "bundled"


def bundled() -> registry.Reader:
    """Return the store of the bundled sets; inside it they have no namespace."""
    return registry.Reader(_FOLDER)


def names(prefix: str = "") -> list[registry.SetName]:
    """Return the names of the bundled sets that start with a prefix."""
    return [name for name in map(_with_namespace, bundled().names()) if str(name).startswith(prefix)]


def find(reference: str, store: registry.Store) -> tuple[registry.Reader, registry.StoredSet]:
    """Find a set and the store that has it: the user's, else the bundled one.

    Args:
        reference: `name`, `name:version`, `name:tag` or `@sha256:…`.
        store: the user's.

    Raises:
        registry.RegistryError: neither store has the set, or it is damaged.
    """
    wanted = registry.parse_reference(reference)
    if wanted.name is not None and wanted.name.namespace == NAMESPACE:
        if wanted.name not in (known := names()):
            raise registry.NotFoundError(
                f"There is no set {str(wanted.name)!r}.", f"Those that come with dsactl: {', '.join(map(str, known))}."
            )
        return bundled(), _find_bundled(wanted)
    try:
        return store, store.find(wanted)
    except registry.NotFoundError as missing:
        if wanted.name is not None and store.versions(wanted.name):
            raise  # the user has a set of this name, so the version is the user's too
        try:
            return bundled(), _find_bundled(wanted)
        except registry.NotFoundError as here:
            if wanted.name is None:
                raise missing from None
            if bare(wanted.name) in bundled().names():
                raise here from None
            if str(wanted.name) in CATALOGUE:
                raise registry.NotFoundError(
                    f"{wanted.name} is a dataset, and there is no set of that name.",
                    f'Make one: `condense("{wanted.name}", ipc=1)`',
                ) from None
            known = [*store.names(), *bundled().names(), *names()]
            raise registry.NotFoundError(missing.message, registry.nearest(wanted.name, known)) from None


def check_own_name(name: registry.SetName) -> registry.SetName:
    """Check that a user's set is not named in the namespace of the bundled sets.

    Raises:
        registry.BadNameError: it is.
    """
    if name.namespace == NAMESPACE:
        raise registry.BadNameError(f"The namespace {NAMESPACE}/ is reserved for dsactl.", "Choose another name.")
    return name


def own_name(name: str | None, repo_id: str) -> registry.SetName | None:
    """Return the name for a set from the Hub; None for its repository's name.

    Raises:
        registry.BadNameError: the name would be in the namespace of the bundled sets.
    """
    if name is None and not repo_id.lower().startswith(f"{NAMESPACE}/"):
        return None
    return check_own_name(registry.parse_name(name or repo_id.lower()))


def own(reference: str, store: registry.Store) -> registry.StoredSet:
    """Find a set of the user's, to change it.

    Args:
        reference: `name`, `name:version`, `name:tag` or `@sha256:…`.
        store: the user's.

    Raises:
        registry.RegistryError: there is no such set, or it is a bundled one.
    """
    where, stored = find(reference, store)
    if where is not store:
        raise registry.NotFoundError(
            f"{stored.reference} is bundled with dsactl and cannot be changed.", "Your own sets: `store.sets()`"
        )
    return stored


def evaluations(stored: registry.StoredSet, store: registry.Store) -> list[dict[str, registry.JsonValue]]:
    """Return a set's evaluations: the bundled ones, then the user's, each oldest first."""
    own = store.evaluations(stored.digest)
    return [record for record in bundled().evaluations(stored.digest) if record not in own] + own


def entries(store: registry.Store) -> tuple[list[registry.Entry], list[registry.RegistryError]]:
    """Return summaries of the bundled sets, with the user's evaluations of them, and the errors found in the store."""
    found, faults = bundled().entries()
    own = [registry.shown_of(store.evaluations(entry.digest)) for entry in found]
    return [
        entry._replace(
            name=_with_namespace(entry.name),
            evaluations=[*entry.evaluations, *(each for each in more if each not in entry.evaluations)],
        )
        for entry, more in zip(found, own, strict=True)
    ], faults


def _find_bundled(wanted: registry.Reference) -> registry.StoredSet:
    stored = bundled().find(wanted if wanted.name is None else replace(wanted, name=bare(wanted.name)))
    return replace(stored, name=_with_namespace(stored.name))


def _with_namespace(name: registry.SetName) -> registry.SetName:
    return registry.SetName(NAMESPACE, name.name)


def bare(name: registry.SetName) -> registry.SetName:
    """Return a name without `bundled/`, as in the store of the bundled sets."""
    return registry.SetName("", name.name) if name.namespace == NAMESPACE else name
