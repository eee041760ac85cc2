"""Versions, branches, commits and pull requests; who sees them; and what is there without a network."""

import json

import registry
from hub import LoopbackHub
from hub.machine import NAME, Machine
from hub.server import READER

pytest_plugins = ["hub.fixtures"]

OFFLINE = {"HF_HUB_OFFLINE": "1"}


def test_versions(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    sets = [machine.add(seed) for seed in range(2)]
    # The newest version is the highest one, not the one that was pushed last.
    for version in (2, 1):
        machine.run("push", f"{NAME}:{version}", repo)
    assert sorted(hub.repositories.all[repo].tags()) == ["v1", "v2"]
    assert other.json("pull", repo)["reference"] == f"{repo}:2"
    assert other.json("pull", f"{repo}:1", "--name", "mine")["reference"] == "mine:1"
    # Main has what was pushed last, whose number is that of the tag at the same commit; by the commit it is the same.
    main = hub.repositories.all[repo].refs["refs/heads/main"]
    for revision in ("main", main):
        pulled = other.json("pull", repo, "--revision", revision)
        assert (pulled["reference"], pulled["digest"]) == (f"{repo}:1", sets[0].digest)
    assert {each.reference: each.digest for each in other.store.sets()} == {
        f"{repo}:1": sets[0].digest,
        f"{repo}:2": sets[1].digest,
        "mine:1": sets[0].digest,
    }
    refused = other.run("pull", f"{repo}:7", code=1).stderr
    assert f"{repo} has no such version or revision" in refused
    assert "Both :v1 and --revision v2" in other.run("pull", f"{repo}:1", "--revision", "v2", code=2).stderr


def test_a_revision_that_is_no_version_needs_a_name(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str
) -> None:
    first = machine.add()
    machine.run("push", NAME, repo)
    repository = hub.repositories.all[repo]
    # Main has another set by now, under a tag that is no version's.
    second = machine.add(1)
    manifest = json.dumps(second.manifest.model_dump(mode="json")).encode()
    files = {"manifest.json": manifest, "set.safetensors": second.file.read_bytes(), "evaluations.json": b"[]"}
    commit, _ = repository.commit("main", files)
    repository.tag("v01", commit)
    for revision in ("main", "v01", commit):
        said = other.run("pull", repo, "--revision", revision, code=2).stderr
        assert f"{repo} has no version at {revision}" in said
        assert "Name it with --name" in said
    assert other.store.sets() == []
    for name, reference in (("mine", "mine:1"), ("mine", "mine:1"), ("his", "his:1")):
        assert other.json("pull", repo, "--revision", "main", "--name", name)["reference"] == reference
    repository.tag("v4", commit)
    repository.tag("v3", commit)
    assert other.json("pull", repo, "--revision", "main")["reference"] == f"{repo}:4"
    assert other.json("pull", f"{repo}:1")["digest"] == first.digest


def test_a_repository_without_a_version_needs_a_name(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str
) -> None:
    stored = machine.add()
    hub.trouble("POST .*/tag/", status=500)
    machine.run("push", NAME, repo, code=1)
    assert f"{repo} has no version at main" in other.run("pull", repo, code=2).stderr
    pulled = other.json("pull", repo, "--name", "mine")
    assert (pulled["reference"], pulled["digest"]) == ("mine:1", stored.digest)


def test_no_tag_uses_up_the_numbers(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    repository = hub.repositories.all[repo]
    for tag in ("v999999", "v1000000", "v999999999"):
        repository.tag(tag, repository.tags()["v1"])
    assert other.json("pull", repo)["reference"] == f"{repo}:999999"
    assert "is not a version" in other.run("pull", f"{repo}:1000000", code=2).stderr
    # The next set of that name has a number all the same, but one that no tag can have.
    name = registry.parse_name(repo)
    manifest = machine.add(1).manifest
    stored = other.store.put(name, machine.store.tensors(machine.store.newest()), manifest)
    assert stored.version == 1_000_000
    before = hub.repositories.snapshot()
    assert "Version 1000000 has too many digits for a tag" in other.run("push", repo, repo, code=1).stderr
    assert hub.repositories.snapshot() == before


def test_versions_never_change(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add(0)
    machine.run("push", NAME, repo)
    other.add(1)
    before, files = hub.repositories.snapshot(), other.files()
    assert f"{repo} has a version 1 with other content" in other.run("push", NAME, repo, code=1).stderr
    assert f"{NAME}:1 already exists with other content" in other.run("pull", repo, "--name", NAME, code=1).stderr
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
    assert "Error of the Hub (500)" in machine.run("push", NAME, repo, code=1).stderr
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
    assert f"The Hub has no {repo}, or the token has no access to it" in refused
    assert "hf auth login" in refused
    # What is public stays so, and nothing that should be private goes there.
    machine.run("push", NAME, "user/public")
    machine.add(1)
    before = hub.repositories.snapshot()
    assert (
        "user/public already exists and is public"
        in machine.run("push", NAME, "user/public", "--private", code=1).stderr
    )
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
    assert "Pull request opened, without a tag" in done.stderr
    assert repository.refs["refs/heads/main"] == main
    assert list(repository.tags()) == ["v1"]
    # Merged, it only lacks its tag.
    repository.refs["refs/heads/main"] = repository.refs["refs/pr/1"]
    assert other.json("push", NAME, repo, "--create-pr", HF_TOKEN=READER)["outcome"] == "unchanged"
    assert other.json("push", NAME, repo)["outcome"] == "tagged"
    assert "no user/nothing for a pull request" in other.run("push", NAME, "user/nothing", "--create-pr", code=1).stderr


def test_without_a_network_the_cache_is_used(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    sets = [machine.add(seed) for seed in range(2)]
    machine.run("push", f"{NAME}:1", repo)
    other.run("pull", repo, "--name", "first", **{**OFFLINE, "HF_HUB_OFFLINE": "0"})
    machine.run("push", f"{NAME}:2", repo)
    hub.seen.clear()
    pulled = other.json("pull", repo, **OFFLINE)
    assert (pulled["reference"], pulled["digest"], pulled["from_cache"]) == (f"{repo}:1", sets[0].digest, True)
    assert other.json("pull", f"{repo}:1", "--name", "again", **OFFLINE)["reference"] == "again:1"
    # The cache knows which version a commit is of, too.
    commit = hub.repositories.all[repo].tags()["v1"]
    assert other.json("pull", repo, "--revision", commit, **OFFLINE)["reference"] == f"{repo}:1"
    files = other.files()
    assert "HF_HUB_OFFLINE is set" in other.run("pull", f"{repo}:2", code=1, **OFFLINE).stderr
    assert "HF_HUB_OFFLINE is set" in machine.run("push", NAME, repo, code=1, **OFFLINE).stderr
    assert hub.seen == []
    # The same where there should be a network and is none.
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert "newer version may exist" in other.run("pull", repo, **nowhere).stderr
    assert "There is no connection to http://127.0.0.1:9" in machine.run("pull", repo, code=1, **nowhere).stderr
    assert other.files() == files


def test_a_renamed_repository(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    new = f"{repo}-renamed"
    hub.repositories.rename(repo, new)
    done = other.run("pull", repo)
    assert f"{repo} is now {new} on the Hub" in done.stderr
    assert f"Pulled from {new} at v1" in done.stderr
    assert f"{repo}:1" in done.stdout
    machine.add(1)
    done = machine.run("push", NAME, repo)
    assert f"{repo} is now {new} on the Hub" in done.stderr
    assert f"{hub.endpoint}/datasets/{new}/tree/v2" in done.stdout
    assert f'"{new}:2"' in hub.repositories.all[new].files("v2")["README.md"].decode()
    # The present name, in whatever case, is no former one.
    assert "is now" not in other.run("pull", new).stderr
    hub.repositories.all[new.upper()] = hub.repositories.all[new]
    answer = json.dumps({"id": new, "private": False}).encode()
    hub.trouble(f"GET /api/datasets/{new.upper()}$", body=answer)
    assert "is now" not in other.run("pull", new.upper(), "--name", "mine").stderr


def test_the_newest_version_by_its_usual_tag(machine: Machine, other: Machine, repo: str) -> None:
    for seed in range(2):
        machine.add(seed)
        machine.run("push", NAME, repo)
    assert other.json("pull", f"{repo}:latest")["reference"] == f"{repo}:2"


def test_web_addresses(hub: LoopbackHub, machine: Machine, other: Machine, repo: str) -> None:
    machine.add()
    address = f"{hub.endpoint}/datasets/{repo}"
    assert machine.json("push", NAME, f"{address}/")["repository"] == repo
    assert other.json("pull", f"{address}/tree/v1")["reference"] == f"{repo}:1"
    said = machine.run("push", NAME, f"{address}/tree/v1", code=2).stderr
    assert f"Give the repository alone: {repo}" in said
    assert "is not the address of a dataset repository" in other.run("pull", f"{hub.endpoint}/{repo}", code=2).stderr
