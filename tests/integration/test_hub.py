"""Sets go to a Hub and come back: the real client, the real command line, a Hub on loopback."""

import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub import LoopbackHub
from hub.machine import NAME, NAMES, Machine, levels
from hub.server import READER, TOKEN
from PIL import Image

import dsactl
from dsactl.sitting import Progress

pytest_plugins = ["hub.fixtures"]

OFFLINE = {"HF_HUB_OFFLINE": "1"}


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
            dsactl.condense("digits", ipc=1, width=8, store=machine.store, report=_stop_at_three)
    runs = [path for path in machine.home.rglob("runs/*/*") if path.is_file()]
    assert [path.name for path in runs].count("checkpoint.safetensors") == 1
    for path in [*machine.home.rglob("*"), *other.home.rglob("*")]:
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def _stop_at_three(progress: Progress) -> None:
    if progress.done == 3:
        raise KeyboardInterrupt


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


def test_versions(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    sets = [machine.add(seed) for seed in range(2)]
    # The newest version is the highest one, not the one that was pushed last.
    for version in (2, 1):
        machine.run("push", f"{NAME}:{version}", repo)
    assert sorted(hub.repositories.all[repo].tags()) == ["v1", "v2"]
    assert other.json("pull", repo)["reference"] == f"{repo}:2"
    assert other.json("pull", f"{repo}:1", "--name", "mine")["reference"] == "mine:1"
    assert other.json("pull", repo, "--revision", "main")["digest"] == sets[0].digest
    assert {each.reference: each.digest for each in other.store.sets()} == {
        f"{repo}:2": sets[1].digest,
        f"{repo}:3": sets[0].digest,
        "mine:1": sets[0].digest,
    }
    refused = other.run("pull", f"{repo}:7", code=1).stderr
    assert f"{repo} has no such version or revision" in refused
    assert "Both :v1 and --revision v2" in other.run("pull", f"{repo}:1", "--revision", "v2", code=2).stderr


def test_versions_never_change(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add(0)
    machine.run("push", NAME, repo)
    other.add(1)
    before, files = hub.repositories.snapshot(), other.files()
    assert f"{repo} has a version 1 with other content" in other.run("push", NAME, repo, code=1).stderr
    assert f"{NAME}:1 is here already, with other content" in other.run("pull", repo, "--name", NAME, code=1).stderr
    assert hub.repositories.snapshot() == before
    assert other.files() == files
    # Nor does a tag that something else than a set is under.
    machine.add(2)
    repository = hub.repositories.all[repo]
    repository.tag("v2", repository.commit("main", {"manifest.json": b"{}"})[0])
    assert f"{repo} has a version 2 with other content" in machine.run("push", NAME, repo, code=1).stderr


def test_a_push_that_was_cut_off_goes_on(hub: LoopbackHub, machine: Machine, repo: str) -> None:
    machine.add()
    hub.trouble("POST .*/tag/", status=500)
    assert "The Hub has a fault (500)" in machine.run("push", NAME, repo, code=1).stderr
    repository = hub.repositories.all[repo]
    assert (len(repository.commits), repository.tags()) == (2, {})
    assert machine.json("push", NAME, repo)["outcome"] == "tagged"
    assert (len(repository.commits), list(repository.tags())) == (2, ["v1"])
    # The answer to a commit is lost: the commit is there all the same.
    machine.add(1)
    hub.trouble("POST .*/commit/", cut_after=-1)
    assert "The connection to the Hub was cut" in machine.run("push", NAME, repo, code=1).stderr
    assert machine.json("push", NAME, repo)["outcome"] == "tagged"
    assert (len(repository.commits), list(repository.tags())) == (3, ["v1", "v2"])


def test_private_repositories(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add()
    machine.run("push", NAME, repo, "--private")
    assert hub.repositories.all[repo].private
    refused = other.run("pull", repo, code=1, HF_TOKEN=READER).stderr
    assert f"The Hub has no {repo}, or the token may not see it" in refused
    assert "hf auth login" in refused
    # What is public stays so, and nothing that should be private goes there.
    machine.run("push", NAME, "user/public")
    machine.add(1)
    before = hub.repositories.snapshot()
    assert "user/public is there and public" in machine.run("push", NAME, "user/public", "--private", code=1).stderr
    assert hub.repositories.snapshot() == before


def test_pull_requests(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    repository = hub.repositories.all[repo]
    main = repository.refs["refs/heads/main"]
    other.add(0)
    other.add(1)
    done = other.run("push", NAME, repo, "--create-pr", HF_TOKEN=READER)
    assert f"{hub.endpoint}/datasets/{repo}/discussions/1" in done.stdout
    assert "A pull request has no tag" in done.stderr
    assert repository.refs["refs/heads/main"] == main
    assert list(repository.tags()) == ["v1"]
    # Merged, it only lacks its tag.
    repository.refs["refs/heads/main"] = repository.refs["refs/pr/1"]
    assert other.json("push", NAME, repo, "--create-pr", HF_TOKEN=READER)["outcome"] == "unchanged"
    assert other.json("push", NAME, repo)["outcome"] == "tagged"
    assert "no user/nothing to propose" in other.run("push", NAME, "user/nothing", "--create-pr", code=1).stderr


def test_a_dry_run_writes_what_would_be_pushed(hub: LoopbackHub, machine: Machine, repo: str, tmp_path: Path) -> None:
    machine.add()
    arguments = ("push", NAME, repo, "--licence", "MIT")
    assert machine.json(*arguments, "--dry-run")["folder"] == NAME
    assert hub.seen == []
    assert f"{NAME} is there and not empty" in machine.run(*arguments, "--dry-run", code=1).stderr
    folder = tmp_path / "mine" / NAME
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    machine.run(*arguments)
    pushed = hub.repositories.all[repo].files("v1")
    assert files == {path: data for path, data in pushed.items() if path != ".gitattributes"}
    assert "--out is for --dry-run" in machine.run(*arguments, "--out", "x", code=2).stderr


def test_the_card(machine: Machine, repo: str, tmp_path: Path) -> None:
    stored = machine.add(seed=7)
    folder = tmp_path / "card"
    machine.run("push", NAME, repo, "--license", "the pusher's own [terms]", "--dry-run", "--out", str(folder))
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["license"] == "other"
    assert values["license_name"] == "the pusher's own [terms]"
    assert values["task_categories"] == ["image-classification"]
    assert values["annotations_creators"] == ["machine-generated"]
    assert values["size_categories"] == ["n<1K"]
    assert values["tags"] == ["dataset-condensation", "dsactl", "arxiv:2102.08259"]
    assert values["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.parquet"}]
    label = values["dataset_info"]["features"][1]["dtype"]["class_label"]
    assert label["names"] == dict(zip("012", NAMES, strict=True))
    clipped = levels(machine.store.tensors(stored), stored.manifest)[1]
    for part in (
        "dsactl condense digits --ipc 2 --precision float32 --seed 7\n",
        "| convnet | 88.5 ± 0.6 | 20 |  |",
        f'condensed = dsactl.pull("{repo}:1")',
        f'load_dataset("{repo}", revision="v1", split="train")',
        f"sha256:{stored.digest}",
        "](picture.png)",
        r"who pushed the set: the pusher's own \[terms\].",
        f"{clipped:,} of 384 pixel values",
    ):
        assert part in text


def test_the_code_on_the_card_runs(hub: LoopbackHub, machine: Machine, repo: str, tmp_path: Path) -> None:
    stored = machine.add()
    machine.run("push", NAME, repo)
    _, _, text = hub.repositories.all[repo].files("v1")["README.md"].decode().partition("## Load it")
    blocks = text.partition("\n## ")[0].split("\n\n")
    exact, pictures = (textwrap.dedent(block) for block in blocks if block.startswith("    "))
    code = f"{exact}\nprint(condensed.digest, tuple(images.shape))\n{pictures}\nprint(image.size, label)"
    home = {"DSACTL_HOME": str(tmp_path / "third"), "HF_DATASETS_CACHE": str(tmp_path / "datasets")}
    environment = {**os.environ, **machine.client, **home, "HF_TOKEN": TOKEN}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [f"{stored.digest} (6, 1, 8, 8)", "(8, 8) 0"]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_datasets_library_reads_it(
    hub: LoopbackHub, machine: Machine, repo: str, tmp_path: Path, channels: int
) -> None:
    stored = machine.add(channels=channels)
    machine.run("push", NAME, repo)
    code = f"""
import json
from datasets import load_dataset
rows = load_dataset("{repo}", revision="v1", split="train")
print(json.dumps({{
    "names": rows.features["label"].names,
    "labels": rows["label"][:],
    "modes": [image.mode for image in rows["image"]],
    "pixels": [list(image.tobytes()) for image in rows["image"]],
}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "datasets"), "HF_HUB_OFFLINE": "0"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["names"] == NAMES
    assert read["labels"] == [0, 0, 1, 1, 2, 2]
    assert read["modes"] == ["L" if channels == 1 else "RGB"] * 6
    images, _ = levels(machine.store.tensors(stored), stored.manifest)
    np.testing.assert_array_equal(np.array(read["pixels"], np.uint8).reshape(images.shape), images)


def test_without_a_network_the_cache_is_used(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    sets = [machine.add(seed) for seed in range(2)]
    machine.run("push", f"{NAME}:1", repo)
    other.run("pull", repo, "--name", "first", **{**OFFLINE, "HF_HUB_OFFLINE": "0"})
    machine.run("push", f"{NAME}:2", repo)
    hub.seen.clear()
    pulled = other.json("pull", repo, **OFFLINE)
    assert (pulled["reference"], pulled["digest"], pulled["from_cache"]) == (f"{repo}:1", sets[0].digest, True)
    assert other.json("pull", f"{repo}:1", "--name", "again", **OFFLINE)["reference"] == "again:1"
    files = other.files()
    assert "HF_HUB_OFFLINE is set" in other.run("pull", f"{repo}:2", code=1, **OFFLINE).stderr
    assert "HF_HUB_OFFLINE is set" in machine.run("push", NAME, repo, code=1, **OFFLINE).stderr
    assert hub.seen == []
    # The same where there should be a network and is none.
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert "newer version may be there" in other.run("pull", repo, **nowhere).stderr
    assert "There is no connection to http://127.0.0.1:9" in machine.run("pull", repo, code=1, **nowhere).stderr
    assert other.files() == files


def test_repositories_whose_name_no_set_can_have(machine: Machine, other: Machine) -> None:
    machine.add()
    machine.run("push", NAME, "User.X/_Digits")
    assert "cannot be the name of a set" in other.run("pull", "User.X/_Digits", code=2).stderr
    assert other.json("pull", "User.X/_Digits", "--name", "digits")["reference"] == "digits:1"
    assert "'user' is not a repository" in machine.run("push", NAME, "user", code=2).stderr


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


def test_a_set_without_a_picture_takes_an_older_ones_away(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str
) -> None:
    first = machine.add()
    machine.run("push", NAME, repo)
    manifest = first.manifest.model_copy(update={"seed": 5})
    machine.store.put(first.name, machine.store.tensors(first), manifest)
    machine.run("push", NAME, repo)
    repository = hub.repositories.all[repo]
    assert Image.open(io.BytesIO(repository.files("v1")["picture.png"])).size == (8, 8)
    assert "picture.png" not in repository.files("v2")
    other.run("pull", repo)
    assert other.store.newest().picture is None
