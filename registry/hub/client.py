"""How much the Hub's client says on its own."""

import logging
import os
import sys

from registry.hub.errors import without_passwords


def calm_client(*, quiet: bool) -> None:
    """No bars where standard error is no terminal, or nothing is to be said; what the user has set comes first.

    The client reads its environment once, when it is imported; so this is for a program to call before.

    Args:
        quiet: whether its warnings are left out too, as those of a request that it repeats.
    """
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if quiet:
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")


class _WithoutPasswords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_passwords(record.getMessage()), ()
        return True


_WITHOUT_PASSWORDS = _WithoutPasswords()


def mask_client() -> None:
    """Take passwords out of the addresses that the client warns of, as that of a request that it repeats.

    It has set up its log when it is imported; so this is to be called after.
    """
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_WITHOUT_PASSWORDS)
