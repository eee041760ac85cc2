"""Settings of methods: documented, resolved, and the same in manifests as ever."""

import json
import math
from dataclasses import dataclass, fields
from datetime import date
from typing import Annotated, Literal, get_args, get_origin

import pytest

from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.recipes.recipe import Recipe, Request
from dsactl.recipes.settings import Asked, Count, FieldDoc, FreeSettings, Settings, settings_of

DIGESTS = [
    ("dsa", {}, "ebefa7aad2919884"),
    ("dsa", {"init": "real"}, "ebefa7aad2919884"),
    ("dsa", {"scheme": "both"}, "3c3afdc368a4c5e5"),
    ("dc", {}, "b6519ecf1e4c9435"),
    ("dc", {"iterations": 3}, "504a76683f38e40b"),
    ("random", {}, "700068268c059399"),
    ("herding", {}, "38644c0e1fb8062b"),
    ("herding", {"options": {"epochs": 3}}, "5d95e50ffee4baf5"),
    ("kcenter", {}, "165c245cad828063"),
    ("forgetting", {}, "66bd06baaad8633c"),
    ("dd", {}, "a3036fe24051e229"),
    ("dd", {"iterations": 3}, "a89f325613181451"),
    ("dd", {"init": "real"}, "bcfb9e0d72e39092"),
    ("dm", {}, "b13ff257943d4e97"),
    ("dance", {}, "2b6e26d7166738c0"),
    ("dance", {"calibration": 0, "formation": 2}, "6914a09182d2eb85"),
    ("idc", {}, "c0b87582e0862dd9"),
    ("idc", {"formation": 2}, "2e9937bfd7688b37"),
    ("ld", {}, "faaf56f3bfadafb3"),
    ("ld", {"options": {"patience": 3, "label_lr": 1}}, "4ac1e9629e0d441b"),
]
"""The first 16 digits of recipes' digests, as computed since the method exists: the keys of people's runs."""


@dataclass(frozen=True, kw_only=True)
class Example(Settings):
    """Settings of no method."""

    epochs: Count = 3
    """Number of
    epochs.

    Default: 3, ours.
    """
    init: str = "real"
    """Initial images."""


@dataclass(frozen=True, kw_only=True)
class Required(Settings):
    """Settings of which one has no default."""

    need: int
    """Something."""


@pytest.mark.parametrize("method", BUILT_IN)
def test_every_setting_says_what_it_is_and_whose_its_default_is(method: str) -> None:
    settings = find(method).settings
    docs = settings.docs()
    assert list(docs) == settings.names() == list(settings.types())
    assert not set(settings.names()) & {each.name for each in fields(Request)}, "they are the request's own"
    for name, doc in docs.items():
        assert doc.text.endswith("."), name
        assert doc.default, name
        default = settings.constant_default(name)
        assert default is None or doc.default.startswith(f"{default}"), (
            f"`Default:` of {name} must begin with {default!r}; it says {doc.default!r}"
        )


def test_settings_of_one_name_are_of_one_type() -> None:
    """They share one option of the command line."""
    kinds: dict[str, set[object]] = {}
    for method in BUILT_IN:
        for name, kind in find(method).settings.types().items():
            plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
            assert plain is not bool, f"{name} of {method}: a setting is a number or a word"
            kinds.setdefault(name, set()).add(str if get_origin(plain) is Literal else plain)
    assert not {name: found for name, found in kinds.items() if len(found) > 1}


def test_docstrings_under_fields_are_read() -> None:
    assert Example.docs() == {
        "epochs": FieldDoc("Number of epochs.", "3, ours"),
        "init": FieldDoc("Initial images.", ""),
    }


def test_settings_are_resolved_and_checked() -> None:
    asked = Asked("example", 1, "convnet")
    assert Example.resolve({"epochs": "5"}, asked) == Example(epochs=5)
    with pytest.raises(UsageError, match="`epochs`: input should be greater than or equal to 1, not 0"):
        Example.resolve({"epochs": 0}, asked)
    with pytest.raises(UnknownNameError, match=r"Unknown option of example 'epoch'\. Did you mean 'epochs'"):
        Example.resolve({"epoch": 0}, asked)


def test_shared_settings_lie_beside_the_recipes_fields_and_others_under_options() -> None:
    assert Example(epochs=4).to_dict() == {"init": "real", "options": {"epochs": 4}}
    assert Example(epochs=4).option("epochs") == 4
    assert Example().option("init") == "real"
    with pytest.raises(KeyError):
        Example().option("other")


def test_a_recipe_of_an_unknown_method_is_read_and_keeps_its_digest() -> None:
    known = Request.of("cifar10", 10, method="dd", iterations=3, step_lr=0.5).resolve(
        "cifar10", "0" * 64, (3, 32, 32), mirrored=True, precision="float32"
    )
    values = {**json.loads(json.dumps(known.to_dict())), "method": "elsewhere"}
    read = Recipe.from_dict(values)
    assert isinstance(read.settings, FreeSettings)
    assert read.to_dict() == values
    assert Recipe.from_dict(read.to_dict()).digest() == read.digest()
    renamed = {**values, "method": "dd", "options": {"of_another_version": 1}}
    assert Recipe.from_dict(renamed).to_dict() == renamed


@pytest.mark.parametrize(("method", "given", "digest"), DIGESTS)
def test_recipes_keep_their_digests(method: str, given: dict[str, object], digest: str) -> None:
    request = Request.parse({"dataset": "cifar10", "ipc": 10, "method": method, **given})
    recipe = request.resolve("cifar10", "0" * 64, (3, 32, 32), mirrored=True, precision="float32")
    assert recipe.digest()[:16] == digest


@pytest.mark.parametrize("given", [5, "5", 5.0])
def test_defaults_depend_on_values_and_not_on_how_they_are_given(given: object) -> None:
    for values in ({"inner_steps": given}, {"options": {"inner_steps": given}}):
        request = Request.parse({"dataset": "cifar10", "ipc": 1, **values})
        settings = request.method_settings().values()
        assert (settings["inner_steps"], settings["network_epochs"]) == (5, 100)


@pytest.mark.parametrize("name", ["iterations", "step-lr", "lambda", "values", "names", "check"])
def test_other_packages_may_call_their_options_as_they_like(name: str) -> None:
    kind = settings_of(((name, 7),))
    settings = kind.resolve({name: "8"}, Asked("theirs", 1, "convnet"), own=True)
    assert settings.option(name) == 8
    assert settings.to_dict() == {"options": {name: 8}}
    assert kind.from_values({name: 8}) == settings
    with pytest.raises(UsageError, match="valid integer"):
        kind.resolve({name: "many"}, Asked("theirs", 1, "convnet"), own=True)


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}, math.nan, math.inf, date(2020, 1, 1)])
def test_options_are_numbers_and_words(value: object) -> None:
    with pytest.raises(UsageError, match="must"):
        Request.parse({"dataset": "digits", "ipc": 1, "method": "herding", "options": {"epochs": value}})


def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="`need` is missing"):
        Required.resolve({}, Asked("example", 1, "convnet"))


def test_nothing_is_made_up_for_a_manifest() -> None:
    """A setting that a method got later is not in older recipes."""
    with pytest.raises(ValueError, match="other settings"):
        Example.from_values({"epochs": 4})
