"""Sets go to a Hub and come back: the real client, the real command line, a Hub on loopback."""

from pathlib import Path

import pytest
from sessions import Stopping

import dsactl
from hub import LoopbackHub
from hub.machine import NAME, Machine
from hub.server import TOKEN

pytest_plugins = ["hub.fixtures"]


def test_a_set_goes_round(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    stored = machine.add()
    pushed = machine.json("push", NAME, repo)
    assert (pushed["outcome"], pushed["version"], pushed["digest"]) == ("pushed", 1, stored.digest)
    assert f"Next: dsactl evaluate {repo}:1" in other.run("pull", repo).stderr
    (there,) = other.store.sets()
    assert (there.reference, there.digest) == (f"{repo}:1", stored.digest)
    assert there.file.read_bytes() == stored.file.read_bytes()
    assert there.picture.read_bytes() == stored.picture.read_bytes()
    assert other.store.evaluations(stored.digest) == machine.store.evaluations(stored.digest)
    # One commit; and the same again changes nothing on either side.
    assert [write.split("/")[-2] for write in hub.writes()] == ["repos", "commit", "tag"]
    assert len(hub.repositories.all[repo].commits) == 2
    before, files = hub.repositories.snapshot(), other.files()
    assert machine.json("push", NAME, repo)["outcome"] == "unchanged"
    assert other.json("pull", repo)["evaluations"] == 0
    assert hub.repositories.snapshot() == before
    assert len(hub.writes()) == 3
    assert other.files() == files


@pytest.mark.slow
def test_the_walk_through_of_the_readme(machine: Machine, other: Machine, repo: str) -> None:
    """Condense, show, push; on another machine pull, evaluate: one digest. No file of either has the token."""
    small = ("--iterations", "2", "--width", "8", "--name", NAME)
    condensed = machine.json("condense", "digits", "--ipc", "1", *small)
    digest = condensed[0]["digest"]
    assert digest in machine.run("show", NAME).stdout
    machine.run("push", NAME, repo, "--licence", "mit")
    assert other.json("pull", repo)["digest"] == digest
    result = other.json("evaluate", repo, "--networks", "1", "--epochs", "2")
    assert (result["digest"], result["n"]) == (digest, 1)
    assert [entry.evaluations[0]["n"] for entry in other.store.entries()[0]] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        with pytest.raises(KeyboardInterrupt):
            dsactl.condense("digits", ipc=1, width=8, store=machine.store, progress=Stopping(3))
    runs = [path for path in machine.home.rglob("runs/*/*") if path.is_file()]
    assert [path.name for path in runs].count("checkpoint.safetensors") == 1
    for path in [*machine.home.rglob("*"), *other.home.rglob("*")]:
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_the_token_that_the_client_keeps_is_sent(hub: LoopbackHub, machine: Machine, repo: str) -> None:
    """As `hf auth login` leaves it, with no HF_TOKEN."""
    machine.add()
    kept = Path(machine.client["HF_HOME"]) / "token"
    kept.parent.mkdir()
    kept.write_text(f"{TOKEN}\n")
    del machine.environment["HF_TOKEN"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN"):
            patch.delenv(name, raising=False)
        machine.run("push", NAME, repo, HF_HUB_DISABLE_TELEMETRY="1")
    assert len(hub.writes()) == 3
    assert {seen.headers["Authorization"] for seen in hub.seen} == {f"Bearer {TOKEN}"}


def test_large_files_have_an_address_of_their_own(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str
) -> None:
    hub.large_files = True
    stored = machine.add()
    machine.run("push", NAME, repo, HF_HUB_DISABLE_XET="1")
    assert len(hub.uploads) == 3
    assert other.json("pull", repo, HF_HUB_DISABLE_XET="1")["digest"] == stored.digest
    downloads = [seen for seen in hub.seen if seen.method == "GET" and seen.path.startswith("/large/")]
    assert len(downloads) == 2
    assert not any("Authorization" in seen.headers for seen in downloads)


def test_repositories_whose_name_no_set_can_have(machine: Machine, other: Machine) -> None:
    machine.add()
    machine.run("push", NAME, "User.X/_Digits")
    assert "cannot be the name of a set" in other.run("pull", "User.X/_Digits", code=2).stderr
    assert other.json("pull", "User.X/_Digits", "--name", "digits")["reference"] == "digits:1"
    assert "'user' is not a repository name" in machine.run("push", NAME, "user", code=2).stderr
