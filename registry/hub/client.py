"""Logging of the Hub's client."""

import logging
import os
import sys

from registry.hub.errors import without_passwords


def configure_client_logging(*, quiet: bool) -> None:
    """Disable the client's progress bars if quiet or if standard error is not a terminal.

    The user's own environment variables take precedence. Call this before the client is imported, which is when it
    reads its environment.

    Args:
        quiet: disable warnings too, such as that of a repeated request.
    """
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if quiet:
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")


class _WithoutPasswords(logging.Filter):
    """Filter that removes passwords from messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_passwords(record.getMessage()), ()
        return True


_WITHOUT_PASSWORDS = _WithoutPasswords()


def mask_client_logs() -> None:
    """Remove passwords from the URLs in the client's warnings, such as that of a repeated request.

    Call this after the client is imported, which is when it sets up its logging.
    """
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_WITHOUT_PASSWORDS)
