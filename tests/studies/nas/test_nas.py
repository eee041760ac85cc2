"""Architecture search, on real data at a small scale: what is trained, ranked, chosen, kept and refused."""

import csv
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import processes
import pytest
import torch
from PIL import Image
from sessions import Told, session

import dsactl
import registry
from dsactl.engine.progress import Progress
from dsactl.engine.tasks import Failure
from dsactl.errors import UsageError
from dsactl.evaluation.cache import StoredResults
from dsactl.evaluation.protocol import NetworkResult
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.folder import Folder
from dsactl.studies.nas import proxies
from dsactl.studies.nas.proxies import Budget
from dsactl.studies.nas.results import Row, differing, paper_column, ranks, write
from dsactl.studies.nas.search import cache_keys, fitting, load_results, search, train
from dsactl.studies.nas.space import name_of, space, where
from dsactl.studies.nas.study import FailedNetwork, rank_networks

Cli = Callable[..., tuple[int, str, str]]
CPU = torch.device("cpu")
TWELVE = ("--where", "depth<=2,width=32,activation!=sigmoid,norm=none|instance|batch,pooling=avg")
SHORT = ("--epochs", "20", "--whole-epochs", "2", "--repeats", "2", "--ipc", "3", "--ray", "off")
THREE = "random,early-stopping,whole"
THREADS = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # as many as here: else a network reaches something else


def network_of(name: str) -> NetworkSpec:
    return next(network for network in space() if name_of(network) == name)


def rows_of(images_NCHW: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images_NCHW}


def test_no_proxy_learns_from_what_it_is_ranked_on() -> None:
    searched = proxies.load("digits")
    held = rows_of(searched.held_out.test.images_NCHW)
    assert held <= rows_of(searched.full.train.images_NCHW)
    for word in proxies.BUILT_IN:
        proxy = proxies.make(word, searched, Budget(ipc=2), session())
        pixels = (proxy.synthetic.pixels() * 255).round().byte()
        ours = rows_of(proxy.dataset.test.images_NCHW)
        assert ours == held
        assert not rows_of(pixels) & ours
        assert rows_of(pixels) <= rows_of(searched.held_out.train.images_NCHW)
    made = dsactl.condense("digits", ipc=1, method="random")
    proxy = proxies.make(made.reference, searched, Budget(), session())
    assert "made from all training images" in proxy.remark
    assert rows_of(proxy.dataset.test.images_NCHW) == held
    part = dsactl.condense("digits@validation", ipc=1, method="random")
    assert proxies.make(part.reference, searched, Budget(), session()).remark == ""


def test_early_stopping_takes_the_steps_of_a_set() -> None:
    searched = proxies.load("digits")
    for epochs, ipc, images, passes in (
        *((300, 10, 1295, 23), (5, 10, 500, 1), (5, 11, 500, 1), (5, 26, 1000, 1)),
        *((13, 10, 1295, 1), (14, 10, 700, 2), (15, 10, 800, 2), (300, 20, 1295, 23)),
    ):
        proxy = proxies.make("early-stopping", searched, Budget(ipc, epochs), session())
        assert (proxy.seen, len(proxy.synthetic)) == (images, images)
        assert (proxy.protocol.epochs, proxy.protocol.batch) == (passes, 100)
        on_set = proxies.make("random", searched, Budget(ipc, epochs), session())
        steps, theirs = (
            each.protocol.epochs * math.ceil(len(each.synthetic) / each.protocol.resolve(each.synthetic.recipe).batch)
            for each in (proxy, on_set)
        )
        assert abs(steps - theirs) <= 0.05 * theirs or steps - theirs == 1
    some = proxies.make("early-stopping", searched, Budget(10, 5), session()).synthetic
    other = proxies.make("early-stopping", searched, Budget(10, 5, seed=1), session()).synthetic
    assert some.digest != other.digest
    assert some.labels.diff().min() >= 0
    assert not torch.equal(some.images, other.images)


def test_a_step_can_be_smaller() -> None:
    searched = proxies.load("digits")
    small = Budget(10, 7, 3, batch=25)
    made = {word: proxies.make(word, searched, small, session()) for word in proxies.BUILT_IN}
    assert {word: (len(each.synthetic), each.protocol.epochs, each.protocol.batch) for word, each in made.items()} == {
        "random": (100, 7, 25),
        "early-stopping": (700, 1, 25),
        "whole": (1295, 3, 25),
    }
    assert Budget().is_papers
    assert not Budget(batch=100).is_papers


def untrained(done: float, total: float, doing: str) -> None:
    """Fail where a network is trained: then a search tells its name, and an evaluation a fraction."""
    if done < total or doing.startswith("depth"):
        pytest.fail(f"{done} of {total}, {doing}")


def test_results_are_kept_and_shared() -> None:
    searched, store = proxies.load("digits"), registry.Store()
    networks = where(space(), "depth=1,width=32,activation=relu,norm=instance")
    proxy = proxies.make("random", searched, Budget(2, 3), session())
    told = Told()
    first = list(search(networks, proxy, session(progress=told)))
    assert [network for network, _ in first] == networks
    again = list(search(networks, proxy, session(progress=Told(untrained))))
    assert again == first, "seconds too"
    assert train(proxy, networks[0], "cpu", Progress()).accuracy == first[0][1].accuracy, "the same bits"
    longer = replace(proxy, protocol=replace(proxy.protocol, epochs=4))
    assert load_results(store, cache_keys(longer, networks, CPU)) == {}
    damaged = StoredResults(store).path(cache_keys(proxy, networks, CPU)[networks[1]])
    damaged.write_bytes(b"{}")
    mended = dict(search(networks, proxy, session()))
    assert [mended[network].accuracy for network in networks] == [score.accuracy for _, score in first]
    assert json.loads(damaged.read_bytes())["networks"]["0"][0] == first[1][1].accuracy
    assert any(name_of(networks[0]) in doing for _, _, doing, _ in told.updates)


def test_a_search_and_an_evaluation_share_results() -> None:
    """Either finds the networks that the other trained: accuracies and seconds."""
    searched, store = proxies.load("digits"), registry.Store()
    first, second = where(space(), "depth=1,width=32,activation=relu,norm=instance,pooling!=none")
    proxy = proxies.make("random", searched, Budget(2, 3), session())
    how = {"epochs": 3, "precision": "float32"}
    (found,) = search([first], proxy, session())
    assert found[0] == first
    looked_up = dsactl.evaluate(proxy.synthetic, networks=1, network=first, progress=Told(untrained), **how)
    assert (looked_up.accuracies, looked_up.seconds) == ((found[1].accuracy,), found[1].seconds)
    (record,) = store.evaluations(proxy.synthetic.digest)
    assert record["accuracies"] == [found[1].accuracy]
    several = dsactl.evaluate(proxy.synthetic, networks=3, network=first, **how)
    assert several.accuracies[0] == found[1].accuracy
    whole = proxies.make("whole", searched, Budget(2, whole_epochs=1), session())
    tested = dsactl.evaluate_whole("digits@validation", networks=2, network=second, epochs=1, precision="float32")
    ((_, result),) = search([second], whole, session(progress=Told(untrained)))
    assert result.accuracy == tested.accuracies[0]
    assert result.accuracy == train(whole, second, "cpu", Progress()).accuracy, "the same bits"


def test_files_of_earlier_searches_are_left_alone() -> None:
    searched, store = proxies.load("digits"), registry.Store()
    proxy = proxies.make("random", searched, Budget(2, 1), session())
    old = store.home / "runs" / "nas" / f"{0:032x}.json"
    old.parent.mkdir(parents=True)
    old.write_text('{"accuracy": 99.0, "seconds": 1.0}')
    ((_, result),) = search([network_of("depth1-width32-relu-nonorm-avg")], proxy, session())
    assert result.accuracy < 99
    assert old.read_text() == '{"accuracy": 99.0, "seconds": 1.0}'


def test_a_store_that_cannot_be_written_to_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    proxy = proxies.make("whole", proxies.load("digits"), Budget(), session())
    (tmp_path / "file").write_text("")
    with pytest.raises(registry.StoreError, match="Cannot write to"):
        next(search([NetworkSpec(depth=1)], proxy, session(registry.Store(tmp_path / "file" / "store"))))


def test_a_network_that_wants_too_much_memory_leaves_the_others() -> None:
    searched = proxies.load("digits")
    proxy = proxies.make("random", searched, Budget(2, 1), session())
    small = network_of("depth1-width32-relu-nonorm-avg")
    large = replace(small, depth=2, width=10**6)  # weights of 36 terabytes
    found = dict(search([large, small], proxy, session()))
    assert isinstance(found[small], NetworkResult)
    assert isinstance(found[large], Failure)
    assert "out of memory; use a smaller `batch`" in found[large].message
    assert dict(search([small], proxy, session())) == {small: found[small]}


def test_a_choice_that_wants_too_much_memory_leaves_the_other_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    searched, budget = proxies.load("digits"), Budget(2, 2, 1)
    made = [proxies.make(word, searched, budget, session()) for word in ("random", "early-stopping")]
    networks = [network_of("depth1-width32-relu-nonorm-avg"), network_of("depth1-width32-relu-instance-avg")]

    def found() -> list[Row | FailedNetwork]:
        return list(rank_networks(made, networks, searched, budget, 2, session()))

    with monkeypatch.context() as patch:
        patch.setattr("dsactl.studies.nas.study.evaluate_cached", memory_is_out)
        lost = found()
    assert [type(each) for each in lost] == [FailedNetwork, Row, FailedNetwork, Row]
    assert str(lost[0].what).startswith("random, depth1-width32-relu-")
    tested = found()
    for before, after in zip(lost[1::2], tested, strict=True):
        assert replace(before, accuracies=after.accuracies, testing=after.testing) == after
        assert len(after.accuracies) == 2


def memory_is_out(*_: object, **__: object) -> None:
    raise MemoryError


def test_a_row_without_a_test_does_not_replace_one_that_has_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "n", "nas", {"dataset": "any"})
    row = Row("random", 10, {"a": NetworkResult(50.0, 1.0), "b": NetworkResult(40.0, 1.0)}, (60.0,), 2.0)
    write(folder, [row])
    assert write(folder, [replace(row, accuracies=(), testing=0.0)]) == [row]
    other = replace(
        row, scores={"a": NetworkResult(30.0, 1.0), "b": NetworkResult(40.0, 1.0)}, accuracies=(), testing=0.0
    )
    assert write(folder, [other]) == [other], "another choice"


def test_what_rows_differ_in() -> None:
    here = {"device": "cpu, 1 thread", "torch": "2.0", "protocol": {"precision": "float32"}}
    row = Row("random", 10, {"a": NetworkResult(50.0, 1.0)}, conditions=here)
    there = replace(row, proxy="whole", conditions={**here, "device": "cuda", "protocol": {"precision": "bfloat16"}})
    assert differing([row, row, replace(row, conditions={})]) == []
    assert differing([row, there]) == ["device", "precision"]


def test_soft_labels_are_tried_in_part(cli: Cli) -> None:
    code, answer, said = cli("condense", "digits", "--ipc=1", "--method=ld", "--iterations=3", "--depth=1", "-q")
    assert code == 0, said
    reference = answer.strip()
    tried = ("--proxy", reference, "--batch", "5", "--dry-run", "--ray", "off", "--json")
    code, answer, said = cli("nas", "digits", *TWELVE, *tried)
    assert code == 0, said
    assert json.loads(answer)[reference]["networks"] == 12


def test_a_network_that_diverges_is_as_good_as_chance() -> None:
    searched = proxies.load("digits")
    proxy = proxies.make("random", searched, Budget(2, 30), session())
    wild = replace(proxy, protocol=replace(proxy.protocol, lr=1e6))
    score = train(wild, NetworkSpec(depth=1, width=32, norm="none"), "cpu", Progress())
    assert isinstance(score, NetworkResult)
    assert score.accuracy == pytest.approx(10)


def test_networks_that_are_too_deep_are_left_out() -> None:
    digits = dsactl.load_dataset("digits")
    found = fitting(space(), digits)
    assert {network.depth for network in where(space(), "pooling!=none") if network in found} == {1, 2, 3}
    assert len(found) == 720 - 4 * 3 * 5 * 2


@dataclass(frozen=True)
class Search:
    """A search that nobody interrupted.

    Attributes:
        home: its store.
        out: the folder of its results.
        rows: what it answered.
    """

    home: Path
    out: Path
    rows: list[dict[str, object]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Twelve networks on three proxies, in a process of its own: some seconds."""
    folder = tmp_path_factory.mktemp("finished")
    home, out = folder / "home", folder / "n"
    done = processes.run(
        *("nas", "digits", *TWELVE, *SHORT, "--proxy", THREE, "--out", str(out), "--json"),
        env={**os.environ, **THREADS, "DSACTL_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    return Search(home, out, json.loads(done.stdout)["rows"])


@pytest.fixture
def own(finished: Search, tmp_path: Path) -> Search:
    """A copy of it, for a test to go on with; its store is the test's."""
    shutil.copytree(finished.home, registry.Store().home)
    shutil.copytree(finished.out, tmp_path / "n")
    return replace(finished, home=registry.Store().home, out=tmp_path / "n")


def test_the_command(own: Search) -> None:
    rows = own.rows
    assert [row["proxy"] for row in rows] == THREE.split(",")
    assert [row["images"] for row in rows] == [30, 1000, 1295]
    assert all(len(row["accuracies"]) == 2 and min(row["accuracies"]) > 0 for row in rows)
    tested = dsactl.evaluate_whole("digits", networks=2, epochs=2, network=network_of(rows[0]["chosen"]))
    assert rows[0]["accuracies"] == list(tested.accuracies), "on the test split, after training on all training images"
    assert rows[2]["correlations"][-1]["spearman"] == pytest.approx(1)
    kept = json.loads((own.out / "nas.json").read_text())
    assert all(len(row["networks"]) == 12 for row in kept["rows"])
    assert kept["rows"][0]["conditions"]["digest"] == registry.Store().sets()[0].digest
    assert kept["rows"][1]["conditions"]["protocol"]["batch"] == 100
    best = kept["rows"][0]["networks"]
    assert best[rows[0]["chosen"]]["accuracy"] == max(each["accuracy"] for each in best.values())
    with (own.out / "nas.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 36
    assert min(Image.open(own.out / "nas.png").size) > 200


def test_what_was_searched_is_only_looked_up(
    own: Search, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (own.home / "runs" / "evaluations").iterdir()}

    usual, before = ("nas", "digits", *TWELVE, *SHORT), files()
    assert len(before) == 36 + len({row["chosen"] for row in own.rows})
    code, table, said = cli(*usual, "--proxy", "whole,random", "--out", str(own.out))
    assert code == 0, said
    assert files() == before
    assert own.rows[0]["chosen"] in table
    assert "early-stopping" in table, "rows of earlier calls stay"
    _, _, said = cli(*usual, "--sample", "5", "--out", str(own.out))
    assert "has the results of another plan (other sample, networks)" in said
    cost = json.loads(cli(*usual, "--proxy", THREE, "--sample", "5", "--dry-run", "--json")[1])
    assert [cost[word]["known"] for word in THREE.split(",")] == [5, 5, 5]
    monkeypatch.setenv("DSACTL_HOME", str(tmp_path / "fresh"))
    fresh = json.loads(cli(*usual, "--dry-run", "--json")[1])
    assert [each["networks"] for each in fresh.values()] == [12, 12, 12]
    assert all(each["seconds"] > 0 < each["operations"] for each in fresh.values())
    assert registry.Store().sets() == []


def killed(command: tuple[str, ...], folder: Path) -> bool:
    """Run a search and kill it when it has trained a few networks; whether it was not faster than that."""
    process, end = processes.start(*command, env={**os.environ, **THREADS}), time.monotonic() + processes.PATIENCE
    while process.poll() is None and len(list(folder.glob("*.json"))) < 4:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    _, said = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode != 0


def test_a_search_that_was_killed_goes_on(finished: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when it has trained four of 24 networks; some seconds."""
    command = ("nas", "digits", *TWELVE, *SHORT, "--proxy", "random,whole", "--json", "--out")
    for attempt in ("first", "second", "third"):
        monkeypatch.setenv("DSACTL_HOME", str(tmp_path / attempt))
        folder = tmp_path / attempt / "runs" / "evaluations"
        if killed((*command, str(tmp_path / attempt / "n")), folder):
            break
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    assert 4 <= len(before) < 24
    again = processes.run(*command, str(tmp_path / attempt / "n"), env={**os.environ, **THREADS})
    assert again.returncode == 0, again.stderr
    assert {name: (folder / name).read_bytes() for name in before} == before
    straight = [row for row in finished.rows if row["proxy"] in ("random", "whole")]
    for ours, theirs in zip(json.loads(again.stdout)["rows"], straight, strict=True):
        assert ours["chosen"] == theirs["chosen"]
        assert ours["accuracies"] == theirs["accuracies"]
        assert ours["correlations"] == theirs["correlations"]


def test_what_makes_no_sense_is_refused(cli: Cli) -> None:
    for arguments, said in (
        (("--where", "depth>4"), "No network in the search space satisfies depth>4"),
        (("--where", "depth=4,pooling=avg"), "No network is left"),
        (("--where", "depht=3"), "Unknown axis of the networks 'depht'"),
        (("--proxy", "nothing"), "There is no set 'nothing'"),
        (("--proxy", "radnom"), "Unknown proxy 'radnom'.\n  Did you mean 'random'?"),
        (("--repeats", "1001"), "--repeats"),
        (("--proxy", "mnist-dsa-convnet-ipc1"), "The proxy mnist-dsa-convnet-ipc1 is a set of mnist, not of digits."),
    ):
        code, answer, error = cli("nas", "digits", *arguments)
        assert code in (1, 2), arguments
        assert said in error
        assert answer == ""
    assert registry.Store().sets() == []
    made = dsactl.condense("digits@classes0-4", ipc=1, method="random")
    with pytest.raises(UsageError, match="was not made from the training images"):
        proxies.make(made.reference, proxies.load("digits"), Budget(), session())


def test_what_is_compared() -> None:
    def row(proxy: str, *accuracies: float) -> Row:
        return Row(proxy, 10, {f"n{index}": NetworkResult(each, 1.0) for index, each in enumerate(accuracies)}, (1.0,))

    random, whole = row("random", 1, 2, 3, 4), row("whole", 2, 1, 3, 4)
    assert ranks(random, [random, whole])[-1].spearman == pytest.approx(0.8)
    assert ranks(random, [random]) == []
    assert ranks(random, [random, row("whole", 1, 2, 3)]) == [], "of other networks"
    assert row("random", 5, 9, 9).chosen == "n1", "the first of the best"
    assert Row.from_dict(json.loads(json.dumps(random.to_dict()))) == random
    assert paper_column(replace(random, paper="dsa")) == {
        "accuracy": 81.3,
        "correlation": 0.76,
        "minutes": 44.5,
        "images": 100.0,
    }
    assert paper_column(random) is None
