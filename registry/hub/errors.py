"""Translation of exceptions of the Hub's client into errors with a message and a hint."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from registry.errors import HubError, RegistryError

_LOG_IN = "Log in with: hf auth login (or set HF_TOKEN)."
_RETRY = "Try again; it continues with what is missing."
_MAX_MESSAGE_LENGTH = 200
_CREDENTIALS = re.compile(r"(?<=://)[^/\s?#]*@")

_BY_STATUS = {
    400: ("The Hub refused the request for {repo}", "Update huggingface_hub, and check the name and the licence."),
    401: ("The Hub requires a valid token for {repo}", _LOG_IN),
    402: ("The Hub requires a paid plan for {repo}", "Push to another namespace, or without `private`."),
    403: (
        "The token has no permission for this on {repo}",
        "Use one that has, or propose the set: `push(..., create_pr=True)`",
    ),
    404: ("The Hub has no {repo}, or the token has no access to it", f"Check its name. For a private one: {_LOG_IN}"),
    409: ("Another operation on {repo} is in progress", _RETRY),
    412: ("{repo} was changed by someone else meanwhile; nothing was written", _RETRY),
    413: ("The set is too large for the Hub", "Install hf_xet for large files."),
    429: ("Too many requests to the Hub", "Wait a few minutes, then try again."),
}


class UnreachableError(HubError):
    """Hub that is not reachable: offline mode, or no connection."""


class MissingError(HubError):
    """Repository, revision or file that does not exist on the Hub, or is not visible to this token."""


def masked(text: str) -> str:
    """Remove tokens, which a server may send back, and the `user:password@` of URLs from a text."""
    tokens = {os.environ.get("HF_TOKEN", "").strip()}
    # Looking up the token may fail; the text must be masked even then.
    with suppress(Exception):
        from huggingface_hub import get_token

        tokens.add(get_token() or "")
    for token in sorted(tokens - {""}, key=len, reverse=True):
        text = text.replace(token, "…")
    return without_passwords(text)


def without_passwords(text: str) -> str:
    """Remove the `user:password@` of URLs from a text."""
    return _CREDENTIALS.sub("", text)


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Convert the client's exceptions in a block into `HubError`; the block must only contain calls of the client.

    Raises:
        HubError: the Hub refused, gave an invalid answer, or cannot be reached.
        OSError: the cache is not writable.
    """
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:
        translated = translate_error(error, repo_id)
        if translated is error:
            raise
        raise translated from error


def translate_error(error: Exception, repo_id: str) -> Exception:
    """Return the error for an exception of the client.

    Args:
        error: the exception, which may wrap its cause.
        repo_id: `user/repo`, for the message.

    Returns:
        A `HubError`; the exception itself if it is not about the Hub: a full disk, no memory, a broken installation.
    """
    from huggingface_hub import errors

    reason = _reason(error)
    if isinstance(reason, errors.OfflineModeIsEnabled):
        return UnreachableError(
            f"HF_HUB_OFFLINE is set, and the requested files of {repo_id} are not in the cache.",
            "Unset HF_HUB_OFFLINE.",
        )
    if isinstance(reason, errors.HfHubHTTPError):
        return _refusal(reason, repo_id)
    if _is_transport(reason):
        return _unreachable(reason)
    if isinstance(reason, errors.LocalEntryNotFoundError):
        return UnreachableError(f"The requested files of {repo_id} are not in the cache.", "Check the network.")
    if isinstance(reason, OSError) and str(reason).startswith("Consistency check failed"):
        return HubError(f"A file of {repo_id} arrived incomplete.", _RETRY)
    if (isinstance(reason, OSError) and reason.errno is not None) or isinstance(reason, ImportError | MemoryError):
        return error
    return HubError(
        f"The answer for {repo_id} is not that of a Hub ({type(reason).__name__}).",
        "Check HF_ENDPOINT; perhaps a proxy or a login page answered.",
    )


def _reason(error: BaseException) -> BaseException:
    """Return the first known exception in the chain of causes; the error itself if there is none."""
    from huggingface_hub import errors

    link: BaseException | None = error
    while link is not None:
        known = errors.OfflineModeIsEnabled | errors.HfHubHTTPError | errors.FileMetadataError
        if isinstance(link, known) or _is_transport(link):
            return link
        link = link.__cause__
    return error


def _is_transport(error: BaseException) -> bool:
    """Return whether an error is below HTTP. Releases of the client use different libraries with the same names."""
    return any(base.__name__ == "TransportError" for base in type(error).__mro__)


def _unreachable(error: BaseException) -> HubError:
    from huggingface_hub import constants

    kinds, endpoint = {base.__name__ for base in type(error).__mro__}, masked(constants.ENDPOINT)
    if "ConnectError" in kinds or "ConnectTimeout" in kinds:
        return UnreachableError(f"There is no connection to {endpoint}.", "Check the network and HF_ENDPOINT.")
    if "TimeoutException" in kinds:
        return UnreachableError(f"{endpoint} does not answer in time.", _RETRY)
    return UnreachableError("The connection to the Hub was cut.", _RETRY)


def _refusal(error: Exception, repo_id: str) -> HubError:
    """Return the error for a response with an error status."""
    from huggingface_hub import errors

    status = int(error.response.status_code)  # type: ignore[attr-defined]
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{repo_id} is gated.", f"Request access on its page. {_LOG_IN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingError(f"{repo_id} has no such version or revision.", "Leave it out for the newest version.")
    if isinstance(error, errors.RepositoryNotFoundError):
        status = 404
    if isinstance(error, errors.EntryNotFoundError):
        return MissingError(f"A file of {repo_id} is missing.", "Was it pushed with dsactl?")
    if status in _BY_STATUS:
        message, hint = _BY_STATUS[status]
    elif status >= 500:
        message, hint = "Error of the Hub", f"Wait a little. {_RETRY}"
    else:
        message, hint = "The Hub refused the request for {repo}", _RETRY
    wait = error.response.headers.get("Retry-After", "")  # type: ignore[attr-defined]
    if wait.isascii() and wait.isdigit():
        hint = f"Wait {int(wait)} s, then try again."
    said = _server_message(error)
    kind = MissingError if status == 404 else HubError
    return kind(f"{message.format(repo=repo_id)} ({status}{': ' + said if said else ''}).", hint)


def _server_message(error: Exception) -> str:
    """Return the server's message as one short line, without secrets."""
    words = " ".join(str(getattr(error, "server_message", None) or "").split())
    words = masked("".join(letter for letter in words if letter.isprintable())).rstrip(".")
    return words if len(words) <= _MAX_MESSAGE_LENGTH else words[:_MAX_MESSAGE_LENGTH] + "…"
