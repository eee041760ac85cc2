"""The sets that come with the program: made at the paper's scale, evaluated, and read like any other.

They lie in a store of their own inside the package, which nothing writes to, and are called `bundled/NAME`. A bare name
means the user's sets, every version of them, where the store has it, and the program's own where it has not.
"""

from dataclasses import replace
from pathlib import Path

import registry
from dsactl.data.catalogue import CATALOGUE

_FOLDER = Path(__file__).with_name("bundled_sets")
NAMESPACE = "bundled"


def bundled() -> registry.Reader:
    """The store of the sets that come with the program; there they have no namespace."""
    return registry.Reader(_FOLDER)


def names(prefix: str = "") -> list[registry.SetName]:
    """What the sets that come with the program are called, those that begin so."""
    return [name for name in map(_called, bundled().names()) if str(name).startswith(prefix)]


def find(reference: str, store: registry.Store) -> tuple[registry.Reader, registry.StoredSet]:
    """The set that a reference means, and the store that has it: the user's, else the program's own.

    Args:
        reference: `name`, `name:version`, `name:tag` or `@sha256:…`.
        store: the user's.

    Raises:
        registry.RegistryError: neither has it; or it is damaged.
    """
    wanted = registry.parse_reference(reference)
    if wanted.name is not None and wanted.name.namespace == NAMESPACE:
        return bundled(), _find_bundled(wanted)
    try:
        return store, store.find(wanted)
    except registry.NotFoundError as missing:
        if wanted.name is not None and store.versions(wanted.name):
            raise  # the name is the user's, and so are its versions
        try:
            return bundled(), _find_bundled(wanted)
        except registry.NotFoundError as here:
            if wanted.name is None:
                raise missing from None
            if bare(wanted.name) in bundled().names():
                raise here from None
            if str(wanted.name) in CATALOGUE:
                raise registry.NotFoundError(
                    f"{wanted.name} is a data set, and there is no set of that name.",
                    f"Make one of it: dsactl condense {wanted.name} --ipc 1",
                ) from None
            known = [*store.names(), *bundled().names(), *names()]
            raise registry.NotFoundError(missing.message, registry.nearest(wanted.name, known)) from None


def check_own_name(name: registry.SetName) -> registry.SetName:
    """Refuse the program's namespace for a set of the user's.

    Raises:
        registry.BadNameError: it is that.
    """
    if name.namespace == NAMESPACE:
        raise registry.BadNameError(f"The namespace {NAMESPACE}/ is the program's own.", "Choose another name.")
    return name


def own_name(name: str | None, repo_id: str) -> registry.SetName | None:
    """What a set from the Hub is to be called; None for the name of its repository.

    Raises:
        registry.BadNameError: it would be called as the program's own sets are.
    """
    if name is None and not repo_id.lower().startswith(f"{NAMESPACE}/"):
        return None
    return check_own_name(registry.parse_name(name or repo_id.lower()))


def own(reference: str, store: registry.Store) -> registry.StoredSet:
    """The set of the user's that a reference means, to change it.

    Args:
        reference: `name`, `name:version`, `name:tag` or `@sha256:…`.
        store: the user's.

    Raises:
        registry.RegistryError: there is none, or it comes with the program.
    """
    where, stored = find(reference, store)
    if where is not store:
        raise registry.NotFoundError(
            f"{stored.reference} comes with dsactl and is not changed.", "Your own sets: dsactl ls"
        )
    return stored


def evaluations(stored: registry.StoredSet, store: registry.Store) -> list[dict[str, registry.JsonValue]]:
    """What was measured on a set: what came with the program, then the user's own, each oldest first."""
    own = store.evaluations(stored.digest)
    return [record for record in bundled().evaluations(stored.digest) if record not in own] + own


def entries(store: registry.Store) -> tuple[list[registry.Entry], list[registry.RegistryError]]:
    """The program's own sets in short, with what was measured on them here too, and what is wrong with them."""
    found, faults = bundled().entries()
    own = [registry.shown_of(store.evaluations(entry.digest)) for entry in found]
    return [
        entry._replace(
            name=_called(entry.name),
            evaluations=[*entry.evaluations, *(each for each in more if each not in entry.evaluations)],
        )
        for entry, more in zip(found, own, strict=True)
    ], faults


def _find_bundled(wanted: registry.Reference) -> registry.StoredSet:
    stored = bundled().find(wanted if wanted.name is None else replace(wanted, name=bare(wanted.name)))
    return replace(stored, name=_called(stored.name))


def _called(name: registry.SetName) -> registry.SetName:
    return registry.SetName(NAMESPACE, name.name)


def bare(name: registry.SetName) -> registry.SetName:
    """A name as the program's own store has it: without `bundled/`."""
    return registry.SetName("", name.name) if name.namespace == NAMESPACE else name
