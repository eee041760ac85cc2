"""Runs of methods of other packages in this process: what is said of their exceptions, and how they go on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from foreign_methods import FIRST, Install, make
from sessions import Told

import dsactl
import registry
from dsactl.engine import native
from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.run_files import CHECKPOINT
from dsactl.errors import RunError, UsageError
from dsactl.methods import work
from dsactl.methods.work import MethodContext

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


def test_what_a_callers_meter_raises_is_no_fault_of_the_method(install: Install) -> None:
    install(FAILS.replace("{fault}", "pass"), "foreign:fails")

    def fail(*_: object) -> None:
        raise StopAsyncIteration

    with pytest.raises(StopAsyncIteration):
        make(progress=Told(fail))


def test_an_exception_of_the_programs_own_method_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: MethodContext) -> None:
        raise ValueError("ours")

    monkeypatch.setattr("dsactl.methods.coresets.random.random", broken)
    with pytest.raises(ValueError, match="ours"):
        dsactl.condense("digits", ipc=1, method="random")


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


def test_what_is_no_set_leaves_no_checkpoint(install: Install) -> None:
    install("def wrong(work):\n    work.keep(1, 1, {'x': torch.zeros(1)})\n    return 3", "foreign:wrong")
    with pytest.raises(RunError, match="int"):
        make()
    assert not list(registry.Store().home.rglob(CHECKPOINT))


def test_changed_code_makes_another_set_with_fresh_or_another_revision(install: Install) -> None:
    code = """
def again(work): return CondensedSet(first(work).images_NCHW + {by}, torch.arange(10))
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
