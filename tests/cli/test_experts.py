"""dsactl experts, and what other commands do with a pool."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dsactl
import registry
from dsactl.expert_pools import estimate, expert
from dsactl.expert_pools.make import prepare
from dsactl.expert_pools.recipe import PoolRequest
from dsactl.text.formatting import many

Answer = tuple[int, str, str]
Cli = Callable[..., Answer]
NAME = "digits-experts-convnet-width8"
SMALL = ("--networks", "2", "--epochs", "2", "--width", "8", "--batch", "512", "--precision", "float32")


@pytest.fixture
def pool(cli: Cli) -> str:
    code, out, err = cli("experts", "digits", *SMALL, "--json")
    assert code == 0, err
    return str(json.loads(out)["digest"])


def test_the_same_command_looks_the_pool_up(cli: Cli, pool: str) -> None:
    code, out, err = cli("experts", "digits", *SMALL)
    assert (code, out) == (0, f"Already stored: {NAME}:1  2 networks, after epochs 0 and 2, @sha256:{pool[:12]}\n")
    assert f"Next: dsactl show {NAME}:1" in err
    assert cli("experts", "digits", *SMALL, "--keep", "2,1", "--quiet")[1] == f"{NAME}:2\n"


def test_a_dry_run_writes_nothing(cli: Cli) -> None:
    code, out, _ = cli("experts", "digits", *SMALL, "--dry-run", "--json")
    value = json.loads(out)
    assert (code, value["name"], value["recipe"]["keep"]) == (0, NAME, [0, 2])
    assert value["seconds"] > 0
    assert not registry.default_home().exists()
    assert "one after the other, estimated from a few steps" in cli("experts", "digits", *SMALL, "--dry-run")[1]


@pytest.mark.parametrize(
    ("networks", "seconds", "time"),
    [(1, 0.04, "under a second"), (1, 61, "about 1 min 01 s"), (2, 61, "about 1 min 01 s one after the other")],
)
def test_the_time_is_said_for_people(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, networks: int, seconds: float, time: str
) -> None:
    monkeypatch.setattr(estimate, "estimate", lambda *_: estimate.PoolCost(seconds, 0))
    out = cli("experts", "digits", *SMALL, "--networks", str(networks), "--dry-run")[1]
    assert re.search(rf"time +{time}, estimated from a few steps\n", out)
    request = PoolRequest(networks=networks, epochs=1, network=dsactl.NetworkSpec(width=8))
    job = prepare(request, dsactl.load_dataset("digits"), torch.device("cpu"))
    assert estimate.in_words(job, seconds) == f"{many(networks, 'network')} of 1 epoch, {time}"


def test_after_ctrl_c_the_same_command_continues(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    train, calls = expert._epoch, list[object]()

    def interrupted(*given: object) -> float:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(expert, "_epoch", interrupted)
    assert cli("experts", "digits", *SMALL)[:2] == (130, "")
    assert cli("experts", "digits", *SMALL)[0] == 0
    assert len(calls) == 2 + 3


def test_pools_are_listed_by_kind(cli: Cli, pool: str) -> None:
    cli("condense", "digits", "--ipc", "1", "--method", "random")
    assert cli("ls", "--quiet")[1] == "digits-random-ipc1:1\n"
    assert cli("ls", "--kind", "experts", "--quiet")[1] == f"{NAME}:1\n"
    (entry,) = json.loads(cli("ls", "--kind", "experts", "--json")[1])
    assert (entry["digest"], entry["networks"], entry["epochs"]) == (pool, 2, [0, 2])
    heading, row = cli("ls", "--kind", "experts")[1].splitlines()
    assert heading.split()[:3] == ["experts", "networks", "after"]
    assert row.split()[:4] == [f"{NAME}:1", "2", "0,", "2"]
    assert "convnet" in cli("ls", "--kind", "experts", "--arch", "convnet-width8")[1]
    code, out, err = cli("ls", "--kind", "experts", "--ipc", "1")
    assert (code, out) == (0, "")
    assert "No pool of experts matches (1 in the store). List all: dsactl ls --kind experts" in err


def test_without_any_the_list_says_how_to_make_one(cli: Cli, pool: str) -> None:
    del pool
    assert "List the pools of experts: dsactl ls --kind experts" in cli("ls")[2]
    cli("rm", NAME, "--yes")
    assert "Make one: dsactl experts digits" in cli("ls", "--kind", "experts")[2]


def test_other_commands_take_a_pool(cli: Cli, pool: str, tmp_path: Path) -> None:
    shown = cli("show", NAME)[1]
    assert f"@sha256:{pool}" in shown
    assert "2 networks, after epochs 0 and 2: convnet-width8" in shown
    assert json.loads(cli("show", NAME, "--json")[1])["manifest"]["pool"] == {"networks": 2, "epochs": [0, 2]}
    assert cli("tag", NAME, "best")[0] == 0
    assert cli("verify", f"{NAME}:best")[0] == 0
    cli("experts", "digits", *SMALL, "--seed", "1")
    differing = json.loads(cli("diff", f"{NAME}:1", f"{NAME}:2", "--json")[1])["differing"]
    assert differing["recipe: seed"] == [0, 1]
    assert "images" not in differing
    file = tmp_path / "mine.safetensors"
    assert cli("export", NAME, "--output", str(file))[0] == 0
    assert cli("import", str(file), "--quiet")[1] == "mine:1\n"
    assert cli("prune")[0] == 0
    assert cli("verify")[0] == 0


def test_the_code_that_is_shown_loads_the_pool(cli: Cli, pool: str) -> None:
    known: dict[str, object] = {}
    exec(cli("show", NAME, "--code")[1], known)
    loaded, parameters = known["pool"], known["parameters"]
    assert loaded.digest == pool
    own, _ = loaded.network(0, 2)
    assert {name: tensor.tolist() for name, tensor in own.items()} == {
        name: tensor.tolist() for name, tensor in parameters.items()
    }


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("evaluate", NAME), f"{NAME}:1 is a pool of experts, not a set."),
        (("diff", "bundled/mnist-dsa-convnet-ipc1", NAME), f"{NAME}:1 is a pool of experts, not a set."),
        (("nas", "digits", "--proxy", NAME), f"{NAME}:1 is a pool of experts, not a set."),
        (("export", NAME, "--format", "npz"), f"{NAME}:1 is a pool of experts, which has no images for npz."),
        (("export", NAME, "--output", "x.png"), f"{NAME}:1 is a pool of experts, which has no images for png."),
        (
            ("condense", "digits", "--ipc", "1", "--method", "random", "--name", NAME),
            "is the name of a pool of experts.",
        ),
    ],
)
def test_what_needs_a_set_refuses_a_pool(cli: Cli, pool: str, command: tuple[str, ...], said: str) -> None:
    del pool
    code, out, err = cli(*command)
    assert (code, out) == (1, "")
    assert said in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--keep", "0,3"), "--keep names epoch 3; there are 2."),
        (("--keep", "all"), "--keep must be epochs like 0,20,60, not 'all'."),
        (("--cutmix", "2"), "--cutmix: input should be less than or equal to 1"),
        (("--networks", "0"), "--networks: input should be greater than or equal to 1"),
        (("--arch", "nothing"), "Unknown network 'nothing'."),
        (("--strategy", "colour,x"), "Unknown kind of augmentation 'x'."),
        (("--image-size", "8"), "only for image folders"),
        (("--name", "A B"), "'A B' is not a name."),
    ],
)
def test_bad_options_are_refused(refused: Callable[..., str], options: tuple[str, ...], said: str) -> None:
    small = [*SMALL[:4], *([] if "--arch" in options else SMALL[4:6])]
    assert said in refused("experts", "digits", *small, *options)


def test_unknown_datasets_and_kinds_are_refused(refused: Callable[..., str]) -> None:
    assert "Unknown dataset 'nothing'" in refused("experts", "nothing")
    assert "Unknown kind of artifacts 'sets'" in refused("ls", "--kind", "sets")


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ("nosuch", "There is no pool of experts 'nosuch'.", "See: dsactl ls --kind experts"),
        ("tinny", "There is no pool of experts 'tinny'.", "Did you mean tiny?"),
        ("tiny:7", "There is no tiny:7.", "Versions: 1."),
        ("@sha256:00000000", "No pool of experts has the digest 00000000.", "See: dsactl ls --kind experts"),
    ],
)
def test_a_pool_that_is_not_there_is_called_a_pool(
    cli: Callable[..., Answer], refused: Callable[..., str], given: str, said: str, hint: str
) -> None:
    assert cli("experts", "digits", "--networks", "1", "--epochs", "1", "--width", "8", "--name", "tiny")[0] == 0
    assert cli("condense", "digits", "--ipc", "1", "--method", "random", "--name", "tinnny")[0] == 0
    wanted = f"Error: {said}\n  {hint}\n"
    assert refused("relabel", "tinnny", "--experts", given) == wanted
    assert refused("condense", "digits", "--ipc", "1", "--method", "dance", "--experts", given) == wanted
