"""Translation of exceptions of the Hub's client into errors with a message and a hint."""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from registry.errors import HubError, RegistryError, StoreError
from registry.hub.waits import asked_seconds, bounded_waits, wait_in_words

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
        "Use one with write access, or propose the set: `push(..., create_pr=True)`",
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
        StoreError: the client's cache is not writable.
    """
    try:
        with bounded_waits():
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
        A `HubError`, or a `StoreError` for the client's cache; the exception itself if it is not about the Hub: no
        memory, a broken installation.
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
    if (local := _local_error(reason)) is not None:
        return local
    if isinstance(reason, ImportError | MemoryError):
        return error
    return HubError(
        f"The answer for {repo_id} is not that of a Hub ({type(reason).__name__}).",
        "Check HF_ENDPOINT; perhaps a proxy or a login page answered.",
    )


def _local_error(error: BaseException) -> RegistryError | None:
    """Return the error for an exception that is due to this machine's settings or files; None for another one."""
    if isinstance(error, ValueError | ImportError) and "proxy" in str(error).lower():
        return HubError(f"The proxy of {_proxy_variable() or 'the system'} cannot be used: {error!s:.200}")
    # OpenSSL does not say which file it cannot read; a write to a full disk has no file name either.
    if isinstance(error, ssl.SSLError | FileNotFoundError | PermissionError) and error.filename is None:
        return HubError(f"The certificates cannot be read: {error.strerror}.", "Check SSL_CERT_FILE and SSL_CERT_DIR.")
    if isinstance(error, OSError) and error.errno is not None:
        return StoreError(
            f"Cannot use the files of the Hub's client: {error.filename or 'the system'}: {error.strerror}.",
            "Set HF_HOME to a folder with free space that you can write to.",
        )
    if isinstance(error, UnicodeEncodeError) or not _token_is_text():  # headers are ASCII
        return HubError("The token has characters that no token has.", f"Copy it again. {_LOG_IN}")
    return None


def _token_is_text() -> bool:
    from huggingface_hub import get_token

    try:
        get_token()
    except UnicodeError:
        return False
    return True


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
    if "UnsupportedProtocol" in kinds:
        return HubError(f"HF_ENDPOINT is {endpoint!r}.", "Set it to an address that begins with https://, or unset it.")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnreachableError(
            f"The certificate of {endpoint} is not trusted.",
            "If a proxy of your organisation has its own, set SSL_CERT_FILE to the file of its certificates.",
        )
    if "ConnectError" in kinds or "ConnectTimeout" in kinds:
        proxy = f", the proxy of {name}" if (name := _proxy_variable()) else ""
        return UnreachableError(f"There is no connection to {endpoint}.", f"Check the network{proxy} and HF_ENDPOINT.")
    if "TimeoutException" in kinds:
        return UnreachableError(f"{endpoint} does not answer in time.", _RETRY)
    return UnreachableError("The connection to the Hub was cut.", _RETRY)


def _proxy_variable() -> str | None:
    """Return the name of an environment variable that names a proxy, or None."""
    names = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
    return next((name for name in names if os.environ.get(name)), None)


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
    wait = asked_seconds(error.response.headers)  # type: ignore[attr-defined]
    if wait is not None:
        hint = f"Wait {wait_in_words(wait)}, then try again."
    said = _server_message(error)
    kind = MissingError if status == 404 else HubError
    return kind(f"{message.format(repo=repo_id)} ({status}{': ' + said if said else ''}).", hint)


def _server_message(error: Exception) -> str:
    """Return the server's message as one short line, without secrets."""
    words = " ".join(str(getattr(error, "server_message", None) or "").split())
    words = masked("".join(letter for letter in words if letter.isprintable())).rstrip(".")
    return words if len(words) <= _MAX_MESSAGE_LENGTH else words[:_MAX_MESSAGE_LENGTH] + "…"
