"""The sets that come with the program: made at the paper's scale, evaluated, and read like any other.

They lie in a store of their own inside the package, which nothing writes to. A name that the user's store has means the
user's sets, every version of it.
"""

from pathlib import Path

import registry

_FOLDER = Path(__file__).with_name("sets")


def bundled() -> registry.Store:
    """The store of the sets that come with the program."""
    return registry.Store(_FOLDER)


def find(reference: str, store: registry.Store) -> tuple[registry.Store, registry.StoredSet]:
    """The set that a reference means, and the store that has it: the user's, else the program's own.

    Args:
        reference: `name`, `name:version` or `@sha256:…`.
        store: the user's.

    Raises:
        registry.RegistryError: neither has it; or it is damaged.
    """
    wanted = registry.parse_reference(reference)
    try:
        return store, store.find(wanted)
    except registry.NotFoundError as missing:
        if wanted.name is not None and store.versions(wanted.name):
            raise  # the name is the user's, and so are its versions
        try:
            return bundled(), bundled().find(wanted)
        except registry.NotFoundError:
            raise missing from None


def evaluations(stored: registry.StoredSet, store: registry.Store) -> list[dict[str, registry.JsonValue]]:
    """What was measured on a set: what came with the program, then the user's own, each oldest first."""
    own = store.evaluations(stored.digest)
    return [record for record in bundled().evaluations(stored.digest) if record not in own] + own
