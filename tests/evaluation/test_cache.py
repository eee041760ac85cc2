"""What was measured is kept: no network is trained twice, and an interrupted evaluation goes on."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess as Ended

import processes
import pytest
import torch
from reference import write_folder
from waiting import read_until

import dsactl
import registry
from dsactl.evaluation import cache
from registry.files import write_atomically


@pytest.fixture
def digits() -> dsactl.SyntheticSet:
    """Twenty real images, too many for networks to be trained side by side."""
    return dsactl.condense("digits", ipc=2, method="random")


def protocol(**changes: object) -> dsactl.Protocol:
    return dsactl.Protocol(**{"network": dsactl.NetworkSpec(width=16), "networks": 3, "epochs": 4, **changes})


class Counter:
    """Counts the epochs that were trained, and stops after some."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.epochs, self._stop_after = 0, stop_after

    def __call__(self, _: float) -> None:
        self.epochs += 1
        if self.epochs == self._stop_after:
            raise KeyboardInterrupt


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(digits: dsactl.SyntheticSet) -> None:
    store = registry.Store()
    stopped, rest, again = Counter(stop_after=6), Counter(), Counter()
    with pytest.raises(KeyboardInterrupt):
        dsactl.evaluate(digits, protocol(), report=stopped)
    assert store.evaluations(digits.digest) == [], "what is not done is no result"
    result = dsactl.evaluate(digits, protocol(), report=rest)
    assert rest.epochs == 2 * 4, "the first network was finished"
    assert not result.repeated
    (record,) = store.evaluations(digits.digest)
    assert record["accuracies"] == list(result.accuracies)
    whole = dsactl.evaluate(digits, protocol(), fresh=True, report=again)
    assert again.epochs == 3 * 4
    assert whole.accuracies == result.accuracies
    assert len(store.evaluations(digits.digest)) == 2, "asked for, so kept"


def test_what_was_measured_is_found_again_and_other_conditions_are_not(digits: dsactl.SyntheticSet) -> None:
    first = dsactl.evaluate(digits, protocol())
    looked_up, more, fewer, other = Counter(), Counter(), Counter(), Counter()
    second = dsactl.evaluate(digits, protocol(), report=looked_up)
    assert (second.repeated, looked_up.epochs) == (True, 0)
    assert second.to_dict() == {**first.to_dict(), "accuracies": second.accuracies}
    assert len(registry.Store().evaluations(digits.digest)) == 1
    third = dsactl.evaluate(digits, protocol(networks=5), report=more)
    assert more.epochs == 2 * 4
    assert third.accuracies[:3] == first.accuracies
    assert third.seconds > first.seconds
    assert 0 < dsactl.evaluate(digits, protocol(networks=1)).seconds < first.seconds, "of that network alone"
    assert dsactl.evaluate(digits, protocol(networks=2), report=fewer).accuracies == first.accuracies[:2]
    assert fewer.epochs == 0
    dsactl.evaluate(digits, protocol(seed=1), report=other)
    assert other.epochs == 3 * 4


def test_of_two_evaluations_of_the_same_nothing_is_lost(digits: dsactl.SyntheticSet) -> None:
    ahead, counter = Counter(), Counter()

    def overtaken(_: float) -> None:
        """During its first network another one trains three; it is stopped during its second."""
        counter(_)
        if counter.epochs == 1:
            dsactl.evaluate(digits, protocol(), report=ahead)
        if counter.epochs == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dsactl.evaluate(digits, protocol(), report=overtaken)
    assert ahead.epochs == 3 * 4
    again = Counter()
    dsactl.evaluate(digits, protocol(), report=again)
    assert again.epochs == 0, "three are kept, and not only the one that was kept last"


def test_what_is_being_written_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = {"digest": "any"}
    first, second = (cache._InStore(registry.Store(), fresh=False, keeping=lambda _: None) for _ in range(2))
    other = threading.Thread(target=second.save, args=(conditions, dict.fromkeys((0, 2, 3), (50.0, 1.0))))

    def write(path: Path, data: bytes) -> None:
        if not other.ident:
            other.start()
            other.join(0.5)
        write_atomically(path, data)

    monkeypatch.setattr(cache, "write_atomically", write)
    first.save(conditions, {1: (40.0, 2.0)})
    other.join()
    assert first.load(conditions) == {1: (40.0, 2.0), **dict.fromkeys((0, 2, 3), (50.0, 1.0))}


def test_an_evaluation_that_is_begun_afresh_leaves_nothing_of_an_earlier_one(digits: dsactl.SyntheticSet) -> None:
    dsactl.evaluate(digits, protocol())
    with pytest.raises(KeyboardInterrupt):
        dsactl.evaluate(digits, protocol(), fresh=True, report=Counter(stop_after=6))
    rest = Counter()
    dsactl.evaluate(digits, protocol(), report=rest)
    assert rest.epochs == 2 * 4, "the first was trained anew, and so are the others"


def test_a_protocol_may_be_given_by_its_attributes(digits: dsactl.SyntheticSet) -> None:
    assert dsactl.evaluate(digits, networks=2, epochs=1).n == 2
    with pytest.raises(TypeError, match=r"evaluate\(\) and dsactl.Protocol have no nets"):
        dsactl.evaluate(digits, nets=2)
    with pytest.raises(TypeError, match="both a protocol and networks"):
        dsactl.evaluate(digits, protocol(), networks=2)
    with pytest.raises(dsactl.Error, match="--networks must be at least 1"):
        dsactl.evaluate(digits, networks=0)
    with pytest.raises(dsactl.Error, match="There is no set 'nope'"):
        dsactl.evaluate("nope")


def test_a_damaged_unfinished_evaluation_is_not_used(digits: dsactl.SyntheticSet) -> None:
    with pytest.raises(KeyboardInterrupt):
        dsactl.evaluate(digits, protocol(), report=Counter(stop_after=6))
    (path,) = (registry.Store().home / "runs" / "evaluations").iterdir()
    for bad in (
        "{",
        "[]",
        '{"networks": 3}',
        '{"networks": [[0, 1]], "created": ""}',
        '{"networks": {"0": [NaN, 1]}, "created": ""}',
    ):
        path.write_text(bad)
        counter = Counter(stop_after=12)
        with pytest.raises(KeyboardInterrupt):
            dsactl.evaluate(digits, protocol(), report=counter)
        assert counter.epochs == 12


def test_ctrl_c_says_what_is_kept(digits: dsactl.SyntheticSet) -> None:
    size = ("--width", "16", "--networks", "50", "--epochs", "300")
    process = processes.start("evaluate", digits.reference, *size)
    folder = registry.Store().home / "runs" / "evaluations"
    end = time.monotonic() + 120
    while not any(folder.glob("*.json")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    (path,) = folder.glob("*.json")
    kept = len(json.loads(path.read_text())["networks"])
    assert 0 < kept < 50
    assert f"Interrupted; {kept} of 50 networks are finished and kept." in errors
    assert "The same command goes on from there." in errors


def test_a_whole_data_set_is_the_upper_bound(
    digits: dsactl.SyntheticSet, program: Callable[..., Ended], cli: Callable[..., tuple[int, str, str]]
) -> None:
    arguments = ("--networks", "2", "--epochs", "60", "--width", "16", "--json")
    done = program("evaluate", "--method", "whole", "digits", *arguments)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["reference"] == "the whole of digits"
    assert record["digest"] == dsactl.load_dataset("digits").train.checksum()
    assert record["mean"] > dsactl.evaluate(digits, protocol(epochs=300)).mean + 5
    assert record["paper"] is None
    again = program("evaluate", "--method", "whole", "digits", *arguments)
    assert json.loads(again.stdout) == record
    assert "Measured before" in again.stderr
    assert dsactl.evaluate_whole("digits", networks=2, epochs=60, network=dsactl.NetworkSpec(width=16)).repeated
    for wrong, said in (
        (("--method", "whole"), "Which data set?"),
        (("--method", "dsa", "digits"), "--method dsa is for condense"),
        (("--method", "whole", "digitz"), "Unknown data set 'digitz'"),
    ):
        code, _, err = cli("evaluate", *wrong)
        assert code == 2
        assert said in err
    assert program("verify").returncode == 0


def test_a_folder_s_view_that_was_condensed_elsewhere(tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    view = f"{write_folder(tmp_path / 'pictures')}@3x8x8"
    made = dsactl.condense(view, ipc=1, method="random")
    shutil.rmtree(registry.Store().home / "runs")
    code, _, err = cli("evaluate", made.reference, "--data", view, "--networks", "1", "--epochs", "1")
    assert code == 0, err


def test_a_record_from_elsewhere_is_not_taken_for_one_s_own(digits: dsactl.SyntheticSet) -> None:
    """Records may have come with a pulled set: they are shown, and never used in place of a measurement."""
    store = registry.Store()
    own = dsactl.evaluate(digits, protocol(networks=2)).to_dict()
    forged = {**own, "accuracies": [99.0, 99.5, 100.0], "n": 3, "mean": 99.5, "std": 0.4, "reference": "x[/b]"}
    store.add_evaluation(digits.digest, forged)
    counter = Counter()
    result = dsactl.evaluate(digits, protocol(), report=counter)
    assert counter.epochs == 4, "only the third network was trained"
    assert result.accuracies[:2] == tuple(own["accuracies"])
    assert result.reference == digits.reference
    for wrong in ({"n": 4}, {"mean": 50.0}, {"accuracies": [101.0, 99.5, 100.0]}):
        with pytest.raises(ValueError, match="a result"):
            store.add_evaluation(digits.digest, {**forged, **wrong})


def test_what_is_trained_side_by_side_is_not_said_to_be_kept() -> None:
    """Ten 8×8 images: all networks are trained at once, and none is finished before the others."""
    set_of_ten = dsactl.condense("digits", ipc=1, method="random")
    process = processes.start("evaluate", set_of_ten.reference, "--networks", "20")
    assert process.stderr is not None
    read_until(process.stderr.fileno(), "networks,")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "before a network was finished; nothing is kept" in errors
    assert not list((registry.Store().home / "runs").glob("evaluations/*"))


@pytest.mark.parametrize("part_first", [False, True])
def test_a_part_of_a_set_is_measured_and_recorded_apart(digits: dsactl.SyntheticSet, part_first: bool) -> None:
    part = digits.part(torch.tensor([0, 2, 19]))
    order = [part, digits] if part_first else [digits, part]
    results = {len(each): dsactl.evaluate(each, protocol()) for each in order}
    assert [result.repeated for result in results.values()] == [False, False]
    assert results[3].accuracies != results[20].accuracies
    (record,) = registry.Store().evaluations(digits.digest)
    assert record["accuracies"] == list(results[20].accuracies)
    assert results[3].reference == "3 images of digits-random-ipc2:1"
    again = dsactl.evaluate(digits.part(torch.tensor([0, 2, 19])), protocol())
    assert (again.repeated, again.accuracies) == (True, results[3].accuracies)
    assert not dsactl.evaluate(digits.part(torch.tensor([0, 2, 18])), protocol()).repeated


def test_a_part_has_the_images_at_its_places(digits: dsactl.SyntheticSet) -> None:
    soft = torch.nn.functional.one_hot(digits.labels).float()
    part = replace(digits, soft_labels=soft).part(torch.tensor([1, 4]))
    assert torch.equal(part.images, digits.images[[1, 4]])
    assert part.labels.tolist() == [0, 2]
    assert torch.equal(part.targets, soft[[1, 4]])
    assert len({part.digest, digits.digest, part.part(torch.arange(1)).digest}) == 3
