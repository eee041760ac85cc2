"""Time budgets: how many steps fit by a clock that the tests move, and that an equal call continues the same run."""

from dataclasses import replace
from pathlib import Path

import pytest
from budget_clock import STEADY, Hands, marks
from budget_clock import hands as hands
from foreign_methods import Install, make
from sessions import Stopping, Told, session

import dsactl
import registry
from dsactl.engine.processes import SINGLE_PROCESS
from dsactl.errors import INTERRUPTS, RunError, UsageError
from dsactl.recipes.budget import as_budget, as_exact_budget, budget_of, parse_budget
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.recipes.recipe import Request
from dsactl.runs import trial
from dsactl.runs.budget import settle
from dsactl.runs.job import prepare
from dsactl.runs.trial import would_compile


@pytest.fixture
def steady(install: Install, hands: Hands) -> Hands:
    """The clock of a method of another package, whose first step takes 30 s and each other 2 s."""
    install(STEADY, "foreign:steady")
    return hands


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30m", 1800),
        ("2h", 7200),
        ("90s", 90),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        (" 1.5H ", 5400),
        ("0.5s", 0.5),
        (1800, 1800),
        (0.25, 0.25),
        ("8760h", 8760 * 3600),
    ],
)
def test_times_are_read(given: str | float, seconds: float) -> None:
    assert parse_budget(given) == seconds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *(
            (each, "must be a time")
            for each in ("abc", "", "h", "-", "m5", "5m3", "1h 30", "30m1h", "1e9h", "1/2h", "٣m", True, None, [1])
        ),
        *((each, "must be above 0") for each in ("0", "0m", "-5m", "-0", "-1h30m", 0, -1, float("-inf"), float("nan"))),
        *((each, "must be at most a year") for each in ("8761h", "9" * 400 + "h", float("inf"), 10**400)),
        *((each, "must have a unit") for each in ("10", "1.5")),
    ],
)
def test_what_is_no_time_is_refused_with_a_way_out(given: object, said: str) -> None:
    with pytest.raises(UsageError, match=f"^`budget` {said}, not ") as refused:
        parse_budget(given)
    way_out = refused.value.hint.split('`budget="')[1].split('"')[0]
    assert parse_budget(way_out) > 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *(
            (0.0121, "0.013s"),
            (0.07, "0.07s"),
            (2 / 3, "0.67s"),
            (2.0, "2s"),
            (2.41, "2.5s"),
            (9.95, "10s"),
            (10.5, "11s"),
        ),
        *((59.5, "1m"), (90, "1m30s"), (1800, "30m"), (3600, "1h"), (5341, "1h30m")),
    ],
)
def test_times_are_said_as_they_are_given_and_never_shorter(seconds: float, text: str) -> None:
    assert as_budget(seconds) == text
    assert parse_budget(text) >= seconds


@pytest.mark.parametrize("given", ["0.01s", "2.345s", "10.5s", "30m", "1h", "2h0.5s", "1h30m"])
def test_a_given_time_is_said_unrounded(given: str) -> None:
    assert as_exact_budget(parse_budget(given)) == given


@pytest.mark.usefixtures("steady")
def test_as_many_steps_are_made_as_fit_into_95_percent() -> None:
    told = Told()
    made = make(budget="1m", progress=told)
    assert made.recipe.options == {"iterations": 28}, "57 s, 2 s each; the first step warms up"
    assert told.remarks[0].startswith("28 of the default 100 iterations fit in 1m: 2 s each on cpu, ")
    assert told.remarks[1] == "Not part of the budget: evaluation, and about 28.0 s before the first step."
    assert make(budget=90.0).recipe.options == {"iterations": 42}


def test_the_set_is_that_of_the_number_of_steps_without_a_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    marks(monkeypatch, trial, [9.0, 1.0])
    timed = dsactl.condense("digits", ipc=1, width=16, budget=4.5, device="cpu")
    assert timed.recipe.steps == 4
    counted = dsactl.condense("digits", ipc=1, width=16, iterations=4, device="cpu", store=registry.Store(tmp_path))
    assert (timed.digest, timed.recipe) == (counted.digest, counted.recipe)


def test_no_more_steps_are_made_than_by_default_and_few_are_timed_then(steady: Hands) -> None:
    told = Told()
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, "method": "mine"}), "cpu")
    choice = settle(job, 3600, session(progress=told))
    assert (choice.steps, choice.default, steady.naps) == (100, 100, 4)
    assert "All 100 iterations fit in 1h, which is more than enough: 2 s each" in choice.sentences(job)[0]
    assert {total for _, total, *_ in told.updates} == {1}
    assert {done for done, *_ in told.updates} == {0}, "measuring is no progress of the run"
    assert told.updates[-1][2] == "measuring"


def test_more_steps_are_timed_for_a_longer_budget(steady: Hands) -> None:
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, "method": "mine"}), "cpu")
    settle(job.with_steps(10000), 1000, session())
    assert steady.naps == 1 + 15, "3 percent of 1000 s"
    steady.naps = 0
    settle(job.with_steps(10**7), 10**6, session())
    assert steady.naps == 1 + 60, "two minutes at most"


def test_an_equal_call_continues_the_same_run(steady: Hands) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(budget="1m", progress=Stopping(at=10))
    steady.slow, steady.naps = 2.0, 0
    told = Told()
    again = make(budget="1m", progress=told)
    assert again.recipe.options == {"iterations": 28}
    assert steady.naps == 18, "it is not measured again, and continues after step 10"
    assert "An equal call has timed them; `fresh=True` does so again." in told.remarks[0]
    assert make(budget="1m").digest == again.digest
    assert steady.naps == 18
    assert make(budget="1m", fresh=True).recipe.options == {"iterations": 14}
    assert make(budget="1m").recipe.options == {"iterations": 14}
    assert make(budget="2m").recipe.options == {"iterations": 28}, "another budget is measured"
    assert make(budget="1m", seed=1).recipe.options == {"iterations": 14}


def test_a_damaged_file_of_a_choice_is_measured_again(steady: Hands) -> None:
    make(budget="1m")
    steady.slow = 2.0
    (path,) = (registry.Store().home / "runs" / "budgets").iterdir()
    whole = path.read_text()
    changes = [('"steps": 28', f'"steps": {steps}') for steps in ("0", "101", "2.5")]
    changes += [('"seconds": 2.0', '"seconds": "many"'), ('"device":', '"place":')]
    for text in ("", "[]", "{}", *(whole.replace(*change) for change in changes)):
        assert text != whole
        path.write_text(text)
        assert make(budget="1m").recipe.options == {"iterations": 14}


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_nothing_is_kept_of_a_measurement_that_is_interrupted(steady: Hands, interrupt: type[BaseException]) -> None:
    steady.interrupted, steady.interrupt = 3, interrupt
    with pytest.raises(interrupt) as raised:
        make(budget="1m")
    assert raised.value.__notes__ == ["Interrupted while measuring; nothing was kept."]
    assert not (registry.Store().home / "runs").exists()


@pytest.mark.usefixtures("steady")
def test_a_budget_that_is_too_short_is_refused_with_one_that_is_long_enough() -> None:
    with pytest.raises(UsageError) as refused:
        make(budget="2s")
    assert refused.value.message.startswith(
        "`budget=\"2s\"` is too short for method 'mine' at `ipc=1`: 1 iteration takes 2 s on cpu, "
    )
    assert refused.value.hint == 'Use at least `budget="2.4s"`; the default 100 iterations take 3m20s.'
    assert make(budget="2.4s").recipe.options == {"iterations": 1}
    assert len(list((registry.Store().home / "runs" / "budgets").iterdir())) == 1


def test_it_is_not_waited_for_more_steps_where_one_is_far_too_long(steady: Hands) -> None:
    with pytest.raises(UsageError, match="too short"):
        make(budget="0.5s")
    assert steady.naps == 2


def test_sets_share_a_budget(steady: Hands) -> None:
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, "method": "mine"}), "cpu")
    choice = settle(job, 300, session(), sets=5)
    assert choice.steps == 28
    assert "fit in 1m of 5m, for each of 5 sets" in choice.sentences(job)[0]
    assert "fit in 6.7s of 20s, for each of 3 sets" in settle(job, 20, session(), sets=3).sentences(job)[0]
    with pytest.raises(UsageError, match="takes 2 s for each of 5 sets") as refused:
        settle(job, 9, session(), sets=5)
    assert '`budget="12s"`' in refused.value.hint
    assert steady.naps > 0


COMPILES = """
from dataclasses import replace
from dsactl.engine import clock
def choose(work): return replace(work.mode, compiled=work.option("iterations") >= 40)

def fast(work):
    total = work.option("iterations")
    mode = work.settle_mode(lambda: choose(work), lambda mode: clock.time.sleep(50.0))
    for done in range(total):
        clock.time.sleep(1.0 if mode.compiled else 2.0)
        work.keep(done + 1, total, {})
    return first(work)

fast.options, fast.steps_setting = {"iterations": 1000}, "iterations"
"""


@pytest.mark.parametrize(
    ("budget", "steps", "preparation"),
    [("1m", 28, 0), ("80s", 38, 0), ("90s", 85, 50), ("1h", 1000, 50)],
)
def test_steps_are_timed_in_the_mode_that_the_run_will_have(
    install: Install, hands: Hands, budget: str, steps: int, preparation: float
) -> None:
    """It is compiled from 40 iterations on, which fit from 84.3 s on without; compiling takes 50 s."""
    install(COMPILES, "foreign:fast")
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, "method": "mine"}), "cpu")
    choice = settle(job, parse_budget(budget), session())
    assert (choice.steps, choice.preparation) == (steps, preparation)
    assert would_compile(job.with_steps(choice.steps), SINGLE_PROCESS) == (preparation > 0)
    assert hands.naps < 100


@pytest.mark.parametrize("method", [name for name in BUILT_IN if find(name).steps_setting])
def test_every_method_with_steps_can_have_a_budget(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    marks(monkeypatch, trial, [7.0, 1.0])
    request = Request.parse({"dataset": "digits", "ipc": 1, "method": method, "width": 8, "batch_real": 8})
    if method == "idc":  # of which a step has a hundred reports
        request = request.varied(inner_steps=1)
    if method == "dance":  # of which experts take a part of the budget
        request = request.varied(blend="fresh", calibration=0.0)
    job = prepare(request, "cpu")
    choice = settle(job, 20, session())
    assert (choice.steps, choice.preparation) == (19, 6.0)
    made = job.with_steps(choice.steps).recipe
    assert made == replace(job.recipe, settings=replace(job.recipe.settings, iterations=19))
    least = find(method).least_steps
    with pytest.raises(UsageError, match="too short"):
        settle(job, least, session())
    assert settle(job, 1.06 * least, session()).steps == least


def test_dd_is_not_made_with_fewer_iterations_than_halvings(monkeypatch: pytest.MonkeyPatch) -> None:
    marks(monkeypatch, trial, [7.0, 1.0])
    with pytest.raises(UsageError, match="10 iterations take 10 s"):
        dsactl.condense("digits", ipc=1, method="dd", width=8, budget="10s")


def test_inner_steps_with_and_without_training_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """An iteration of three inner steps takes 3, 3 and 1 s: the last has no training after it."""
    marks(monkeypatch, trial, [20.0, 3.0, 1.0, 3.0])
    options = {"width": 8, "batch_real": 8, "inner_steps": 3, "network_epochs": 1}
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, **options}), "cpu")
    assert settle(job, 100, session()).seconds == 7


def test_slow_steps_count_more_than_fast_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    marks(monkeypatch, trial, [9.0, 1.0, 1.0, 2.0])
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, "width": 8, "batch_real": 8}), "cpu")
    assert settle(job, 600, session()).seconds == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "random"}, "`budget` is not for method 'random', which makes no steps and takes no time."),
        *(
            ({"method": name}, f"`budget` is not for method '{name}', which trains a network on all images.")
            for name in ("herding", "kcenter", "forgetting")
        ),
        ({"iterations": 5}, "`iterations` and `budget` are both given."),
        ({"method": "dd", "iterations": 5}, "`iterations` and `budget` are both given."),
    ],
)
def test_requests_without_a_number_to_choose_are_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        dsactl.condense("digits", ipc=1, budget="1m", **options)
    assert refused.value.message == said
    assert refused.value.hint


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "`budget` is not for method 'mine', which does not say which of its settings counts its steps."),
        ("first.steps_setting = 'iterations'", "'iterations', is not a setting with a whole number"),
        ("first.options, first.steps_setting = {'size': 2.5}, 'size'", "'size', is not a setting with a whole number"),
        ("first.options, first.steps_setting = {'size': 0}, 'size'", "'size', is not a setting with a whole number"),
        (
            "first.options, first.steps_setting = {'size': 9}, 'size'",
            "`budget` is not for method 'mine', which reports",
        ),
    ],
)
def test_a_method_of_another_package_says_what_counts_its_steps(install: Install, code: str, said: str) -> None:
    install(code)
    assert make().reference == "digits-mine-ipc1:1"
    with pytest.raises(UsageError) as refused:
        make(budget="1m")
    assert said in refused.value.message
    assert "docs/methods.md" in refused.value.hint


def test_a_method_may_scale_what_depends_on_its_end(install: Install, hands: Hands) -> None:
    install(
        STEADY
        + """
from dataclasses import dataclass, replace
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Count, Settings

@dataclass(frozen=True, kw_only=True)
class Steady(Settings):
    iterations: Count = 100
    halve_at: Count = 50

    def with_steps(self, name, steps):
        return replace(self, iterations=steps, halve_at=self.halve_at * steps // self.iterations)

STEADY = Method("steady", function=steady, settings=Steady, steps_setting="iterations")
""",
        "foreign:STEADY",
    )
    assert make(budget="1m").recipe.options == {"halve_at": 14}
    assert hands.naps > 28


def test_a_fault_of_a_method_while_it_is_measured_is_told_as_its_own(install: Install) -> None:
    install(
        "def broken(work): raise ValueError('no')\n"
        "broken.options, broken.steps_setting = {'iterations': 100}, 'iterations'",
        "foreign:broken",
    )
    with pytest.raises(RunError, match="The method 'mine' failed: ValueError: no"):
        make(budget="1m")


def test_a_recipe_that_gives_the_number_under_options_is_refused(install: Install, hands: Hands) -> None:
    install(STEADY, "foreign:steady")
    request = Request.parse({"dataset": "digits", "ipc": 1, "method": "mine", "options": {"iterations": 5}})
    with pytest.raises(UsageError, match="`iterations` and `budget` are both given"):
        budget_of(request, "1m")
    assert not hands.naps
