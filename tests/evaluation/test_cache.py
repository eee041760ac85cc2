"""What was measured is kept: no network is trained twice, and an interrupted evaluation goes on."""

import hashlib
import json
import math
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
from sessions import Told
from waiting import read_until

import dsactl
import registry
from dsactl.engine.device import describe, resolve_precision
from dsactl.engine.native import library
from dsactl.evaluation import cache
from dsactl.evaluation.cache import EvaluationKey, StoredResults
from dsactl.evaluation.protocol import NetworkResult
from dsactl.training.schedule import Schedule
from dsactl.training.sgd import Plan
from registry.files import write_atomically


@pytest.fixture
def digits() -> dsactl.SyntheticSet:
    """Twenty real images, too many for networks to be trained side by side."""
    return dsactl.condense("digits", ipc=2, method="random")


def protocol(**changes: object) -> dsactl.Protocol:
    return dsactl.Protocol(**{"network": dsactl.NetworkSpec(width=16), "networks": 3, "epochs": 4, **changes})


KEY = EvaluationKey(
    digest="60c6e730e3edc883f5a2a0b4948642f4e7bbf20873f1a4d45e04a9f4cb12b80d",
    network="mlp",
    plan=Plan(2, 0.01, 0.9, 0.0005, 256, schedule=Schedule((1,)), precision="bfloat16"),
    augmentation="dsa color crop cutout scale rotate",
    seed=0,
    test_images=360,
    test_checksum="2da648d1f071cae8029a47321c89f67d4a5bcf4683f85eb1cf44919ddf566e88",
    device="cpu, 1 thread, AVX512, BF16",
    native=False,
    normalisation=((0.305434,), (0.375957,)),
    program="dsactl 0.1.0",
    torch_version="2.15.0+cu132",
    revision=3,
)
EARLIER = (
    b'{"conditions":{"augmentation":"dsa color crop cutout scale rotate","device":"cpu, 1 thread, AVX512, BF16",'
    b'"digest":"60c6e730e3edc883f5a2a0b4948642f4e7bbf20873f1a4d45e04a9f4cb12b80d","epochs":2,"native":false,'
    b'"network":"mlp","normalisation":[[0.305434],[0.375957]],"program":"dsactl 0.1.0","protocol":{"batch":256,'
    b'"lr":0.01,"momentum":0.9,"precision":"bfloat16","seed":0,"weight_decay":0.0005},"revision":3,'
    b'"test_checksum":"2da648d1f071cae8029a47321c89f67d4a5bcf4683f85eb1cf44919ddf566e88","test_images":360,'
    b'"torch":"2.15.0+cu132"},"created":"2026-11-29T14:18:18+00:00","networks":{"0":[19.444444444444443,'
    b'0.03693173350075085],"1":[13.055555555555555,0.03693173350075085]}}'
)


class Counter(Told):
    """Counts the epochs that were trained, and stops after some.

    After an epoch more is done; what is done stays the same when a result is stored, and begins with those found.
    """

    def __init__(
        self, stop_after: int | None = None, after_epoch: Callable[[int], object] = lambda epochs: None
    ) -> None:
        super().__init__(self._count)
        self.epochs, self._stop_after, self._after_epoch, self._done = 0, stop_after, after_epoch, math.inf

    @property
    def told_stored(self) -> list[float]:
        """The numbers of stored results that were told, in order, each once."""
        return list(dict.fromkeys(figures["stored"] for *_, figures in self.updates))

    def _count(self, done: float, _total: float, _doing: str) -> None:
        is_epoch, self._done = done > self._done + 1e-6, done
        if is_epoch:
            self.epochs += 1
            self._after_epoch(self.epochs)
            if self.epochs == self._stop_after:
                raise KeyboardInterrupt


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(digits: dsactl.SyntheticSet) -> None:
    store = registry.Store()
    stopped, rest, again = Counter(stop_after=6), Counter(), Counter()
    with pytest.raises(KeyboardInterrupt) as caught:
        dsactl.evaluate(digits, protocol(), progress=stopped)
    kept = "Interrupted; 1 of 3 networks are finished and stored.\n"
    assert caught.value.__notes__ == [f"{kept}Run the same again to continue from there."]
    assert stopped.told_stored == [0, 1]
    assert store.evaluations(digits.digest) == [], "what is not done is no result"
    result = dsactl.evaluate(digits, protocol(), progress=rest)
    assert rest.epochs == 2 * 4, "the first network was finished"
    assert rest.told_stored == [1, 2, 3]
    assert rest.updates[0] == (1, 3, "1 finished and stored", {"stored": 1})
    assert rest.updates[-1] == (3, 3, "3 finished and stored", {"stored": 3})
    assert not result.repeated
    (record,) = store.evaluations(digits.digest)
    assert record["accuracies"] == list(result.accuracies)
    whole = dsactl.evaluate(digits, protocol(), fresh=True, progress=again)
    assert again.epochs == 3 * 4
    assert whole.accuracies == result.accuracies
    assert len(store.evaluations(digits.digest)) == 2, "asked for, so kept"


def test_what_was_measured_is_found_again_and_other_conditions_are_not(digits: dsactl.SyntheticSet) -> None:
    first = dsactl.evaluate(digits, protocol())
    looked_up, more, fewer, other = Counter(), Counter(), Counter(), Counter()
    second = dsactl.evaluate(digits, protocol(), progress=looked_up)
    assert (second.repeated, looked_up.epochs) == (True, 0)
    assert second.to_dict() == {**first.to_dict(), "accuracies": second.accuracies}
    assert len(registry.Store().evaluations(digits.digest)) == 1
    third = dsactl.evaluate(digits, protocol(networks=5), progress=more)
    assert more.epochs == 2 * 4
    assert third.accuracies[:3] == first.accuracies
    assert third.seconds > first.seconds
    assert 0 < dsactl.evaluate(digits, protocol(networks=1)).seconds < first.seconds, "of that network alone"
    assert dsactl.evaluate(digits, protocol(networks=2), progress=fewer).accuracies == first.accuracies[:2]
    assert fewer.epochs == 0
    dsactl.evaluate(digits, protocol(seed=1), progress=other)
    assert other.epochs == 3 * 4


def test_of_two_evaluations_of_the_same_nothing_is_lost(digits: dsactl.SyntheticSet) -> None:
    ahead = Counter()

    def overtake(epochs: int) -> None:
        """During its first network another one trains three; it is stopped during its second."""
        if epochs == 1:
            dsactl.evaluate(digits, protocol(), progress=ahead)

    with pytest.raises(KeyboardInterrupt):
        dsactl.evaluate(digits, protocol(), progress=Counter(5, overtake))
    assert ahead.epochs == 3 * 4
    again = Counter()
    dsactl.evaluate(digits, protocol(), progress=again)
    assert again.epochs == 0, "three are kept, and not only the one that was kept last"


def test_what_is_being_written_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (StoredResults(registry.Store()) for _ in range(2))
    other = threading.Thread(target=second.save, args=(KEY, dict.fromkeys((0, 2, 3), NetworkResult(50.0, 1.0))))

    def write(path: Path, data: bytes) -> None:
        if not other.ident:
            other.start()
            other.join(0.5)
        write_atomically(path, data)

    monkeypatch.setattr(cache, "write_atomically", write)
    first.save(KEY, {1: NetworkResult(40.0, 2.0)})
    other.join()
    assert first.load(KEY) == {1: (40.0, 2.0), **dict.fromkeys((0, 2, 3), (50.0, 1.0))}


def test_a_file_of_an_earlier_version_is_found() -> None:
    """As the version wrote it that had neither keys nor classes for them: its name and every byte."""
    store = registry.Store()
    path = store.home / "runs" / "evaluations" / "e46c12980342125c1fa41aa297994174.json"
    with store.writing():
        write_atomically(path, EARLIER)
    results, created = StoredResults(store).read(KEY)
    first, second = (19.444444444444443, 0.03693173350075085), (13.055555555555555, 0.03693173350075085)
    assert (results, created) == ({0: first, 1: second}, "2026-11-29T14:18:18+00:00")
    path.unlink()
    StoredResults(store).save(KEY, results)
    assert json.loads(path.read_bytes()) == {**json.loads(EARLIER), "created": json.loads(path.read_bytes())["created"]}


def test_what_an_earlier_version_measured_here_is_found(digits: dsactl.SyntheticSet) -> None:
    """The key by that version's formula, of this machine and this version of torch."""
    real, device = dsactl.load_dataset("digits"), torch.device("cpu")
    conditions = {
        "digest": digits.digest,
        "network": "convnet-width16",
        "epochs": 4,
        "augmentation": "dsa color crop cutout scale rotate",
        "protocol": {
            "lr": 0.01,
            "momentum": 0.9,
            "weight_decay": 0.0005,
            "batch": 256,
            "precision": resolve_precision("auto", device),
            "seed": 0,
        },
        "test_images": 360,
        "test_checksum": real.test.checksum(),
        "device": describe(device),
        "program": f"dsactl {dsactl.__version__}",
        "torch": torch.__version__,
        "native": library() is not None,
        "normalisation": [digits.mean, digits.std],
        "revision": 3,
    }
    value = {"conditions": conditions, "created": "then", "networks": {str(number): [number, 1] for number in range(3)}}
    text = json.dumps(conditions, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    with registry.Store().writing():
        write_atomically(registry.Store().home / "runs" / "evaluations" / f"{name}.json", json.dumps(value).encode())
    counter = Counter()
    found = dsactl.evaluate(digits, protocol(), progress=counter)
    assert (found.accuracies, found.seconds, found.created, counter.epochs) == ((0.0, 1.0, 2.0), 3.0, "then", 0)


def test_an_evaluation_that_is_begun_afresh_leaves_nothing_of_an_earlier_one(digits: dsactl.SyntheticSet) -> None:
    dsactl.evaluate(digits, protocol())
    with pytest.raises(KeyboardInterrupt) as caught:
        dsactl.evaluate(digits, protocol(), fresh=True, progress=Counter(stop_after=6))
    assert caught.value.__notes__[0].endswith("Run the same again, without `fresh=True`, to continue from there.")
    rest = Counter()
    dsactl.evaluate(digits, protocol(), progress=rest)
    assert rest.epochs == 2 * 4, "the first was trained anew, and so are the others"


def test_networks_that_are_not_trained_anew_keep_their_results(digits: dsactl.SyntheticSet) -> None:
    before = dsactl.evaluate(digits, protocol())
    dsactl.evaluate(digits, protocol(networks=1), fresh=True)
    rest = Counter()
    after = dsactl.evaluate(digits, protocol(), progress=rest)
    assert (after.accuracies, rest.epochs) == (before.accuracies, 0)


def test_of_more_networks_than_asked_for_only_those_are_counted(digits: dsactl.SyntheticSet) -> None:
    before, told = dsactl.evaluate(digits, protocol()), Told()
    after = dsactl.evaluate(digits, protocol(networks=2), progress=told)
    assert after.accuracies == before.accuracies[:2]
    assert told.updates == [(2, 2, "2 finished and stored", {"stored": 2})]


def test_a_protocol_may_be_given_by_its_attributes(digits: dsactl.SyntheticSet) -> None:
    assert dsactl.evaluate(digits, networks=2, epochs=1).n == 2
    for kind in (dsactl.Error, TypeError):
        with pytest.raises(kind, match=r"Unknown keyword 'netwrks'\. Did you mean 'networks'"):
            dsactl.evaluate(digits, netwrks=2)
        with pytest.raises(kind, match=r"Unknown keyword 'devise'\. Did you mean 'device'"):
            dsactl.evaluate(digits, protocol(), devise="cpu")
        with pytest.raises(kind, match=r"Unknown keyword 'image_sise'\. Did you mean 'image_size'"):
            dsactl.evaluate_whole("digits", image_sise=8)
        with pytest.raises(kind, match=r"Both a protocol and `networks` are given"):
            dsactl.evaluate(digits, protocol(), networks=2)
    with pytest.raises(dsactl.Error, match="`networks` must be at least 1"):
        dsactl.evaluate(digits, networks=0)
    with pytest.raises(dsactl.Error, match="There is no set 'nope'"):
        dsactl.evaluate("nope")


def test_a_damaged_unfinished_evaluation_is_not_used(digits: dsactl.SyntheticSet) -> None:
    with pytest.raises(KeyboardInterrupt):
        dsactl.evaluate(digits, protocol(), progress=Counter(stop_after=6))
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
            dsactl.evaluate(digits, protocol(), progress=counter)
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
    assert f"Interrupted; {kept} of 50 networks are finished and stored." in errors
    assert "Run the same again to continue from there." in errors


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
    assert "Cached result" in again.stderr
    assert dsactl.evaluate_whole("digits", networks=2, epochs=60, network=dsactl.NetworkSpec(width=16)).repeated
    for wrong, said in (
        (("--method", "whole"), "Missing dataset."),
        (("--method", "dsa", "digits"), "evaluate only supports --method whole, not dsa"),
        (("--method", "whole", "digitz"), "Unknown dataset 'digitz'"),
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
    result = dsactl.evaluate(digits, protocol(), progress=counter)
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
    assert "before any network was finished; no result is stored" in errors
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
