"""Tokens and passwords go to the Hub, and are neither printed nor kept."""

import json
from pathlib import Path

import pytest

from hub import LoopbackHub
from hub.machine import NAME, Machine
from hub.server import READER, TOKEN
from registry.hub.errors import masked

pytest_plugins = ["hub.fixtures"]

PASSWORD = "hunter2"


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str, tmp_path: Path
) -> None:
    machine.add()
    machine.run("push", NAME, repo, "--dry-run")
    # The Hub sends it back in an error; `Machine.run` looks at everything that is printed.
    hub.trouble("POST .*/commit/", status=409, body=json.dumps({"error": f"busy with {TOKEN}"}).encode())
    assert "busy with …" in machine.run("push", NAME, repo, code=1).stderr
    machine.run("push", NAME, repo)
    other.run("pull", repo, HF_DEBUG="1")
    sent = {seen.headers["Authorization"] for seen in hub.seen if "/api/datasets/" in seen.path}
    assert sent == {f"Bearer {TOKEN}"}
    looked_at = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in looked_at if TOKEN.encode() in path.read_bytes()]
    assert len(looked_at) > 10
    for files in hub.repositories.all[repo].commits.values():
        assert not any(TOKEN.encode() in data for data in files.values())


def test_a_traceback_has_no_token(hub: LoopbackHub, machine: Machine, repo: str) -> None:
    machine.add()
    hub.trouble("POST .*/commit/", status=409, body=json.dumps({"error": f"busy with {TOKEN}"}).encode())
    said = machine.run("push", NAME, repo, code=1, DSACTL_DEBUG="1").stderr
    assert said.startswith("Traceback")
    assert said.count("busy with …") >= 2  # in the client's error, and in ours


def test_an_endpoints_password_is_not_shown(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str, tmp_path: Path
) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    shown = hub.endpoint.removeprefix("http://")
    secret = {"HF_ENDPOINT": f"http://me:{PASSWORD}@{shown}"}
    for more in ((), ("--json",), ("--quiet",)):
        done = machine.run("push", NAME, repo, *more, **secret)
        assert PASSWORD not in done.stdout + done.stderr
    assert f"http://{shown}/datasets/{repo}/tree/v1" in machine.run("push", NAME, repo, **secret).stdout
    # Nor where the client warns of a request that it repeats, nor where nobody answers.
    hub.trouble("HEAD .*/manifest.json", status=503)
    nowhere = {"HF_ENDPOINT": f"http://me:{PASSWORD}@127.0.0.1:9", "DSACTL_DEBUG": "1"}
    for code, environment in ((0, secret), (1, nowhere)):
        done = other.run("pull", repo, code=code, **environment, HF_HOME=str(tmp_path / str(code)))
        assert PASSWORD not in done.stdout + done.stderr
    assert "There is no connection to http://127.0.0.1:9." in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"busy with {TOKEN}, {TOKEN}.", "busy with …, …."),
        ("at https://me:hunter2@host:8080/a?b=c@d", "at https://host:8080/a?b=c@d"),
        ("http://me:p@ss@host and ftp://me@host/x", "http://host and ftp://host/x"),
        ("https://host/@user, me@example.org", "https://host/@user, me@example.org"),
    ],
    ids=["token", "password", "at", "neither"],
)
def test_what_is_blanked(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    assert masked(text) == shown


def test_a_token_that_was_stored_by_logging_in_is_blanked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: READER)
    assert masked(f"{READER} {TOKEN}") == f"… {TOKEN}"

    def fail() -> str:
        raise OSError("no token")

    monkeypatch.setattr("huggingface_hub.get_token", fail)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert masked(f"{READER} {TOKEN}") == f"{READER} …"
