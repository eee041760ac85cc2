"""One table from what the Hub's client raises to a message that says what is wrong and what to do next."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from registry.errors import HubError, RegistryError

_LOG_IN = "Log in with: hf auth login (or set HF_TOKEN)."
_AGAIN = "Run the same command again; it goes on with what is missing."
_LONGEST_MESSAGE = 200
_CREDENTIALS = re.compile(r"(?<=://)[^/\s?#]*@")

_BY_STATUS = {
    400: ("The Hub refused the request for {repo}", "Update huggingface_hub, and check the name and the licence."),
    401: ("The Hub wants a valid token for {repo}", _LOG_IN),
    402: ("The Hub wants a paid plan for {repo}", "Push to another namespace, or without `private`."),
    403: ("The token may not do this to {repo}", "Use one that may, or propose the set: `push(..., create_pr=True)`"),
    404: ("The Hub has no {repo}, or the token may not see it", f"Check its name. For a private one: {_LOG_IN}"),
    409: ("Something else is happening to {repo}", _AGAIN),
    412: ("{repo} was changed by someone else meanwhile; nothing was written", _AGAIN),
    413: ("The set is too large for the Hub", "Install hf_xet for large files."),
    429: ("The Hub asks for fewer requests", "Wait a few minutes, then run the same command again."),
}


class UnreachableError(HubError):
    """There is no way to the Hub now: offline mode, or no connection."""


class MissingError(HubError):
    """A repository, revision or file that the Hub does not have, or does not show to this token."""


def masked(text: str) -> str:
    """A text that may be shown: without the token, should a server send it back, and without `user:password@`."""
    tokens = {os.environ.get("HF_TOKEN", "").strip()}
    # It may have to ask for one, and fail; a text must be fit to be shown even then.
    with suppress(Exception):
        from huggingface_hub import get_token

        tokens.add(get_token() or "")
    for token in sorted(tokens - {""}, key=len, reverse=True):
        text = text.replace(token, "…")
    return without_passwords(text)


def without_passwords(text: str) -> str:
    """A text without the `user:password@` of its addresses."""
    return _CREDENTIALS.sub("", text)


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn whatever the client raises in a block into a `HubError`; the block must hold nothing but its calls.

    Raises:
        HubError: the Hub refused, answered with what it should not, or cannot be reached.
        OSError: the cache cannot be written to.
    """
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:
        told = translated(error, repo_id)
        if told is error:
            raise
        raise told from error


def translated(error: Exception, repo_id: str) -> Exception:
    """The message for an exception of the client.

    Args:
        error: which may wrap the reason.
        repo_id: `user/repo`, for the message.

    Returns:
        A `HubError`; the error itself where it is not about the Hub: a full disk, no memory, a broken installation.
    """
    from huggingface_hub import errors

    reason = _reason(error)
    if isinstance(reason, errors.OfflineModeIsEnabled):
        return UnreachableError(
            f"HF_HUB_OFFLINE is set, and what is asked of {repo_id} is not in the cache.", "Unset HF_HUB_OFFLINE."
        )
    if isinstance(reason, errors.HfHubHTTPError):
        return _refusal(reason, repo_id)
    if _is_transport(reason):
        return _unreachable(reason)
    if isinstance(reason, errors.LocalEntryNotFoundError):
        return UnreachableError(f"What is asked of {repo_id} is not in the cache.", "Check the network.")
    if isinstance(reason, OSError) and str(reason).startswith("Consistency check failed"):
        return HubError(f"A file of {repo_id} arrived incomplete.", _AGAIN)
    if (isinstance(reason, OSError) and reason.errno is not None) or isinstance(reason, ImportError | MemoryError):
        return error
    return HubError(
        f"The answer for {repo_id} is not one of a Hub ({type(reason).__name__}).",
        "Is HF_ENDPOINT right? Perhaps a proxy or a login page answered.",
    )


def _reason(error: BaseException) -> BaseException:
    """The first in a chain of causes that says what happened; the error itself where none does."""
    from huggingface_hub import errors

    link: BaseException | None = error
    while link is not None:
        known = errors.OfflineModeIsEnabled | errors.HfHubHTTPError | errors.FileMetadataError
        if isinstance(link, known) or _is_transport(link):
            return link
        link = link.__cause__
    return error


def _is_transport(error: BaseException) -> bool:
    """Whether it comes from below HTTP. The client's releases use different libraries, with the same names."""
    return any(base.__name__ == "TransportError" for base in type(error).__mro__)


def _unreachable(error: BaseException) -> HubError:
    from huggingface_hub import constants

    kinds, endpoint = {base.__name__ for base in type(error).__mro__}, masked(constants.ENDPOINT)
    if "ConnectError" in kinds or "ConnectTimeout" in kinds:
        return UnreachableError(f"There is no connection to {endpoint}.", "Check the network and HF_ENDPOINT.")
    if "TimeoutException" in kinds:
        return UnreachableError(f"{endpoint} does not answer in time.", _AGAIN)
    return UnreachableError("The connection to the Hub was cut.", _AGAIN)


def _refusal(error: Exception, repo_id: str) -> HubError:
    """The message for an answer with an error status."""
    from huggingface_hub import errors

    status = int(error.response.status_code)  # type: ignore[attr-defined]
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{repo_id} is gated.", f"Ask for access on its page, then: {_LOG_IN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingError(f"{repo_id} has no such version or revision.", "Leave it out for the newest version.")
    if isinstance(error, errors.RepositoryNotFoundError):
        status = 404
    if isinstance(error, errors.EntryNotFoundError):
        return MissingError(f"A file of {repo_id} is not there.", "Was it pushed with dsactl?")
    if status in _BY_STATUS:
        message, hint = _BY_STATUS[status]
    elif status >= 500:
        message, hint = "The Hub has a fault", f"Wait a little. {_AGAIN}"
    else:
        message, hint = "The Hub refused the request for {repo}", _AGAIN
    wait = error.response.headers.get("Retry-After", "")  # type: ignore[attr-defined]
    if wait.isascii() and wait.isdigit():
        hint = f"Wait {int(wait)} s, then run the same command again."
    said = _said(error)
    kind = MissingError if status == 404 else HubError
    return kind(f"{message.format(repo=repo_id)} ({status}{': ' + said if said else ''}).", hint)


def _said(error: Exception) -> str:
    """What the server says, as one short line that may be shown."""
    words = " ".join(str(getattr(error, "server_message", None) or "").split())
    words = masked("".join(letter for letter in words if letter.isprintable())).rstrip(".")
    return words if len(words) <= _LONGEST_MESSAGE else words[:_LONGEST_MESSAGE] + "…"
