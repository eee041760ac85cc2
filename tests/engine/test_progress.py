"""Progress meters: parts, what is passed on, and their words."""

import pytest
from sessions import Told

from dsactl.engine.progress import ForwardedProgress, LastProgress, Progress, in_words


def updates(told: Told) -> list[tuple[float, float, str]]:
    return [(done, total, doing) for done, total, doing, _ in told.updates]


def test_a_part_counts_in_the_unit_of_the_whole() -> None:
    told = Told()
    part = told.part(3, 2, 10)
    for done in (0, 1, 4):
        part.update(done, 4, "steps")
    assert updates(told) == [(3, 10, "steps"), (3.5, 10, "steps"), (5, 10, "steps")]


def test_a_part_of_a_part() -> None:
    told = Told()
    second = told.part(50, 50, 100, "second").part(1, 1, 2, "set 2 of 2")
    for done in (0, 1, 2):
        second.update(done, 2, "learning")
    assert [done for done, *_ in updates(told)] == [75, 87.5, 100]
    assert {(total, doing) for _, total, doing in updates(told)} == {(100, "second: set 2 of 2: learning")}


@pytest.mark.parametrize(
    ("labels", "doing", "words"),
    [
        (("", ""), "", ""),
        (("", ""), "learning", "learning"),
        (("a", ""), "", "a"),
        (("", "b"), "learning", "b: learning"),
        (("a", "b"), "", "a: b"),
    ],
)
def test_labels_that_are_missing_leave_no_trace(labels: tuple[str, str], doing: str, words: str) -> None:
    told = Told()
    told.part(0, 1, 1, labels[0]).part(0, 1, 1, labels[1]).update(1, 2, doing)
    assert updates(told) == [(0.5, 1, words)]


def test_of_nothing_nothing_is_done() -> None:
    """A total of 0, as before a method knows its steps."""
    told = Told()
    told.part(2, 3, 5).update(0, 0, "preparing")
    told.part(2, 3, 5).part(0, 0, 0).update(1, 1)
    assert updates(told) == [(2, 5, "preparing"), (2, 5, "")]


def test_figures_of_a_part_become_words() -> None:
    """They are those of the part, and would be mistaken for those of the whole."""
    told = Told()
    told.part(0, 1, 2, "set 1").update(1, 2, "matching gradients", {"distance": 4.125, "loss": 0.5, "iteration": 7})
    assert told.updates == [(0.5, 2, "set 1: distance 4.1, loss 0.500, matching gradients", {})]


def test_failures_and_remarks_reach_the_whole_as_they_are() -> None:
    told = Told()
    for meter in (told.part(0, 1, 2, "a").part(0, 1, 2, "b"), ForwardedProgress(told), LastProgress(told)):
        meter.fail("It failed.", "Try again.")
        meter.fail("Without a hint.")
        meter.remark("By the way.")
    assert told.failures == 3 * [("It failed.", "Try again."), ("Without a hint.", "")]
    assert told.remarks == 3 * ["By the way."]
    assert told.updates == []


def test_a_forwarded_update_is_whole() -> None:
    told = Told()
    ForwardedProgress(told).update(1, 3, "training", {"stored": 1})
    assert told.updates == [(1, 3, "training", {"stored": 1})]


def test_the_last_progress_is_remembered_and_passed_on() -> None:
    told = Told()
    last = LastProgress(told)
    assert (last.done, last.total) == (0, 0)
    last.update(2, 5, "learning", {"loss": 1.0})
    last.part(4, 1, 5, "b").update(1, 2)
    assert (last.done, last.total) == (4.5, 5)
    assert told.updates == [(2, 5, "learning", {"loss": 1.0}), (4.5, 5, "b", {})]


def test_what_a_meter_raises_ends_the_work() -> None:
    def stop(done: float, _total: float, _doing: str) -> None:
        if done == 1.5:
            raise KeyboardInterrupt

    part = LastProgress(Told(stop)).part(1, 1, 2)
    part.update(0, 2)
    with pytest.raises(KeyboardInterrupt):
        part.update(1, 2)


def test_words() -> None:
    assert in_words("", {}) == ""
    assert in_words("training") == "training"
    assert in_words("training", {"loss": 0.12345}) == "loss 0.123, training"
    assert in_words("", {"distance": 12.0}) == "distance 12.0"
    assert in_words("training", {"stored": 3.0}) == "training"


def test_the_meter_of_nobody_takes_everything() -> None:
    progress = Progress()
    progress.update(1, 2, "training", {"loss": 1.0})
    progress.part(0, 1, 2).fail("It failed.")
    progress.remark("By the way.")
