"""Wrong arguments in Python and wrong values in files of options: each is a `dsactl.Error`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dsactl

WRONG = [-1, 0, 1.5, True, "x", None, [], b"x"]
BUNDLED = "bundled/mnist-dsa-convnet-ipc1:1"


@pytest.fixture(scope="module")
def condensed() -> dsactl.SyntheticSet:
    return dsactl.load(BUNDLED)


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("name", ["epochs", "batch_size", "seed"])
def test_batches_refuses_wrong_numbers_at_once(condensed: dsactl.SyntheticSet, name: str, value: Any) -> None:
    if (name, value) in (("seed", 0), ("batch_size", None)):
        return
    with pytest.raises(dsactl.Error, match=f"`{name}` must be"):
        condensed.batches(**{name: value})


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("name", dsactl.Protocol.__dataclass_fields__)
def test_a_protocol_refuses_wrong_values(name: str, value: Any) -> None:
    fine = [("seed", 0), ("lr", 1.5), ("momentum", 0), ("weight_decay", 0), ("weight_decay", 1.5), ("cutmix", 0)]
    usual = value is None and name not in ("networks", "seed", "precision")
    if usual or ((name, value) in fine and not isinstance(value, bool)):
        dsactl.Protocol(**{name: value})
        return
    with pytest.raises(dsactl.Error):
        dsactl.Protocol(**{name: value})


@pytest.mark.parametrize("value", [3, [], b"dsa", "nothing"], ids=repr)
def test_a_protocol_is_one_or_the_name_of_one(value: Any) -> None:
    with pytest.raises(dsactl.Error, match="protocol"):
        dsactl.evaluate(BUNDLED, value)


@pytest.mark.parametrize("value", [*WRONG[:-3], "", b"x", [], {}], ids=repr)
@pytest.mark.parametrize("name", ["arch", "depth", "width", "norm", "activation", "pooling"])
def test_a_network_refuses_wrong_values(name: str, value: Any) -> None:
    with pytest.raises(dsactl.Error):
        dsactl.NetworkSpec(**{name: value})


@pytest.mark.parametrize("value", [*WRONG, {}, "", "./nowhere"], ids=repr)
def test_references_datasets_and_addresses_that_are_none(value: Any) -> None:
    for function in (dsactl.load, dsactl.load_dataset, dsactl.pull):
        with pytest.raises(dsactl.Error):
            function(value)  # type: ignore[operator]
    if value is not None:
        with pytest.raises(dsactl.Error):
            dsactl.evaluate(value, networks=1)
    with pytest.raises(dsactl.Error):
        dsactl.condense(value, ipc=1, method="random")


@pytest.mark.parametrize("value", [*WRONG, {}, object()], ids=lambda value: type(value).__name__)
def test_sets_and_pools_to_relabel_with_that_are_none(value: Any) -> None:
    said = "There is no (set|pool of experts) 'x'" if value == "x" else "is not a reference"
    with pytest.raises(dsactl.Error, match=said):
        dsactl.relabel(value)
    if value is not None:
        with pytest.raises(dsactl.Error, match=said):
            dsactl.relabel(BUNDLED, experts=value)


def test_a_store_and_pixels_must_be_what_they_are(condensed: dsactl.SyntheticSet, tmp_path: Path) -> None:
    store: Any = str(tmp_path)
    calls: list[Callable[[], object]] = [
        lambda: dsactl.load(BUNDLED, store),
        lambda: dsactl.evaluate(BUNDLED, store=store),
        lambda: dsactl.condense("digits", ipc=1, store=store),
        lambda: dsactl.pull("a/b", store=store),
        lambda: dsactl.experts("digits", networks=1, store=store),
        lambda: dsactl.load_experts("a", store),
        lambda: dsactl.page(store=store),
    ]
    for call in calls:
        with pytest.raises(dsactl.Error, match=r"registry\.Store"):
            call()
    with pytest.raises(dsactl.Error, match="`pixels` must be"):
        condensed.normalise([1.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ipc", "width", "depth", "iterations", "batch_real", "batch_train"])
def test_numbers_that_torch_cannot_count_are_refused(name: str, refused: Callable[..., str]) -> None:
    given = {"ipc": "1", name: str(10**22)}
    flags = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", value)]
    assert f"--{name.replace('_', '-')}" in refused("condense", "digits", *flags)
    if name == "width":
        assert "at most 1000000" in refused("condense", "digits", "--ipc", "1", "--width", str(10**9))
    with pytest.raises(dsactl.Error, match="`epochs` must be at most"):
        dsactl.Protocol(epochs=10**22)


@pytest.mark.parametrize("name", ["ipc", "seed", "iterations", "width", "method", "image_lr", "batch_real"])
def test_true_and_false_are_no_numbers(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    given = {"ipc": 1, name: True}
    with pytest.raises(dsactl.Error, match=f"`{name}` must be a number or a word, not true"):
        dsactl.condense("digits", **given)  # type: ignore[arg-type]
    lines = ["ipc = 1"] * (name != "ipc") + [f"{name} = true"]
    (tmp_path / "recipe.toml").write_text("\n".join(lines))
    said = refused("condense", "digits", "--config", str(tmp_path / "recipe.toml"))
    assert f"--{name.replace('_', '-')} must be a number or a word, not true" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[recipe]\nipc = 1", "there is no table [recipe]"),
        ("ipc = 1\n[[sets]]\nseed = 1", "sets is not an option of the recipe"),
        ("ipc = 1\n[[more]]\nseed = 1", "there is no table [more]"),
        ("ipc = 1\nseed = {a = 1}", "there is no table [seed]"),
        ("ipc = 1\nsets = 2", "command line: --sets"),
        ("ipc = 1\nfresh = true", "command line: --fresh"),
        ('ipc = 1\ndevice = "cpu"', "command line: --device"),
        ('ipc = 1\nray = "off"', "command line: --ray"),
        ("ipc = 1\ncheckpoint-every = 2", "command line: --checkpoint-every"),
        ("ipc = 1\ngpu_share = 1", "command line: --gpu-share"),
        ("ipc = 1\ndry_run = true", "command line: --dry-run"),
        ("ipc = 1\njson = true", "command line: --json"),
        ("ipc = 1\nsed = 2", "Unknown option 'sed'"),
    ],
)
def test_what_a_file_of_options_cannot_have(text: str, said: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    assert said in refused("condense", "digits", "--config", str(tmp_path / "recipe.toml"))


def test_a_file_of_options_cannot_have_any_option_of_the_run() -> None:
    """The refused names are the parameters of the command that a recipe does not have."""
    import inspect

    from dsactl.cli import config_file
    from dsactl.cli.commands import condense
    from dsactl.cli.option_groups import expanded
    from dsactl.recipes.recipe import Request, setting_names

    known = {*Request.__dataclass_fields__, *setting_names()}
    rest = {name for name in inspect.signature(expanded(condense.command)).parameters if name not in known}
    assert rest - {"as_json"} <= set(config_file._NOT_IN_FILES)


@pytest.mark.parametrize(
    "places",
    [[0, 1], "a", None, torch.tensor([0.5, 1.5]), torch.tensor([[0], [1]]), torch.tensor([True]), torch.tensor(1)],
    ids=repr,
)
def test_indices_of_a_part_must_be_a_tensor_of_int64(condensed: dsactl.SyntheticSet, places: Any) -> None:
    with pytest.raises(dsactl.Error, match="`places` must be a tensor of int64"):
        condensed.part(places)


@pytest.mark.parametrize(("name", "value"), [("executor", "auto"), ("progress", print), ("progress", dsactl.Progress)])
def test_executors_and_meters_must_be_what_they_are(name: str, value: Any) -> None:
    calls: list[Callable[..., object]] = [
        lambda **given: dsactl.evaluate(BUNDLED, networks=1, epochs=1, **given),
        lambda **given: dsactl.evaluate_whole("digits", networks=1, epochs=1, **given),
        lambda **given: dsactl.transfer("digits", **given),
    ]
    for call in calls:
        with pytest.raises(dsactl.Error, match=f"`{name}` must be a"):
            call(**{name: value})


def test_a_protocol_must_be_one() -> None:
    protocol: Any = 5
    with pytest.raises(dsactl.Error, match="`protocol` must be a Protocol or its name, not 5"):
        dsactl.evaluate(BUNDLED, protocol)


@pytest.mark.parametrize(
    ("study", "name", "value"),
    [
        (dsactl.transfer, "archs", None),
        (dsactl.transfer, "test_on", [5]),
        (dsactl.transfer, "out", 5),
        (dsactl.ablate, "ipc", "many"),
        (dsactl.nas, "where", 5),
        (dsactl.nas, "epochs", {}),
    ],
)
def test_a_study_s_options_have_types(study: Callable[..., object], name: str, value: Any) -> None:
    arguments = ("ipc", "digits") if study is dsactl.ablate else ("digits",)
    with pytest.raises(dsactl.Error, match=f"`{name}`"):
        study(*arguments, **{name: value})


@pytest.mark.parametrize(("name", "value"), [("splits", "x"), ("lr", "x"), ("tasks", 1), ("memory", [None])])
def test_continual_learning_s_options_have_types(name: str, value: Any) -> None:
    with pytest.raises(dsactl.Error, match=f"`{name}`"):
        dsactl.continual(**{name: value})


def test_cells_of_a_table_are_named_by_text() -> None:
    with pytest.raises(dsactl.Error, match="`only`"):
        dsactl.reproduce("table1", only=[5])


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, "seed = " + "1" * 5000, "seed = 0x" + "1" * 5000])
def test_a_file_of_options_that_python_cannot_read(text: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "options.toml"
    path.write_text(text)
    refused("condense", "digits", "--ipc", "1", "--config", str(path))


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(dsactl.Error, match="cannot be a dataset: File name too long") as caught:
        dsactl.load_dataset("a" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("device", ["nope", [], "cuda:77"])
def test_a_set_goes_to_no_device_that_is_not_there(condensed: dsactl.SyntheticSet, device: Any) -> None:
    with pytest.raises(dsactl.Error, match="`device` cannot be"):
        condensed.to(device)
