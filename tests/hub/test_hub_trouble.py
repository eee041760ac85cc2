"""What goes wrong on the way to the Hub or back has its own message, and leaves the Hub and the store as they were."""

import json
from typing import Any

import pytest

from hub import LoopbackHub, Repository
from hub.machine import NAME, Machine
from hub.server import READER

pytest_plugins = ["hub.fixtures"]

PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
HTML = b"<html>Log in to the wireless network</html>"


@pytest.mark.parametrize(
    ("where", "what", "message", "hint"),
    [
        ("/repos/create", {"status": 401}, "requires a valid token", "hf auth login"),
        ("/repos/create", {"status": 402}, "requires a paid plan", "without --private"),
        ("/repos/create", {"status": 403}, "The token has no permission for this", "write access"),
        ("/repos/create", {"status": 404}, "The Hub has no", "Check its name"),
        ("/repos/create", {"status": 409}, "Another operation on", "it continues with what is missing"),
        ("/repos/create", {"status": 200, "body": HTML}, "is not that of a Hub", "HF_ENDPOINT"),
        ("/repos/create", {"status": 500, "cut_after": -1}, "was cut", "it continues with what is missing"),
    ],
)
def test_a_repository_that_cannot_be_made(
    hub: LoopbackHub, machine: Machine, repo: str, where: str, what: dict[str, Any], message: str, hint: str
) -> None:
    machine.add()
    files = machine.files()
    hub.trouble(where, **what)
    said = machine.run("push", NAME, repo, code=1).stderr
    assert said.startswith("Error: ")
    assert message in said.splitlines()[0]
    assert hint in said.splitlines()[1]
    assert hub.repositories.all == {}
    assert machine.files() == files


@pytest.mark.parametrize(
    ("where", "what", "message", "hint"),
    [
        ("GET .*/refs", {"status": 429, "headers": {"Retry-After": "7"}}, "Too many requests to the Hub", "Wait 7 s"),
        ("GET .*/refs", {"status": 429, "headers": {"Retry-After": PAST}}, "Too many requests to the Hub", "Wait 1 s"),
        ("GET .*/refs", {"status": 429, "headers": {"Retry-After": "soon"}}, "Too many requests", "a few minutes"),
        ("GET .*/refs", {"cut_after": 3}, "was cut", "it continues with what is missing"),
        ("GET .*/refs", {"body": HTML}, "is not that of a Hub", "HF_ENDPOINT"),
        ("GET .*/refs", {"body": b"{}"}, "is not that of a Hub (KeyError)", "HF_ENDPOINT"),
        ("validate-yaml", {"status": 400, "body": b'{"errors":[{"message":"no"}]}'}, "(400: no)", "the licence"),
        ("/preupload/", {"status": 403}, "The token has no permission for this", "--create-pr"),
        ("/preupload/", {"body": b"[]"}, "is not that of a Hub", "HF_ENDPOINT"),
        ("/commit/", {"status": 400, "body": b'{"error":"bad line"}'}, "refused the request", "Update huggingface_hub"),
        ("/commit/", {"status": 401}, "requires a valid token", "hf auth login"),
        ("/commit/", {"status": 403, "body": b'{"error":"read only"}'}, "(403: read only)", "--create-pr"),
        ("/commit/", {"status": 409}, "Another operation on", "it continues with what is missing"),
        ("/commit/", {"status": 412}, "was changed by someone else", "it continues with what is missing"),
        ("/commit/", {"status": 413}, "too large", "hf_xet"),
        ("/commit/", {"status": 418}, "refused the request", "it continues with what is missing"),
        ("/commit/", {"status": 429, "headers": {"Retry-After": "9"}}, "Too many requests", "Wait 9 s"),
        ("/commit/", {"status": 503}, "Error of the Hub (503)", "Wait a little"),
        ("/commit/", {"status": 500, "cut_after": -1}, "was cut", "it continues with what is missing"),
    ],
)
def test_a_push_that_fails(
    hub: LoopbackHub, machine: Machine, repo: str, where: str, what: dict[str, Any], message: str, hint: str
) -> None:
    hub.repositories.all[repo] = Repository()
    machine.add()
    before, files = hub.repositories.snapshot(), machine.files()
    hub.trouble(where, **what)
    said = machine.run("push", NAME, repo, code=1).stderr
    assert said.startswith("Error: ")
    assert message in said.splitlines()[0]
    assert hint in said.splitlines()[1]
    assert hub.repositories.snapshot() == before
    assert machine.files() == files
    # The same command once more, as the message says.
    assert machine.json("push", NAME, repo)["outcome"] == "pushed"


def test_who_may_not_write(hub: LoopbackHub, machine: Machine, repo: str) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    machine.add(1)
    before = hub.repositories.snapshot()
    refused = machine.run("push", NAME, repo, code=1, HF_TOKEN=READER).stderr
    assert "The token has no permission for this" in refused
    assert "Invalid credentials" in machine.run("push", NAME, repo, code=1, HF_TOKEN="hf_wrong").stderr
    assert hub.repositories.snapshot() == before


def test_someone_else_pushes_at_the_same_time(hub: LoopbackHub, machine: Machine, repo: str) -> None:
    repository = hub.repositories.all[repo] = Repository()
    machine.add()
    # The answer tells of a head of main that is not its head any more.
    stale = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repository.refs["refs/heads/main"]}]
    repository.commit("main", {"note": b"theirs"})
    body = json.dumps({"branches": stale, "converts": [], "tags": []}).encode()
    hub.trouble("GET .*/refs", body=body)
    assert "was changed by someone else" in machine.run("push", NAME, repo, code=1).stderr
    machine.run("push", NAME, repo)
    assert repository.files("v1")["note"] == b"theirs"


@pytest.mark.parametrize(
    ("where", "what", "message", "hint"),
    [
        ("/refs", {"status": 401}, "requires a valid token", "hf auth login"),
        ("/refs", {"status": 403}, "The token has no permission for this", ""),
        ("/refs", {"status": 429, "headers": {"Retry-After": "7"}}, "Too many requests to the Hub", "Wait 7 s"),
        ("/refs", {"status": 500}, "Error of the Hub (500)", "Wait a little"),
        ("/refs", {"body": HTML}, "is not that of a Hub", "HF_ENDPOINT"),
        ("/refs", {"status": 500, "cut_after": -1}, "was cut", "it continues with what is missing"),
        ("/paths-info/", {"body": b'[{"type":"file"}]'}, "is not that of a Hub (KeyError)", "HF_ENDPOINT"),
        ("HEAD .*/manifest.json", {"status": 401}, "requires a valid token", "hf auth login"),
        ("HEAD .*/manifest.json", {"status": 403}, "The token has no permission for this", ""),
        ("HEAD .*/manifest.json", {"status": 200}, "is not that of a Hub", "HF_ENDPOINT"),
        ("HEAD .*/set.safetensors", {"cut_after": -1}, "was cut", "it continues with what is missing"),
        ("GET .*/set.safetensors", {"status": 500}, "Error of the Hub (500)", "Wait a little"),
        ("GET .*/set.safetensors", {"body": b"short"}, "arrived incomplete", "it continues with what is missing"),
        ("HEAD .*/evaluations.json", {"cut_after": -1}, "was cut", "it continues with what is missing"),
    ],
)
def test_a_pull_that_fails(
    hub: LoopbackHub,
    machine: Machine,
    other: Machine,
    repo: str,
    where: str,
    what: dict[str, Any],
    message: str,
    hint: str,
) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    hub.trouble(where, **what)
    said = other.run("pull", repo, code=1).stderr
    assert said.startswith("Error: ")
    assert message in said.splitlines()[0]
    assert hint in said.splitlines()[1]
    assert other.files() == {}
    assert other.json("pull", repo)["reference"] == f"{repo}:1"


def test_a_download_that_is_cut_is_resumed(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add(channels=3, side=400)
    machine.run("push", NAME, repo)
    chunk = 10 * 2**20  # of the client: it keeps whole ones
    hub.trouble("GET .*/set.safetensors", cut_after=chunk + 1000)
    # Newer clients go on by themselves, older ones when the command is run again.
    if other.run("pull", repo, code=None).returncode:
        other.run("pull", repo)
    ranges = [
        seen.headers["Range"] for seen in hub.seen if seen.path.endswith("set.safetensors") and seen.method == "GET"
    ]
    assert ranges == [None, f"bytes={chunk}-"]


def test_a_copy_that_was_damaged_on_the_way_is_downloaded_again(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str
) -> None:
    stored = machine.add()
    machine.run("push", NAME, repo)
    whole = stored.file.read_bytes()
    hub.trouble("GET .*/set.safetensors", body=whole[:-1] + bytes([whole[-1] ^ 1]))
    assert other.json("pull", repo)["digest"] == stored.digest


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "86400"}, "24 h"),
        ({"Retry-After": "9" * 5000}, "11,575 days"),
        ({"RateLimit": '"api";r=0;t=900'}, "15 min"),
    ],
)
def test_the_client_does_not_wait_for_as_long_as_it_is_told_to(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str, headers: dict[str, str], wait: str
) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    hub.trouble("HEAD .*/manifest.json", status=429, headers=headers, times=99)
    said = other.run("pull", repo, code=1).stderr
    assert "Too many requests to the Hub (429)" in said
    assert f"Wait {wait}, then try again." in said


def _other_set(machine: Machine, files: dict[str, bytes]) -> None:
    files["set.safetensors"] = machine.add(5).file.read_bytes()


def _other_manifest(_machine: Machine, files: dict[str, bytes]) -> None:
    files["manifest.json"] = files["manifest.json"].replace(b'"method": "dsa"', b'"method": "dc"')


def _flipped(_machine: Machine, files: dict[str, bytes]) -> None:
    data = bytearray(files["set.safetensors"])
    data[-1] ^= 1
    files["set.safetensors"] = bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_flipped, "does not match the manifest"),
        (_other_set, "are not of the same set"),
        (_other_manifest, "are not of the same set"),
        ({"manifest.json": b"{}"}, "manifest.json of REPO is damaged"),
        ({"manifest.json": b"[" * 100_000}, "manifest.json of REPO is not a JSON object"),
        ({"set.safetensors": b"\xff" * 100}, "is not a safetensors file"),
        ({"set.safetensors": b""}, "is not a safetensors file"),
        ({"picture.png": b"<svg/>"}, "picture.png of REPO is not a PNG"),
        ({"evaluations.json": b"{}"}, "is not a list of results"),
        ({"evaluations.json": b"[1]"}, "contains an entry that is not a result"),
        ({"evaluations.json": b"[1"}, "evaluations.json of REPO cannot be read"),
        ({"evaluations.json": b'[{"mean": NaN}]'}, "evaluations.json of REPO cannot be read: NaN is not JSON"),
        ({"evaluations.json": b'[{"mean": 1%s}]' % (b"0" * 400)}, "cannot be read: a result's mean"),
        ({"evaluations.json": b'[{"std": 1e300}]'}, "cannot be read: a result's std"),
        ({"evaluations.json": b'[{"paper": [1]}]'}, "cannot be read: a result's paper"),
        ({"evaluations.json": b'[{"n": true}]'}, "cannot be read: a result's n"),
        ({"evaluations.json": b'[{"a": %s}]' % (b"[" * 5000)}, "evaluations.json of REPO cannot be read"),
        ({"evaluations.json": b'[{"digest": "0"}]'}, "contains a result of another set"),
        ({"evaluations.json": b'[{"a": "' + b"a" * 100_001 + b'"}]'}, "has more than 100,000 bytes"),
        ({"evaluations.json": b'[{"network": "\\u001b[31m"}]'}, "has control characters"),
        ({"evaluations.json": '[{"network": "\x9b31m"}]'.encode()}, "has control characters"),
        ({"evaluations.json": b'[{"network": "a\\rb"}]'}, "has control characters"),
        ({"evaluations.json": b" " * 10_000_001}, "has 10,000,001 bytes; the limit is 10,000,000"),
        ({"manifest.json": None}, "has no set at v1"),
        ({"set.safetensors": None}, "has no set at v1"),
    ],
)
def test_what_someone_changed_is_refused(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str, change: Any, message: str
) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    repository = hub.repositories.all[repo]
    files = repository.files("v1")
    if callable(change):
        change(machine, files)
    else:
        files.update(change)
    for path in [path for path, data in files.items() if data is None]:
        del files[path]
    said = other.run("pull", repo, code=1).stderr
    assert said.startswith("Error: ")
    assert message.replace("REPO", repo) in said
    assert other.files() == {}


def test_what_a_stranger_wrote_is_only_text(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    stored = machine.add()
    machine.store.add_evaluation(stored.digest, {"network": "[bold]|</td>", "augmentation": "[red]", "x": [1]})
    machine.run("push", NAME, repo)
    assert "| \\[bold\\]\\|\\</td\\>" in hub.repositories.all[repo].files("v1")["README.md"].decode()
    other.run("pull", repo)
    assert "[bold]|</td>" in other.run("show", f"{repo}:1").stdout
    hub.trouble("/refs", status=409, body=b'{"error":"[bold]one\\ntwo\\u001b[31m"}')
    assert "[bold]one two[31m" in other.run("pull", repo, code=1).stderr.splitlines()[0]
