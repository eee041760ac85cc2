"""The Hugging Face Hub: its client, the token, and whether it can be reached."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from dsactl.diagnosis.finding import Finding, first_line
from dsactl.diagnosis.packages import installed
from registry.hub.errors import masked

_SECONDS = 5.0
_NEEDS = "pip install 'dsactl[hub]'"
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def settings() -> Iterator[Finding]:
    """Say whether there is a token, and from where; its text is not shown."""
    if installed("huggingface_hub") is None:
        yield Finding("Hub", "not here", "huggingface_hub is not installed.", _NEEDS)
        return
    try:
        from huggingface_hub import constants, get_token
    except ValueError as error:  # it reads its variables when it is imported
        found = f"The Hub's client does not start: {masked(first_line(error))}."
        yield Finding("Hub", "broken", found, "Check the environment variables HF_….")
        return
    source = next((name for name in _VARIABLES if os.environ.get(name, "").strip()), "")
    if not source and get_token():
        source = "hf auth login" if Path(constants.HF_TOKEN_PATH).is_file() else "the client"
    token = f"A token of {source}" if source else "No token: public sets can be pulled, none can be pushed"
    advice = "" if source else "To push: hf auth login"
    if constants.HF_HUB_OFFLINE:
        yield Finding(
            "Hub", "ok", f"{token}. HF_HUB_OFFLINE is set: it is not asked.", "To ask it: unset HF_HUB_OFFLINE"
        )
    else:
        yield Finding("Hub", "ok", f"{token}.", advice or "To ask it: `doctor(online=True)`")


def reach() -> Iterator[Finding]:
    """Ask the Hub who the token's user is, or, without a token, for its page; at most five seconds."""
    if installed("huggingface_hub") is None:
        return
    said: list[Finding] = []
    asking = threading.Thread(target=lambda: said.append(_asked()), daemon=True)
    asking.start()
    asking.join(_SECONDS)
    late = Finding("Hub, online", "broken", f"The Hub does not answer within {_SECONDS:.0f} s.", "Check the network.")
    yield said[0] if said else late


def _asked() -> Finding:
    from huggingface_hub import constants, get_session, get_token

    name, where = "Hub, online", masked(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE:
        return Finding(name, "not here", "HF_HUB_OFFLINE is set: it is not asked.", "unset HF_HUB_OFFLINE")
    token = get_token()
    path, headers = ("/api/whoami-v2", {"authorization": f"Bearer {token}"}) if token else ("", {})
    try:
        status = get_session().get(constants.ENDPOINT + path, headers=headers, timeout=_SECONDS).status_code
    except Exception as error:  # of the network library, whichever it is
        advice = "Check the network, a proxy (HTTPS_PROXY) and HF_ENDPOINT."
        return Finding(name, "broken", f"{where} cannot be reached: {masked(first_line(error))}.", advice)
    if status in (401, 403):
        return Finding(name, "broken", f"{where} does not accept the token ({status}).", "hf auth login")
    if status >= 400:
        return Finding(
            name, "broken", f"{where} answers with an error ({status}).", "Try again later; check HF_ENDPOINT."
        )
    return Finding(name, "ok", f"{where} answers" + (", and accepts the token." if path else "."))
