"""The names of proxies: three words, and the references of sets. Importing this imports no torch."""

from difflib import get_close_matches

import registry
from dsactl.errors import UnknownNameError
from dsactl.synthetic import bundled

RANDOM, EARLY_STOPPING, WHOLE = "random", "early-stopping", "whole"
BUILT_IN = (RANDOM, EARLY_STOPPING, WHOLE)


def check(word: str, store: registry.Store) -> None:
    """Check that a word names a proxy.

    Raises:
        UnknownNameError, registry.RegistryError: see `find`.
    """
    if word not in BUILT_IN:
        find(word, store)


def find(word: str, store: registry.Store) -> tuple[registry.Reader, registry.StoredSet]:
    """Find the set that a proxy's name refers to.

    Raises:
        UnknownNameError: there is no such set, and the word resembles one of `BUILT_IN`.
        registry.RegistryError: there is no such set, or it is damaged.
    """
    try:
        return bundled.find(word, store)
    except registry.NotFoundError as error:
        if get_close_matches(word, BUILT_IN):
            raise UnknownNameError("proxy", word, BUILT_IN) from error
        raise
