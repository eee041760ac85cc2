"""dsactl condense --budget, by a clock that the tests move."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from budget_clock import STEADY, Hands
from budget_clock import hands as hands
from foreign_methods import Install
from reference import write_folder

import registry

Answer = tuple[int, str, str]
STEADILY = ("--ipc", "1", "--method", "mine")


@pytest.fixture(autouse=True)
def _method(install: Install, hands: Hands) -> None:
    install(STEADY, "foreign:steady")
    assert not hands.naps


def test_the_choice_is_said_with_the_command_that_makes_the_same_set(cli: Callable[..., Answer]) -> None:
    code, out, err = cli("condense", "digits", *STEADILY, "--budget", "1m", "--json")
    assert code == 0, err
    assert "28 of the default 100 iterations fit in 1m: 2 s each on cpu, " in err
    assert "Not part of the budget: evaluation, and about 28.0 s before the first step." in err
    (said,) = [line for line in err.splitlines() if line.startswith("The same without a budget: ")]
    command = said.removeprefix("The same without a budget: ")
    assert command == "dsactl condense digits --ipc 1 --method mine --option iterations=28"
    code, again, err = cli(*shlex.split(command)[1:], "--json")
    assert code == 0, err
    (made,) = json.loads(out)
    budget = made.pop("budget")
    assert (budget["steps"], budget["seconds"], budget["budget"], budget["command"]) == (28, 2, 60, command)
    assert json.loads(again) == [{**made, "repeated": True}]
    _, _, err = cli("condense", "digits", *STEADILY, "--budget", "60s")
    assert "An equal call has timed them; --fresh does so again." in err
    assert "`" not in err


def test_the_same_command_continues_after_ctrl_c(cli: Callable[..., Answer], hands: Hands) -> None:
    command = ("condense", "digits", *STEADILY, "--budget", "1m", "--json")
    hands.interrupted = 3
    code, _, err = cli(*command)
    assert (code, err.splitlines()[-1]) == (130, "Error: Interrupted while measuring; nothing was kept.")
    hands.naps, hands.interrupted = 0, 4 + 11
    code, _, err = cli(*command)
    assert code == 130
    assert "Interrupted at step 10 of 28; the checkpoint was written." in err
    hands.naps, hands.interrupted, hands.slow = 0, 0, 5.0
    code, out, err = cli(*command)
    assert (code, hands.naps) == (0, 18), err
    assert json.loads(out)[0]["repeated"] is False


def test_a_dry_run_has_the_choice_and_writes_nothing(cli: Callable[..., Answer]) -> None:
    code, out, err = cli("condense", "digits", *STEADILY, "--budget", "1m", "--dry-run", "--json")
    assert code == 0, err
    value = json.loads(out)
    assert (value["recipe"]["options"], value["seconds"]) == ({"iterations": 28}, 56)
    chosen = value["budget"]
    assert (chosen["steps"], chosen["default"], chosen["seconds"], chosen["budget"]) == (28, 100, 2, 60)
    assert chosen["command"] == "dsactl condense digits --ipc 1 --method mine --option iterations=28"
    assert not registry.Store().home.exists()
    _, out, _ = cli("condense", "digits", *STEADILY, "--budget", "1m", "--dry-run")
    assert "about 56.0 s, estimated from a few steps\n" in out
    assert f"  {chosen['command']}\n" in out


def test_sets_of_a_folder_share_a_budget_and_the_command_makes_them(cli: Callable[..., Answer], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own images")
    several = ("--sets", "2", "--name", "me/two", "--image-size", "6")
    code, out, err = cli("condense", str(folder), *STEADILY, *several, "--budget", "2m", "--json")
    assert code == 0, err
    assert "28 of the default 100 iterations fit in 1m of 2m, for each of 2 sets" in err
    command = err.split("The same without a budget: ")[1].splitlines()[0]
    assert f"condense '{folder}'" in command
    code, again, err = cli(*shlex.split(command)[1:], "--json")
    assert code == 0, err
    made = json.loads(out)
    assert [each.pop("budget")["command"] for each in made] == [command] * 2
    assert json.loads(again) == [{**each, "repeated": True} for each in made]
    assert [each["reference"] for each in made] == ["me/two:1", "me/two:2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--budget", "abc"), "--budget must be a time, not 'abc'.\n  Use for example --budget 30m or"),
        (("--budget", "-5m"), "--budget must be above 0, not '-5m'."),
        (("--budget", "10"), "--budget must have a unit, not '10'.\n  For minutes, use --budget 10m."),
        (("--budget", "2s"), "--budget 2s is too short for method 'mine' at --ipc 1: 1 iteration takes 2 s on cpu, "),
        (("--budget", "1m", "--ray", "auto"), "--budget and --ray cannot be combined"),
        (("--budget", "1m", "--option", "iterations=5"), "--iterations and --budget are both given.\n  Leave one"),
        (("--budget", "1m", "--method", "random"), "--budget is not for method 'random', which makes no steps"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(refused: Callable[..., str], options: tuple[str, ...], said: str) -> None:
    assert said in refused("condense", "digits", *STEADILY, "--quiet", *options)
    assert not registry.Store().home.exists()


def test_a_file_of_options_has_no_budget_and_may_not_have_the_steps_either(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "file.toml"
    file.write_text("budget = '1m'")
    assert "budget is not an option of the recipe" in refused("condense", "digits", *STEADILY, "--config", str(file))
    file.write_text("iterations = 5")
    both = refused("condense", "digits", "--ipc", "1", "--config", str(file), "--budget", "1m")
    assert "--iterations and --budget are both given" in both
