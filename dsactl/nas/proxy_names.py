"""What proxies are called: a few words, and the references of sets. Importing this imports no torch."""

from difflib import get_close_matches

import registry
from dsactl.errors import UnknownNameError
from dsactl.synthetic import bundled

RANDOM, EARLY_STOPPING, WHOLE = "random", "early-stopping", "whole"
BUILT_IN = (RANDOM, EARLY_STOPPING, WHOLE)


def check(word: str, store: registry.Store) -> None:
    """Refuse a word that names no proxy.

    Raises:
        UnknownNameError, registry.RegistryError: as of `find`.
    """
    if word not in BUILT_IN:
        find(word, store)


def find(word: str, store: registry.Store) -> tuple[registry.Reader, registry.StoredSet]:
    """Find the set that is a proxy.

    Raises:
        UnknownNameError: there is none, and the word is like that of a proxy that needs no set.
        registry.RegistryError: there is none, or it is damaged.
    """
    try:
        return bundled.find(word, store)
    except registry.NotFoundError as error:
        if get_close_matches(word, BUILT_IN):
            raise UnknownNameError("proxy", word, BUILT_IN) from error
        raise
