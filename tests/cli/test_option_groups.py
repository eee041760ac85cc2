"""Groups of options: one object in a command's signature, several options on the command line."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import pytest
import typer

from dsactl.cli.main import PANELS, command_module
from dsactl.cli.option_groups import expanded
from dsactl.cli.options import NetworkOptions
from dsactl.cli.output import Output
from dsactl.cli.study_options import CellOptions
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.recipes.recipe import Request
from dsactl.studies.ablate import Ablation


@dataclass(frozen=True)
class Size:
    height: Annotated[int, typer.Option(help="Height.")] = 2
    width: Annotated[int, typer.Option(help="Width.")] = 3


def test_a_group_becomes_an_option_for_each_field_and_is_handed_over_as_one_object() -> None:
    seen: dict[str, Any] = {}

    def command(
        name: Annotated[str, typer.Argument()],
        size: Size = Size(width=5),
        deep: Annotated[bool, typer.Option()] = False,
    ) -> None:
        """Do it."""
        seen.update(name=name, size=size, deep=deep)

    taken = expanded(command)
    parameters = inspect.signature(taken).parameters
    assert {name: each.default for name, each in parameters.items()} == {
        "name": inspect.Parameter.empty,
        "height": 2,
        "width": 5,
        "deep": False,
    }
    assert get_args(parameters["width"].annotation)[1].help == "Width."
    assert taken.__doc__ == "Do it."
    taken(name="a", height=7, width=5, deep=True)
    assert seen == {"name": "a", "size": Size(7, 5), "deep": True}


def test_settings_of_methods_are_options_too() -> None:
    def command(**settings: Any) -> None:
        assert settings == {"iterations": 4}

    taken = expanded(command)
    settings = {name for method in BUILT_IN for name in find(method).settings.types()}
    assert set(inspect.signature(taken).parameters) == settings
    taken(iterations=4)


def test_network_options_give_a_network_only_if_one_was_asked_for() -> None:
    assert NetworkOptions().spec() is None
    assert NetworkOptions(arch="mlp").spec() == NetworkSpec("mlp")
    assert NetworkOptions(depth=2, norm="batch").spec() == NetworkSpec(depth=2, norm="batch")
    with pytest.raises(UsageError, match="Unknown network ''"):
        NetworkOptions(arch="").spec()


def test_options_of_cells_give_request_and_protocol_of_a_study() -> None:
    cell = CellOptions(networks=3, iterations=5, seed=2)
    study = Ablation("init", "digits", 10, method="dc", arch=None, **vars(cell))
    request = Request.parse({"dataset": "digits", "ipc": 10, "method": "dc", "iterations": 5, "seed": 2})
    assert study.request == request
    assert study.protocol == Protocol(networks=3)


@pytest.mark.parametrize(
    ("name", "ray"), [("condense", "off"), ("transfer", "off"), ("nas", "auto"), ("continual", "auto")]
)
def test_defaults_differ_by_command(name: str, ray: str) -> None:
    parameters = inspect.signature(expanded(command_module(name).command)).parameters
    assert (parameters["ray"].default, parameters["device"].default) == (ray, "auto")


def test_every_command_answers_through_one_output() -> None:
    for name in (name for names in PANELS.values() for name in names):
        command = command_module(name).command
        assert inspect.signature(command).parameters["output"].annotation is Output, name
        assert list(inspect.signature(expanded(command)).parameters).count("as_json") == 1, name


def test_output_is_made_from_its_flags(cli: Callable[..., tuple[int, str, str]]) -> None:
    assert cli("ls", "--json") == (0, "[]\n", "")
    assert cli("ls", "--quiet") == (0, "", "")
    assert cli("ls", "-q")[0] == 0
