"""Methods of other packages in this process: what they may be, what is said of them, and how their runs go on."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess as Ended

import pytest
import torch

import dsactl
import registry
from dsactl.cli import options
from dsactl.cli.recipe_to_command import set_command
from dsactl.engine import native
from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.errors import RunError, UsageError
from dsactl.methods import work
from dsactl.methods.work import Work
from dsactl.recipes import methods
from dsactl.recipes.recipe import Recipe
from dsactl.recipes.settings import FreeSettings
from dsactl.runs.progress import Progress
from dsactl.runs.runner import CHECKPOINT

Install = Callable[..., Path]

FIRST = """
import functools
import torch
from torch.nn import functional as F
from dsactl.errors import UsageError
from dsactl.methods.work import Made

def first(work):
    images = [work.dataset.draw(label, 1, work.generator("x", label))[0] for label in range(10)]
    return Made(torch.stack(images), torch.arange(10))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package with one module `foreign` on the path; called again, puts another in its place."""
    site = tmp_path / "site"
    about = site / "foreign-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(site)

    def forget() -> None:
        sys.modules.pop("foreign", None)
        importlib.invalidate_caches()
        methods._foreign.cache_clear()

    def put(code: str = "", what: str = "foreign:first", name: str = "mine") -> Path:
        (site / "foreign.py").write_text(FIRST + code)
        (about / "entry_points.txt").write_text(f"[{methods.GROUP}]\n{name} = {what}\n")
        forget()
        return site

    yield put
    forget()


def make(**more: object) -> dsactl.SyntheticSet:
    return dsactl.condense("digits", ipc=1, method="mine", **more)  # type: ignore[arg-type]


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
    ("given", "said"),
    [
        ("None", "returned an object of type NoneType, not Made"),
        ("(first(work).images_NCHW, torch.arange(10))", "returned an object of type tuple, not Made"),
        ("Made([1.0], torch.arange(10))", "made images of type list, not Tensor"),
        ("Made(first(work).images_NCHW, None)", "made labels of type NoneType, not Tensor"),
        ("Made(first(work).images_NCHW, torch.arange(10), [[1.0]])", "made soft labels of type list, not Tensor"),
    ],
)
def test_what_is_not_made_is_refused(install: Install, given: str, said: str) -> None:
    install(f"def odd(work): return {given}", "foreign:odd")
    with pytest.raises(RunError, match=f"The method 'mine' {said}"):
        make()


FAILS = """
def fails(work):
    if "step" not in work.resume():
        work.keep(1, 2, {"step": torch.tensor(1)})
        {fault}
    assert work.resume()["step"] == 1
    return first(work)
"""
LINE = len((FIRST + FAILS[: FAILS.index("{fault}")]).splitlines())


def kept() -> list[Path]:
    """Checkpoints of runs that are not done."""
    return list((registry.Store().home / "runs").glob(f"*/{CHECKPOINT}"))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise ValueError('no such [thing]\\nand more')", "ValueError: no such [thing]"),
        ("assert not work", "AssertionError"),
        ("open('/nowhere')", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'"),
        ("F.cross_entropy(torch.zeros(3, 10), torch.arange(2))", "ValueError: Expected input batch_size (3)"),
        ("work.option('size')", "KeyError: 'size'"),
        ("work.keep(1, 2, {'step': 1})", "TypeError: keep() takes tensors; 'step' is of type int"),
    ],
)
def test_an_exception_of_a_method_is_told_as_its_own(install: Install, fault: str, said: str) -> None:
    code = FAILS.replace("{fault}", fault)
    site = install(code, "foreign:fails")
    with pytest.raises(RunError) as told:
        make()
    assert told.value.message.startswith(f"The method 'mine' failed: {said}")
    assert told.value.message.endswith(f", at {site / 'foreign.py'}:{LINE}."), "where it is theirs, not torch's or ours"
    assert "its package" in told.value.hint
    assert told.value.__cause__ is not None
    assert len(kept()) == 1
    make()
    assert not kept(), "it went on from what it kept"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("raise UsageError('that one')", UsageError),
        ("raise MemoryError", MemoryError),
        ("raise torch.OutOfMemoryError('CUDA out of memory')", torch.OutOfMemoryError),
        ("torch.empty(2**50)", RuntimeError),
        ("raise KeyboardInterrupt", KeyboardInterrupt),
        ("raise SystemExit(3)", SystemExit),
    ],
)
def test_what_is_no_fault_of_a_method_stays_as_it_is(install: Install, fault: str, kind: type[BaseException]) -> None:
    install(FAILS.replace("{fault}", fault), "foreign:fails")
    with pytest.raises(kind) as raised:
        make()
    assert not isinstance(raised.value, RunError)
    assert len(kept()) == 1


def test_what_a_callers_report_raises_is_no_fault_of_the_method(install: Install) -> None:
    install(FAILS.replace("{fault}", "pass"), "foreign:fails")

    def report(_: Progress) -> None:
        raise StopAsyncIteration

    with pytest.raises(StopAsyncIteration):
        make(report=report)


def test_an_exception_of_the_programs_own_method_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Work) -> None:
        raise ValueError("ours")

    monkeypatch.setattr("dsactl.methods.coresets.random.random", broken)
    with pytest.raises(ValueError, match="ours"):
        dsactl.condense("digits", ipc=1, method="random")


def test_a_set_is_shown_though_its_method_s_package_is_broken(install: Install) -> None:
    install()
    made = make()
    manifest = registry.Store().find(registry.names.parse_reference(made.reference)).manifest
    assert set_command(manifest) == "dsactl condense digits --ipc 1 --method mine"
    install("raise ImportError")
    assert set_command(manifest) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("Made(torch.zeros(3, 1, 8, 8), torch.arange(3))", "made no image of class '3'"),
        ("Made(torch.zeros(9, 1, 8, 8), torch.arange(10))", "made 9 images and 10 labels"),
        (
            "Made(torch.zeros(10, 1, 8, 8), torch.arange(10).flip(0))",
            "labels that are not int64, not negative, and in ascending order",
        ),
    ],
)
def test_a_set_has_every_class_and_a_label_for_each_image(install: Install, code: str, said: str) -> None:
    install(f"def first(work): return {code}")
    with pytest.raises(RunError, match=said):
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


STOPS = FAILS.replace("{fault}", "raise KeyboardInterrupt")


@pytest.fixture
def stopped(install: Install) -> Iterator[Path]:
    """The checkpoint of a run that was interrupted on one thread."""
    install(STOPS, "foreign:fails")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with pytest.raises(KeyboardInterrupt):
            make()
        (path,) = kept()
        yield path
    finally:
        torch.set_num_threads(threads)


def test_a_run_goes_on_with_another_number_of_threads(stopped: Path) -> None:
    torch.set_num_threads(2)
    made = make()
    assert not stopped.exists()
    stored = registry.Store().find(registry.names.parse_reference(made.reference))
    assert re.fullmatch(
        r"torch .+, cpu, 1 thread, .+; then torch .+, cpu, 2 threads, .+",
        str(stored.manifest.provenance["environment"]),
    )


def test_a_run_goes_on_on_its_device_alone(stopped: Path) -> None:
    tensors, about = read_checkpoint(stopped.read_bytes(), stopped, torch.device("cpu"))
    save_checkpoint(stopped, tensors, {**about, "mode": {**about["mode"], "device": "cuda", "native": False}})
    with pytest.raises(
        RunError, match="The checkpoint was written on cuda; it cannot be resumed bit-exactly on cpu"
    ) as refused:
        make()
    start_over = f"to start over, use `fresh=True`, or remove {stopped}."
    assert refused.value.hint == f'To continue it, use `device="cuda"`; {start_over}'
    stopped.unlink()
    with pytest.raises(KeyboardInterrupt):
        make()
    save_checkpoint(stopped, tensors, {"done": 1})
    with pytest.raises(RunError, match="is damaged") as refused:
        make()
    assert refused.value.hint.lower() == start_over.lower()
    with pytest.raises(KeyboardInterrupt):
        make(fresh=True)


@pytest.mark.parametrize(
    ("begun", "now", "way_out"),
    [
        (None, object(), "set DSACTL_NATIVE=0"),
        (object(), None, "install a C++ compiler, and leave DSACTL_NATIVE and DSACTL_COMPILE unset"),
    ],
)
def test_a_run_goes_on_with_its_layers_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch, begun: object, now: object, way_out: str
) -> None:
    def use(library: object) -> None:
        for module in (work, native):
            monkeypatch.setattr(module, "library", lambda: library)

    install(STOPS, "foreign:fails")
    use(begun)
    with pytest.raises(KeyboardInterrupt):
        make()
    use(now)
    with pytest.raises(RunError, match="cannot be resumed bit-exactly on cpu") as refused:
        make()
    assert refused.value.hint.startswith(f"To continue it, {way_out}; to start over, ")
    use(begun)
    make()


def test_changed_code_makes_another_set_with_fresh_or_another_revision(install: Install) -> None:
    code = """
def again(work): return Made(first(work).images_NCHW + {by}, torch.arange(10))
again.options = {options}
"""

    def put(**values: object) -> None:
        install(code.format(**values), "foreign:again")

    put(by=1, options={"part": 20})
    old = make()
    put(by=2, options={"part": 20})
    assert make().digest == old.digest, "the recipe is the same, so the set is only looked up"
    fresh = make(fresh=True)
    assert torch.allclose(fresh.images, old.images + 1)
    put(by=3, options={"part": 20, "revision": 2})
    revised = make()
    assert torch.allclose(revised.images, old.images + 2)
    assert revised.recipe.digest() != old.recipe.digest()
    assert revised.recipe.options == {"part": 20, "revision": 2}
    assert make().digest == revised.digest
    put(by=4, options={"part": 20, "revision": 3})
    assert torch.allclose(make().images, old.images + 3)
    assert torch.equal(dsactl.load(old.reference).images, old.images), "the sets of the old code stay"


IN_PLACE = """
def adds(work):
    state = work.resume() or {"one": torch.zeros(()), "other": torch.zeros(())}
    assert state["one"] == state["other"]
    for step in range(int(state["one"]), 4):
        state["one"] += 1
        {fault}
        state["other"] += 1
        work.keep(step + 1, 4, state)
    return first(work)
"""


def test_what_a_method_changes_in_place_after_it_was_kept_is_not_kept(install: Install) -> None:
    install(IN_PLACE.replace("{fault}", "if step == 2: raise KeyboardInterrupt"), "foreign:adds")
    for _ in ("in its third step", "in its first step after it went on"):
        with pytest.raises(KeyboardInterrupt):
            make()
    install(IN_PLACE.replace("{fault}", ""), "foreign:adds")
    make()


def test_options_may_have_the_names_of_settings_of_other_methods(install: Install) -> None:
    install("first.options = {'iterations': 7, 'step-lr': 0.5}", "foreign:first")
    made = make()
    assert made.recipe.to_dict()["options"] == made.recipe.options == {"iterations": 7, "step-lr": 0.5}
    assert Recipe.from_dict(made.recipe.to_dict()) == made.recipe
    assert make(options={"iterations": "8"}).recipe.options["iterations"] == 8


def test_what_is_no_set_leaves_no_checkpoint(install: Install) -> None:
    install("def wrong(work):\n    work.keep(1, 1, {'x': torch.zeros(1)})\n    return 3", "foreign:wrong")
    with pytest.raises(RunError, match="int"):
        make()
    assert not list(registry.Store().home.rglob(CHECKPOINT))


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
