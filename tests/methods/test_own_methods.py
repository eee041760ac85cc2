"""Methods of other packages in this process: what they may be, their names and options, and the sets they return."""

import importlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess as Ended

import pytest
from foreign_methods import Install, make

import dsactl
import registry
from dsactl.cli import options
from dsactl.cli.recipe_to_command import set_command
from dsactl.errors import RunError, UsageError
from dsactl.recipes import methods
from dsactl.recipes.recipe import Recipe
from dsactl.recipes.settings import FreeSettings

CALLABLE = """
class Static:
    @staticmethod
    def first(work): return first(work)

class Instance:
    options = {"size": 1}
    def __call__(self, work): return first(work)

def wrapped(function): return lambda work: function(work)
def named(function): return functools.wraps(function)(lambda work: function(work))

def either(work, which): return first(work)

static, decorated, instance = Static.first, wrapped(first), Instance()
same_name = named(lambda work: first(work))
partial = functools.partial(either, which=1)
"""


@pytest.mark.parametrize("what", ["Static.first", "static", "decorated", "same_name", "instance", "partial"])
def test_a_method_is_whatever_can_be_called(install: Install, what: str) -> None:
    install(CALLABLE, f"foreign:{what}")
    assert make().reference == "digits-mine-ipc1:1"
    settings = methods.find("mine").settings
    assert settings.names() == (["size"] if what == "instance" else [])
    assert (settings is FreeSettings) == (what != "instance")


@pytest.mark.parametrize(
    ("code", "what", "said"),
    [
        ("", "foreign:torch", "The method 'mine' is not a function: foreign:torch"),
        ("", "foreign:second", "The method 'mine' cannot be loaded: .*has no attribute 'second'"),
        ("first.options = ['size']", "foreign:first", "options of the method 'mine' must be a dict"),
        ("first.options = {'size': None}", "foreign:first", "options of the method 'mine' must be a dict"),
        ("first.options = {'fast': True}", "foreign:first", "options of the method 'mine' must be a dict"),
    ],
)
def test_what_is_no_method_is_refused_before_it_runs(install: Install, code: str, what: str, said: str) -> None:
    install(code, what)
    with pytest.raises(UsageError, match=said):
        make()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("Method('mine')", "has no function"),
        ("Method('mine', function=first, settings=dict)", "not a subclass of `Settings`"),
    ],
)
def test_a_method_that_cannot_be_used_says_why(install: Install, code: str, said: str) -> None:
    install(f"from dsactl.recipes.methods import Method\nmine = {code}", "foreign:mine")
    with pytest.raises(UsageError, match=said):
        make()


@pytest.mark.parametrize("name", ["Upper_Case", "whole", "imported", "a..b", "a" * 33, "two words", ".hidden"])
def test_a_name_that_no_method_can_have_is_refused_when_it_is_used(install: Install, name: str) -> None:
    install(name=name)
    assert name not in methods.names()
    with pytest.raises(UsageError, match="of another package, is not a valid name of a method") as refused:
        dsactl.condense("digits", ipc=1, method=name)
    assert "at most 32 characters out of a-z, 0-9" in refused.value.hint
    assert dsactl.condense("digits", ipc=1, method="random").reference == "digits-random-ipc1:1"


def test_the_longest_name_is_one_and_the_programs_own_cannot_be_taken(install: Install) -> None:
    install(name="a" * 32)
    assert dsactl.condense("digits", ipc=1, method="a" * 32).reference == f"digits-{'a' * 32}-ipc1:1"
    install("raise ImportError", name="random")
    assert methods.names() == list(methods.BUILT_IN)
    assert dsactl.condense("digits", ipc=1, method="random").recipe.method == "random"


def test_entry_points_that_are_of_no_use_break_nothing(install: Install, program: Callable[..., Ended]) -> None:
    site = install()
    about = site / "aaa-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa\nVersion: 1\n")
    for content in (
        b"[dsactl.methods]\nnonsense\n",
        b"\xff\xfe[dsactl",
        b"[dsactl.methods]\nWhole=no:x\nwhole=?\ndsa=x:y",
    ):
        (about / "entry_points.txt").write_bytes(content)
        importlib.invalidate_caches()
        methods._foreign.cache_clear()
        assert options.complete_method("") == [*methods.BUILT_IN, "mine"]
        assert make().recipe.method == "mine"
    path = {"PYTHONPATH": f"{site}:{Path(dsactl.__file__).parents[1]}"}
    assert program("--help", **path).returncode == 0
    done = program("condense", "digits", "--ipc", "1", "--method", "random", "--quiet", **path)
    assert (done.returncode, done.stdout) == (0, "digits-random-ipc1:1\n")
    completed = program(_DSACTL_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="dsactl condense --method m", **path)
    assert "mine" in completed.stdout
    refused = program("condense", "digits", "--ipc", "1", "--method", "Whole", **path)
    assert refused.returncode == 2
    assert "'Whole', of another package, is not a valid name of a method" in refused.stderr


def test_a_set_is_shown_though_its_method_s_package_is_broken(install: Install) -> None:
    install()
    made = make()
    manifest = registry.Store().find(registry.names.parse_reference(made.reference)).manifest
    assert set_command(manifest) == "dsactl condense digits --ipc 1 --method mine"
    install("raise ImportError")
    assert set_command(manifest) is None


def test_options_may_have_the_names_of_settings_of_other_methods(install: Install) -> None:
    install("first.options = {'iterations': 7, 'step-lr': 0.5}", "foreign:first")
    made = make()
    assert made.recipe.to_dict()["options"] == made.recipe.options == {"iterations": 7, "step-lr": 0.5}
    assert Recipe.from_dict(made.recipe.to_dict()) == made.recipe
    assert make(options={"iterations": "8"}).recipe.options["iterations"] == 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("None", "returned an object of type NoneType, not CondensedSet"),
        ("(first(work).images_NCHW, torch.arange(10))", "returned an object of type tuple, not CondensedSet"),
        ("CondensedSet([1.0], torch.arange(10))", "made images of type list, not Tensor"),
        ("CondensedSet(first(work).images_NCHW, None)", "made labels of type NoneType, not Tensor"),
        (
            "CondensedSet(first(work).images_NCHW, torch.arange(10), [[1.0]])",
            "made soft labels of type list, not Tensor",
        ),
    ],
)
def test_what_is_not_made_is_refused(install: Install, given: str, said: str) -> None:
    install(f"def odd(work): return {given}", "foreign:odd")
    with pytest.raises(RunError, match=f"The method 'mine' {said}") as refused:
        make()
    assert refused.value.hint.startswith("Return ")


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        ("CondensedSet(torch.zeros(3, 1, 8, 8), torch.arange(3))", "made no image of class '3'", "of all 10 classes"),
        (
            "CondensedSet(torch.zeros(9, 1, 8, 8), torch.arange(10))",
            "made 9 images and 10 labels",
            "one label for each image",
        ),
        (
            "CondensedSet(torch.zeros(10, 64), torch.arange(10))",
            r"shape \(10, 64\), not N×1×8×8",
            "one tensor of all images",
        ),
        (
            "CondensedSet(torch.zeros(10, 1, 8, 8), torch.arange(10).flip(0))",
            "labels that are not int64, not negative, and in ascending order",
            "sorted by class",
        ),
        ("CondensedSet(torch.zeros(11, 1, 8, 8), torch.arange(11))", "made a label 10", "labels from 0 to 9"),
        (
            "CondensedSet(torch.zeros(20, 1, 8, 8), work.dataset.labels(2))",
            "made 2 images of a class",
            "at most `work.recipe.ipc`",
        ),
        (
            "CondensedSet(torch.zeros(10, 1, 8, 8), torch.arange(10), torch.ones(10, 3))",
            "soft labels of shape",
            "10 probabilities",
        ),
        ("CondensedSet(torch.zeros(10, 1, 8, 8), torch.arange(10), torch.ones(10, 10))", "not sum to one", "softmax"),
        (
            "CondensedSet(torch.zeros(10, 1, 8, 8), torch.arange(10), provenance={'loss': torch.zeros(1)})",
            "a provenance that cannot be written as JSON",
            "tolist",
        ),
    ],
)
def test_an_invalid_set_is_refused_with_what_to_return(install: Install, code: str, said: str, hint: str) -> None:
    install(f"def first(work): return {code}")
    with pytest.raises(RunError, match=said) as refused:
        make()
    assert hint in refused.value.hint
