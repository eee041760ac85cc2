"""Notices to the user that are no errors, through the logger `registry`: by default on the standard error."""

import functools
import logging


@functools.cache
def notify_once(text: str) -> None:
    """Log a warning, unless this process has logged it before."""
    logging.getLogger("registry").warning(text)
