"""Time budgets of methods that learn from experts, by clocks that the tests set. About 20 seconds in all.

Digits have 23 batches of 64 images: with a second each, an epoch of five experts takes 115 s.
"""

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from budget_clock import marks
from sessions import Told, session

import dsactl
import registry
from dsactl.errors import UsageError
from dsactl.expert_pools import estimate
from dsactl.expert_pools.make import find_pool
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Request
from dsactl.runs import trial
from dsactl.runs.budget import Choice, settle
from dsactl.runs.experts import missing_pool, pool_job
from dsactl.runs.job import Job, prepare
from dsactl.text.formatting import duration

EPOCH, ITERATION = 115, 2.0
FEW: dict[str, Any] = {"method": "dance", "width": 8, "precision": "float32", "batch_real": 12}


@pytest.fixture(autouse=True)
def _clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a network takes 1 s, and an iteration 2 s; the first of each takes longer."""
    marks(monkeypatch, estimate, [9.0, 1.0])
    marks(monkeypatch, trial, [9.0, ITERATION])


def job_of(**options: Any) -> Job:
    return prepare(Request.parse({"dataset": "digits", "ipc": 1, **FEW, **options}), "cpu")


def chosen(budget: float, *, sets: int = 1, **options: Any) -> tuple[Choice, Job]:
    job = job_of(**options)
    choice = settle(job, budget, session(), given=options.keys(), sets=sets)
    return choice, choice.applied(job)


def experts_of(budget: float, **options: Any) -> tuple[str, int, int]:
    """Return the reference, number and epochs of the experts for a budget."""
    experts = chosen(budget, **options)[0].experts
    assert experts is not None
    return experts.reference, experts.networks, experts.epochs


def pool(networks: int = 5, **options: Any) -> str:
    """Store a pool that is made in a second, and return its reference."""
    options = {"batch": 1024, "lr": 0.01, **options}
    network = NetworkSpec(width=options.pop("width", 8))
    return dsactl.experts("digits", networks=networks, network=network, precision="float32", **options).reference


def test_missing_experts_take_five_eighths_and_the_iterations_the_rest() -> None:
    choice, job = chosen(3600)
    assert choice.experts is not None
    assert choice.experts.settings == {
        "expert_networks": 5,
        "expert_epochs": 2250 // EPOCH,
        "expert_batch": 64,
        "expert_lr": 0.01,
    }
    assert choice.experts.seconds == 19 * EPOCH
    assert choice.steps == (0.95 * 3600 - 19 * EPOCH) // ITERATION
    assert (job.recipe.steps, job.recipe.settings.option("expert_epochs")) == (choice.steps, 19)
    assert choice.sentences(job) == [
        f"About {duration(19 * EPOCH)} of 1h are for training experts, which later sets use again: "
        "5 networks of 19 epochs instead of 60.",
        f"{choice.steps} of the default 10,000 iterations fit in what is left: 2 s each on {choice.device}.",
        "Not part of the budget: evaluation, and about 7.0 s before the first step.",
    ]
    assert find_pool(registry.Store(), pool_job(job)) is None, "timing stores nothing"


def test_no_more_epochs_than_by_default() -> None:
    choice, job = chosen(1e6)
    assert (choice.steps, job.recipe) == (10000, job_of().recipe)
    assert "60 epochs." in choice.sentences(job)[0]
    choice, job = chosen(3600, method="dance", blend="fresh", calibration=0)
    assert choice.experts is None, "no experts are used"
    assert choice.steps == 0.95 * 3600 // ITERATION
    assert chosen(3600, method="dm")[0].experts is None


def test_sets_share_the_experts_and_what_is_left() -> None:
    choice, job = chosen(3600, sets=2)
    assert job.recipe.settings.option("expert_epochs") == 19
    assert choice.steps == (0.95 * 3600 - 19 * EPOCH) / 2 // ITERATION
    left = duration((3600 - 19 * EPOCH) / 2).replace(" min ", "m").replace(" s", "s")
    assert f"fit in {left} of what is left, for each of 2 sets" in choice.sentences(job)[1]


def test_a_pool_of_the_store_takes_no_time_if_it_has_half_as_many_epochs_as_fit() -> None:
    reference = pool(epochs=9)
    assert experts_of(3600) == ("", 5, 19)
    choice, job = chosen(3400)
    assert choice.experts is not None
    assert (choice.experts.reference, choice.experts.seconds) == (reference, 0.0)
    assert job.recipe.settings.option("expert_batch") == 1024
    assert choice.steps == 0.95 * 3400 // ITERATION
    said = f"The experts are those of {reference} (5 networks of 9 epochs); no time is needed for them."
    assert choice.sentences(job)[0] == said
    assert missing_pool(job, registry.Store()) is None


def test_of_several_pools_the_one_with_most_epochs_that_is_enough_is_taken() -> None:
    longer = pool(epochs=11, name="longer")
    pool(epochs=10, name="newer")
    pool(2, epochs=30, name="too-few-networks")
    pool(epochs=20, width=16, name="other-networks")
    pool(epochs=20, momentum=0.5, name="setting-that-the-method-does-not-have")
    pool(160, epochs=1, batch=4096, keep=(1,), name="without-initial-weights-and-many")
    assert experts_of(3600) == (longer, 5, 11)
    for blob in (registry.Store().home / "blobs").iterdir():
        blob.unlink()
    assert experts_of(3601) == ("", 5, 19), "damaged pools do not count"


def test_a_kept_choice_that_counts_on_a_pool_ends_with_it() -> None:
    reference = pool(epochs=10)
    assert experts_of(3600) == (reference, 5, 10)
    registry.Store().remove([(registry.parse_name(reference.removesuffix(":1")), 1)])
    assert experts_of(3600) == ("", 5, 19)


def test_the_pool_of_the_settings_is_taken_before_any_other() -> None:
    own = {"expert_networks": 1, "expert_epochs": 2, "expert_batch": 1024}
    pool(epochs=20)
    reference = pool(1, epochs=2)
    choice, job = chosen(3600, **own)
    assert choice.experts is not None
    assert (choice.experts.reference, choice.steps) == (reference, 0.95 * 3600 // ITERATION)
    assert job.recipe == job_of(**own, iterations=choice.steps).recipe


def test_given_settings_of_experts_stay_and_their_training_counts() -> None:
    pool(epochs=20)
    choice, job = chosen(3600, expert_epochs=6)
    assert job.recipe.settings.option("expert_epochs") == 6
    assert choice.steps == (0.95 * 3600 - 6 * EPOCH) // ITERATION
    assert "5 networks of 6 epochs." in choice.sentences(job)[0]
    choice, job = chosen(3600, expert_batch=32)
    assert job.recipe.settings.option("expert_batch") == 32
    assert job.recipe.settings.option("expert_epochs") == 2250 // (45 * 5), "twice as many batches"
    named = pool(1, epochs=1, name="mine")
    choice, job = chosen(3600, experts="mine")
    assert (choice.experts, choice.steps) == (None, 0.95 * 3600 // ITERATION)
    assert job.recipe.settings.option("expert_epochs") == 1, named


def test_an_epoch_count_that_is_given_is_not_mistaken_for_the_default() -> None:
    chosen(3600)
    with pytest.raises(UsageError) as refused:
        chosen(3600, expert_epochs=60)
    assert refused.value.message.startswith(
        "`budget=\"1h\"` is too short for method 'dance': training its 5 experts takes 1 h 55 min on "
    )
    assert refused.value.hint == 'Use at least `budget="2h7m"`, or leave out `expert_epochs`.'
    assert chosen(2 * 3600 + 7 * 60, expert_epochs=60)[0].steps == (0.95 * 7620 - 60 * EPOCH) // ITERATION


def test_a_budget_that_is_too_short_is_refused_with_one_that_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as refused:
        chosen(60)
    assert "too short for method 'dance': one epoch of its 5 experts takes 1 min 55 s on " in refused.value.message
    assert (
        refused.value.hint == 'Use at least `budget="3m23s"`, or take a method without experts, such as `method="dm"`.'
    )
    assert chosen(203)[1].recipe.settings.option("expert_epochs") == 1
    marks(monkeypatch, trial, [9.0, 100.0])
    with pytest.raises(UsageError) as refused:
        chosen(220)
    assert "1 iteration takes 1 min 40 s, beside 1 min 55 s for training experts, on " in refused.value.message
    assert 'Use at least `budget="5m20s"`' in refused.value.hint
    assert chosen(320)[0].steps == 1


def test_an_epoch_is_timed_by_its_steps_as_long_as_is_allowed_with_freed_memory_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = []
    monkeypatch.setattr(estimate, "keep_freed_memory", lambda: kept.append("memory"))
    steps = []
    own = estimate.new_descent

    def told(*arguments: Any) -> Any:
        descent = own(*arguments)
        monkeypatch.setattr(descent, "step", lambda *_: steps.append(len(kept)))
        return descent

    monkeypatch.setattr(estimate, "new_descent", told)
    marks(monkeypatch, estimate, [9.0, 1.0, 1.0, 1.0, 3.0])
    job = pool_job(job_of(batch_real=12))
    assert estimate.seconds_per_epoch(job, job_of().device, 0.0) == 23
    assert (len(steps), set(steps)) == (3, {1})
    assert estimate.seconds_per_epoch(job, job_of().device, 40.0) == 23
    assert len(steps) - 3 == 1 + 28, "more than an epoch; six rounds of 6 s and 4 of 1, 1, 1 and 3 s"
    steps.clear()
    assert estimate.seconds_per_epoch(job, job_of().device, 40.0, 24.0) == 23
    assert len(steps) == 3


def test_an_equal_call_has_the_same_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = chosen(3600)
    marks(monkeypatch, estimate, [9.0, 2.0])
    again, _ = chosen(3600)
    assert (again.kept, again.experts, again.steps) == (True, first.experts, first.steps)
    other, _ = chosen(3601)
    assert other.experts != first.experts


def test_the_command_makes_the_pool_and_the_set_and_says_how_without_a_clock(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    marks(monkeypatch, trial, [9.0, 20.0])
    command = ("condense", "digits", "--ipc", "1", "--width", "8", "--method", "dance", "--precision", "float32")
    code, out, err = cli(*command, "--budget", "370s", "--json")
    assert code == 0, err
    assert "5 networks of 2 epochs instead of 60." in err
    assert "6 of the default 10,000 iterations fit in what is left: 20 s each" in err
    (made,) = json.loads(out)
    assert made.pop("budget")["experts"]["settings"]["expert_epochs"] == 2
    without = err.split("The same without a budget: ")[1].splitlines()[0]
    assert "--expert-epochs 2" in without
    assert "--iterations 6" in without
    code, again, err = cli(*shlex.split(without)[1:], "--json")
    assert code == 0, err
    assert json.loads(again) == [{**made, "repeated": True}]
    code, out, err = cli(*command, "--budget", "370s", "--seed", "1", "--dry-run")
    assert code == 0, err
    assert "The experts are those of digits-experts-convnet-width8:1 (5 networks of 2 epochs)" in err
    assert "trained first" not in out


def test_a_call_from_python_says_what_was_chosen() -> None:
    told = Told()
    made = dsactl.condense("digits", ipc=1, **FEW, budget=190.0, expert_networks=1, expert_epochs=1, progress=told)
    assert made.recipe.steps == (0.95 * 190 - 23) // ITERATION
    assert told.remarks[0].startswith("About 23.0 s of 3m10s are for training experts")
