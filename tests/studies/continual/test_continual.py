"""Continual learning, on real data at a small scale: what is learned, remembered, measured, kept and refused."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess as Ended

import numpy as np
import pytest
import torch
from continual_scale import FAST, SMALL, THREE
from PIL import Image
from reference import write_folder
from sessions import session
from torch import Tensor
from torch.nn import functional as F

import dsactl
import registry
from dsactl.augmentation.strategy import Strategy
from dsactl.data.load import load_dataset
from dsactl.data.views import Shape
from dsactl.engine.progress import Progress
from dsactl.errors import UsageError
from dsactl.studies.continual.cost import count_operations
from dsactl.studies.continual.learner import Images, Learner, Network, Phase, Teacher
from dsactl.studies.continual.memory import NONE, Memory, all_of, images_of
from dsactl.studies.continual.prepared import PreparedStudy
from dsactl.studies.continual.run import CONDENSED, REAL, ContinualRun, Runner
from dsactl.studies.continual.scores import means
from dsactl.studies.continual.tasks import Task, splits_of, tasks_of

Program = Callable[..., Ended[str]]
Cli = Callable[..., tuple[int, str, str]]
SHORT = (*FAST, "--steps", "3", "--balance-steps", "2")
CPU = torch.device("cpu")


def rows_of(images_NCHW: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images_NCHW]


@pytest.fixture(scope="module")
def three() -> list[Task]:
    return splits_of(THREE, 3, None)


def test_three_stages_are_kept_in_the_books(three: list[Task]) -> None:
    store = registry.Store()
    runner = Runner(three, SMALL, store, CPU)
    found = {}
    for method, distilled in ((NONE, False), ("random", False), ("random", True)):
        outcome = found[method, distilled] = runner.run(ContinualRun(Memory(method, 4), distilled, 0), Progress())
        assert [len(row) for row in outcome.rows] == [1, 2, 3]
        assert all(0 <= accuracy <= 100 for row in outcome.rows for accuracy in row)
        assert len(outcome.references) == (0 if method == NONE else 3)
    bare, rehearsed = found[NONE, False], found["random", False]
    assert bare.rows[0] == rehearsed.rows[0] == found["random", True].rows[0], "the first task needs no memory"
    assert means(rehearsed.rows)[-1] > means(bare.rows)[-1] + 20, "rehearsal beats none"
    assert bare.rows[-1][0] < 20, "what is not rehearsed is forgotten"
    digits = load_dataset("digits")
    train, test = ({*rows_of(split.images_NCHW)} for split in (digits.train, digits.test))
    for task, reference in zip(three, rehearsed.references, strict=True):
        made = dsactl.load(reference)
        assert made.labels.tolist() == [label for label in range(3) for _ in range(4)]
        pixels = (made.pixels() * 255).round().byte()
        for image, label in zip(pixels, made.labels, strict=True):
            own = task.dataset.train.labels_N == label
            assert image.numpy().tobytes() in {*rows_of(task.dataset.train.images_NCHW[own])}
            assert image.numpy().tobytes() not in test
        assert {*rows_of(task.dataset.train.images_NCHW)} <= train
        images = all_of(task)
        torch.testing.assert_close(images.at(torch.arange(5)), digits.normalise(task.dataset.train.images_NCHW[:5]))
        assert sorted(set(images.targets_N.tolist())) == [task.first, task.first + 1, task.first + 2]
    kept = [(task, dsactl.load(each)) for task, each in zip(three, rehearsed.references, strict=True)]
    memory = images_of(kept, 9, CPU)
    assert torch.bincount(memory.targets_N).tolist() == [4] * 9, "as many of every class"
    both = all_of(three[0]) + memory
    places = torch.tensor([len(both) - 1, 0, len(all_of(three[0]))])
    first, last = torch.tensor([0]), torch.tensor([35])
    expected = torch.cat([memory.at(last), all_of(three[0]).at(first), memory.at(first)])
    torch.testing.assert_close(both.at(places), expected)
    assert both.targets_N[places].tolist() == [8, 0, 0]
    assert {str(stored.name).split("/")[0] for stored in store.sets()} == {"continual"}


def test_soft_labels_and_other_normalisations_are_kept_to(three: list[Task]) -> None:
    memory = Memory("ld", 2, 2)
    made = memory.make(memory.job(three[1], 0, "cpu"), session())
    assert made.soft_labels is not None
    hard = Memory("random", 2).make(Memory("random", 2).job(three[0], 0, "cpu"), session())
    images = images_of([(three[0], hard), (three[1], made)], 9, CPU)
    assert images.targets_N.shape == (12, 9)
    assert torch.equal(images.targets_N[:6], F.one_hot(hard.labels, 9).float())
    assert torch.equal(images.targets_N[6:, 3:6], made.soft_labels)
    assert images.targets_N[6:, :3].abs().max() == images.targets_N[6:, 6:].abs().max() == 0
    both = images_of([(three[0], hard)], 9, CPU) + images_of([(three[1], made)], 9, CPU)
    assert torch.equal(both.targets_N, images.targets_N)
    learner = Learner(SMALL, (1, 8, 8), CPU)
    learner.train(learner.grown(None, 9, 0), images, Phase(2, 0.01), 0)
    grown = replace(three[0], dataset=replace(three[0].dataset, mean=(0.4,), std=(0.2,)))
    moved = images_of([(grown, hard)], 9, CPU)
    torch.testing.assert_close(moved.at(torch.arange(6)), (hard.pixels() - 0.4) / 0.2)
    assert moved.origin != images_of([(three[0], hard)], 9, CPU).origin


def test_who_teaches_in_each_phase(three: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[Network, list[Teacher], int]] = []
    train = Learner.train

    def spy(self: Learner, network: Network, images: Images, phase: Phase, seed: int, teachers=(), **how) -> Network:  # type: ignore[no-untyped-def]
        found = train(self, network, images, phase, seed, teachers, **how)
        learned.append((found, list(teachers), len(images)))
        return found

    monkeypatch.setattr(Learner, "train", spy)
    Runner(three, SMALL, registry.Store(), CPU).run(ContinualRun(Memory("random", 2), True, 0), Progress())
    assert [images for *_, images in learned] == [
        len(three[0].dataset.train),
        len(three[1].dataset.train) + 6,
        12,
        len(three[2].dataset.train) + 12,
        18,
    ], "the new images with the memory before; then the memory with the new set"
    asked = [[(each.first, each.end) for each in teachers] for _, teachers, _ in learned]
    assert asked == [[], [(0, 3)], [(0, 3), (3, 6)], [(0, 6)], [(0, 6), (6, 9)]]
    for teachers, index in (
        (learned[1][1][0], 0),
        (learned[2][1][0], 0),
        (learned[2][1][1], 1),
        (learned[3][1][0], 2),
        (learned[4][1][0], 2),
        (learned[4][1][1], 3),
    ):
        same = learned[index][0].parameters["classifier.weight"]
        assert torch.equal(teachers.network.parameters["classifier.weight"], same)


def test_runs_share_what_is_alike(three: list[Task]) -> None:
    store = registry.Store()
    runner = Runner(three[:2], SMALL, store, CPU)
    files = lambda: {path.name: path.stat().st_mtime_ns for path in (store.home / "runs" / "continual").iterdir()}  # noqa: E731
    first = runner.run(ContinualRun(Memory("random", 3), False, 0), Progress())
    before = files()
    assert len(before) == 3, "learn; learn, balance"
    assert Runner(three[:2], SMALL, store, CPU).run(ContinualRun(Memory("random", 3), False, 0), Progress()) == first
    assert files() == before, "nothing is learned twice"
    runner.run(ContinualRun(Memory("herding", 3), False, 0), Progress())
    assert len(files()) == 5, "the first task is shared"
    other = runner.run(ContinualRun(Memory("random", 3), False, 1), Progress())
    assert len(files()) == 8, "another repeat has draws and sets of its own"
    assert other.rows != first.rows
    assert other.references != first.references
    slower = replace(SMALL, balance=Phase(40, 0.001))
    Runner(three[:2], slower, store, CPU).run(ContinualRun(Memory("random", 3), False, 0), Progress())
    assert len(files()) == 9, "another way to balance leaves what was learned"


def test_new_tasks_can_be_learned_from_their_sets_alone(three: list[Task]) -> None:
    store = registry.Store()
    runner = Runner(three[:2], SMALL, store, CPU)
    real = runner.run(ContinualRun(Memory("random", 1), False, 0, REAL), Progress())
    condensed = runner.run(ContinualRun(Memory("random", 1), False, 0, CONDENSED), Progress())
    assert condensed.references == real.references
    assert condensed.rows[0][0] < real.rows[0][0], "three images are fewer than all"


def test_tasks_that_share_their_classes_share_the_outputs(tmp_path: Path) -> None:
    digits = load_dataset("digits@classes0-1")
    for name, change in (("plain", lambda x: x), ("dark", lambda x: 255 - x), ("turned", lambda x: x.rot90(1, (1, 2)))):
        for split, images in (("train", digits.train), ("test", digits.test)):
            for index, (image, label) in enumerate(zip(images.images_NCHW, images.labels_N, strict=True)):
                folder = tmp_path / name / split / digits.class_names[label]
                folder.mkdir(parents=True, exist_ok=True)
                if index % 3 == 0:
                    Image.fromarray(change(image)[0].numpy().copy()).save(folder / f"{index}.png")
    names = [str(tmp_path / name) for name in ("plain", "dark", "turned")]
    tasks = tasks_of(names, Shape(3, 16, 16))
    assert [task.name for task in tasks] == ["plain", "dark", "turned"]
    assert {task.outputs for task in tasks} == {2}
    assert {task.dataset.train.images_NCHW.shape[1:] for task in tasks} == {(3, 16, 16)}
    assert tasks[0].dataset.mean != tasks[1].dataset.mean, "each has a normalisation of its own"
    outcome = Runner(tasks, replace(SMALL, strategy=Strategy()), registry.Store(), CPU).run(
        ContinualRun(Memory("random", 2), True, 0), Progress()
    )
    assert [len(row) for row in outcome.rows] == [1, 2, 3]
    assert dsactl.load(outcome.references[1]).images.shape == (4, 3, 16, 16)


def test_the_command_writes_what_it_found(program: Program, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "c"
    done = program("continual", *SHORT, "--memory", "none,random", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    courses = json.loads(done.stdout)["courses"]
    assert [(each["memory"], each["distillation"]) for each in courses] == [
        ("none", False),
        ("none", True),
        ("random", False),
        ("random", True),
    ]
    assert all(len(each["accuracies"]) == 3 and len(each["means"]) == 3 for each in courses)
    with (out / "continual.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 4 * (1 + 2 + 3)
    assert table[5]["learned"] == "classes 6-8"
    assert min(Image.open(out / "continual.png").size) > 200
    kept = json.loads((out / "continual.json").read_text())
    assert kept["courses"] == courses
    lines = json.loads(done.stdout)["lines"]
    assert kept["lines"] == lines
    assert lines[2]["means"][2]["mean"] == pytest.approx(np.mean(courses[2]["accuracies"][2]))
    assert lines[2]["tasks"][1]["mean"] == pytest.approx(courses[2]["accuracies"][2][1])
    assert kept["plan"]["normalisation"][0]["mean"] == list(load_dataset("digits").mean)
    code, answer, said = cli("continual", *SHORT, "--memory", "herding", "--distillation", "off", "--out", str(out))
    assert code == 0, said
    assert answer.count("herding  off") == 2, "means by stage, and each task in the end"
    assert "±" not in answer, "one repeat has no deviation"
    assert len(json.loads((out / "continual.json").read_text())["courses"]) == 5, "earlier courses stay"
    changed = ("--lr", "0.02", "--balance-lr", "0.02", "--distillation-weight", "2")
    _, _, said = cli("continual", *SHORT, "--memory", "none", *changed, "--out", str(out))
    assert "another plan (other settings.learn.lr, settings.balance.lr, settings.distillation)" in said


def test_a_plan_comes_with_its_cost(cli: Cli) -> None:
    twice = ("--memory", "random,dsa", "--iterations", "2", "--repeats", "2")
    arguments = ("continual", *FAST, *twice, "--dry-run", "--json")
    code, answer, said = cli(*arguments)
    assert code == 0, said
    cost = json.loads(answer)
    assert (cost["courses"], cost["sets"], cost["made"]) == (8, 12, 0)
    assert cost["phases"] == 2 + 8 * 2 * 2
    assert "augmentation color crop cutout scale rotate, " in cli(*arguments[:-1])[1]
    condensed = json.loads(cli(*arguments, "--new-data", "condensed")[1])
    assert condensed["phases"] == 2 * 2 + 8 * 2 * 2, "the first task too is learned from each memory"
    assert cost["making"] > 0
    assert cost["learning"] > 0
    assert registry.Store().sets() == []


def test_what_makes_no_sense_is_refused(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    two = str(write_folder(tmp_path / "two"))
    for arguments, said in (
        (("--tasks", "digits"), "A sequence needs two or more tasks"),
        (("--tasks", f"digits,{two}"), "differ in their number of classes: digits has 10, two has 2"),
        (("--tasks", "mnist,cifar100"), "mnist has 10, cifar100 has 100"),
        (("--tasks", "digits@classes0-4,cifar10@classes0-3"), "has 5, cifar10@classes0-3 has 4"),
        (("--tasks", f"{two},cifar10"), "two has 2"),
        (("--tasks", "digits,cifar10", "--lr", "nan"), "--lr must be above 0"),
        (("--tasks", "digits,digits"), "Two tasks have the same name"),
        (("--tasks", "digits,digits@validation"), "is tested on images that the other is trained on"),
        (("--tasks", "digits", "--splits", "5", "--seed", "-1"), "--seed"),
        (("--tasks", "digits", "--splits", "3"), "10 classes cannot be split evenly into 3 tasks"),
        (("--tasks", "digits", "--splits", "10"), "Use --splits 2 or --splits 5."),
        (("--tasks", "digits@classes0-6", "--splits", "7"), "Leave a class out: digits@classes0-6@classes0-5"),
        (("--tasks", "mnist,usps,digits", "--dry-run"), "mnist, usps are not on this machine, and --dry-run downloads"),
        (("--tasks", "digits,mnist", "--splits", "2"), "--splits takes one dataset, not 2"),
        (("--tasks", "digits", "--splits", "5", "--memory", "herdin"), "Unknown memory 'herdin'"),
        (("--tasks", "digits", "--splits", "5", "--memory", "digits-dsa-convnet-ipc1"), "a set that is stored already"),
        (
            ("--tasks", "digits", "--splits", "5", "--ipc", "500"),
            "The smallest class, '8' of classes 8-9, has 139 images, fewer than --ipc 500.",
        ),
        (("--tasks", "digits", "--splits", "5", "--distillation", "of"), "Unknown distillation 'of'"),
        (
            ("--tasks", "digits", "--splits", "5", "--new-data", "condensed", "--memory", "none"),
            "--memory none has no set",
        ),
        (("--tasks", "digits,digts"), "Unknown dataset 'digts'"),
        (("--tasks", "digits", "--splits", "5", "--balance-lr", "nan"), "--balance-lr must be above 0"),
        ((), "Without SVHN: --tasks mnist,usps,digits"),
        (("--tasks", "usps,digits", "--dry-run"), "dsactl condense usps --ipc 1 --method random\n"),
    ):
        assert said in refused("continual", *arguments)
    with pytest.raises(UsageError, match="Two tasks have the same name"):
        tasks_of(["digits", "digits"], Shape(3, 8, 8))
    assert registry.Store().sets() == []


def test_progress_is_of_the_work_and_counts_it_once(three: list[Task]) -> None:
    study = PreparedStudy(three, [Memory("random", 2), Memory("dsa", 2, 1)], (False, True), 1, SMALL)
    operations = count_operations(study, "cpu")
    assert operations.done(0, 0.0) == 0
    told = [operations.done(index, done / 8) for index in range(4) for done in range(25)]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(operations.total)
    assert operations.done(1, 1.0) == operations.done(1, 0.0), "the first task was learned in the run before"
    assert operations.done(0, 1 / 2) == 0, "random images cost nothing"
    assert operations.done(2, 1 / 2) > operations.done(2, 0.0), "Algorithm 1 does"
