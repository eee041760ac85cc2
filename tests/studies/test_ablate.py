"""Ablations, from the command line, on real data at a small scale."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess as Ended

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from reference import small_dataset, write_folder
from sessions import Told, session

import dsactl
import registry
from dsactl.augmentation.strategy import KINDS, Strategy
from dsactl.augmentation.transforms import augment, draw
from dsactl.engine.progress import Progress
from dsactl.engine.random import generator
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.methods.gradient_matching.condense import condense, initial
from dsactl.networks.build import initial_state, structure
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, prepare, run_folder
from dsactl.runs.run import execute, steps_done
from dsactl.studies import ablations, costs, norms
from dsactl.studies.cells import check
from dsactl.studies.costs import estimate
from dsactl.studies.entries import Entry
from dsactl.studies.evolution import animation, milestones, strip, watch_condensing
from dsactl.studies.folder import Folder
from dsactl.studies.gradients import CONDENSED, Norms, gradient_norms

Program = Callable[..., Ended[str]]
Cli = Callable[..., tuple[int, str, str]]
SMALL = ("digits", "--iterations", "2", "--networks", "2", "--epochs", "3", "--json")
SMALLER = (*SMALL, "--arch", "mlp")


def cells(code: int, answer: str, said: str) -> list[dict[str, object]]:
    assert code == 0, said
    found: list[dict[str, object]] = json.loads(answer)["cells"]
    return found


def test_schemes_are_condensed_and_tested_as_table_4_says(program: Program, tmp_path: Path) -> None:
    """In a process of its own, with the usual network: some seconds."""
    done = program("ablate", "schemes", *SMALL, "--kinds", "rotate", "--out", str(tmp_path))
    found = cells(done.returncode, done.stdout, done.stderr)
    assert [cell["scheme"] for cell in found] == ["siamese", "A", "B", "C", "D", "E", "F"]
    expected = {"siamese": 1, "A": 0, "B": 1, "C": 1, "D": 1, "E": 0, "F": 1}
    schemes = {"C": "real", "D": "synthetic", "F": "both"}
    for cell in found:
        row = str(cell["scheme"])
        assert cell["augmentation"] == ("dsa rotate" if expected[row] else "none")
        recipe = dsactl.load(cell["references"][0]).recipe  # type: ignore[index]
        assert recipe.settings.scheme == schemes.get(row, "siamese")
        assert recipe.strategy == (() if row in "AB" else ("rotate",))
    assert found[1]["digests"] == found[2]["digests"], "nothing augmented: one set for A and B"
    assert len({cell["digests"][0] for cell in found}) == 5  # type: ignore[index]
    assert min(Image.open(tmp_path / "schemes.png").size) > 200


def test_strategies_have_each_kind_alone_and_all(cli: Cli, tmp_path: Path) -> None:
    found = cells(*cli("ablate", "strategies", *SMALLER, "--kinds", "crop,color", "--out", str(tmp_path)))
    assert [cell["strategy"] for cell in found] == ["none", "crop", "color", "crop_color"]
    assert [cell["augmentation"] for cell in found] == ["none", "dsa crop", "dsa color", "dsa color crop"]
    again = cells(*cli("ablate", "strategies", *SMALLER, "--kinds", "crop", "--out", str(tmp_path)))
    assert [cell["strategy"] for cell in again] == ["none", "crop"]
    kept = json.loads((tmp_path / "strategies.json").read_text())["cells"]
    assert [cell["strategy"] for cell in kept] == ["none", "crop", "color", "crop_color"], "earlier cells stay"
    _, _, said = cli("ablate", "strategies", *SMALLER, "--arch", "convnet", "--out", str(tmp_path))
    assert "has the results of another plan (other arch)" in said


def test_the_paper_s_figures_stand_beside_what_is_the_paper_s_alone() -> None:
    cifar, usual = Request("cifar10", 10), dsactl.Protocol()

    def papers(request: Request, kinds: tuple[str, ...], protocol: dsactl.Protocol, **more: bool) -> list[object]:
        return [entry.paper for entry in ablations.strategies(request, kinds, protocol, **more)]

    assert papers(cifar, ("flip",), usual) == [(45.5, 0.6), (47.9, 0.7)], "one kind is not all kinds"
    assert papers(cifar, ("flip", "crop"), usual)[-1] is None
    assert papers(cifar, KINDS, usual)[-1] == papers(cifar, KINDS[::-1], usual)[-1] == (52.1, 0.5)
    assert papers(Request("mnist", 10), ("flip",), usual)[1] is None
    for request in (replace(cifar, arch="mlp"), cifar.varied(iterations=10), cifar.varied(image_lr=1.0)):
        assert papers(request, ("flip",), usual) == [None] * 2
    assert papers(cifar, ("flip",), dsactl.Protocol(epochs=5)) == [None] * 2
    assert papers(cifar.varied(iterations=10), ("flip",), usual, scaled=True)[0] == (45.5, 0.6)
    (first, *_) = ablations.schemes(cifar, ["siamese"], ["crop"], usual)
    assert first.paper == (49.1, 0.6)
    (first, *_) = ablations.schemes(replace(cifar, ipc=1), ["siamese"], ["crop"], usual)
    assert first.paper is None


def test_ipc_has_a_line_for_each_method(cli: Cli, tmp_path: Path) -> None:
    arguments = ("--ipc", "1,2", "--methods", "random,dc", "--sets", "2", "--out", str(tmp_path))
    found = cells(*cli("ablate", "ipc", *SMALLER, *arguments))
    assert [(cell["method"], cell["ipc"]) for cell in found] == [
        ("random", "1"),
        ("random", "2"),
        ("dc", "1"),
        ("dc", "2"),
    ]
    assert all(cell["n"] == 4 for cell in found)
    with (tmp_path / "ipc.csv").open() as file:
        assert [row["ipc"] for row in csv.DictReader(file)] == ["1", "2", "1", "2"]


def test_starts_have_accuracies_and_pictures_of_the_way(cli: Cli, tmp_path: Path) -> None:
    found = cells(*cli("ablate", "init", *SMALLER, "--out", str(tmp_path)))
    assert [cell["init"] for cell in found] == ["noise", "real"]
    inits = [dsactl.load(cell["references"][0]).recipe.settings.init for cell in found]  # type: ignore[index]
    assert inits == ["noise", "real"]
    for start in inits:
        with Image.open(tmp_path / f"init-{start}.webp") as moving:
            assert moving.n_frames == 3  # type: ignore[attr-defined]
        assert Image.open(tmp_path / f"init-{start}-strip.png").width > 3 * 48
    noise, real = (np.asarray(Image.open(tmp_path / f"init-{start}-strip.png")) for start in inits)
    assert (noise != real).any()


def test_norms_with_and_without_augmentation_are_kept(cli: Cli, tmp_path: Path) -> None:
    arguments = ("digits", "--arch", "mlp", "--iterations", "2", "--networks", "2", "--out", str(tmp_path), "--json")
    code, answer, said = cli("ablate", "gradients", *arguments)
    assert code == 0, said
    with (tmp_path / "gradients.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 10, "two sets, two networks, ten classes, one inner step"
    assert {row["condensed"] for row in rows} == {"with DSA", "without"}
    assert all(float(row[side]) > 0 for row in rows for side in ("real", "synthetic"))
    assert min(Image.open(tmp_path / "gradients.png").size) > 200
    assert json.loads((tmp_path / "gradients.json").read_text()) == json.loads(answer)
    assert cli("ablate", "gradients", *arguments)[1] == answer, "drawn from the seed alone"


def test_norms_are_not_written_over_another_plan_s(tmp_path: Path) -> None:
    found = {name: [Norms(0, 0, 0, 2.0, 1.0), Norms(0, 0, 1, 4.0, 2.0)] for name in CONDENSED}
    request = Request("digits", 1)
    one, other = (Folder(tmp_path, "gradients", {"dataset": "digits", "seed": seed}) for seed in (0, 1))
    medians = {"real": 3.0, "synthetic": 1.5, "ratio": 0.5, "n": 2}
    result = norms.write(one, found, request)
    assert result.values["summary"] == {"with DSA": medians, "without": medians}
    assert str(result).splitlines()[2].split() == ["with", "DSA", "3", "1.5", "0.5", "2"]
    with pytest.raises(UsageError, match="has the results of another plan"):
        norms.write(other, found, request)


def test_what_makes_no_sense_is_refused(cli: Cli, tmp_path: Path) -> None:
    large = str(write_folder(tmp_path / "large", side=32))
    for arguments, said in (
        (("shemes", "digits"), "Did you mean 'schemes'"),
        (("schemes", "digits", "--ipc", "1,2"), "The study schemes takes one number of images per class"),
        (("ipc", "digits", "--ipc", "1,x"), "is not a number of images per class, or a list such as 1,10,50"),
        (("ipc", "digits", "--methods", "dsa,herdin"), "Unknown method 'herdin'"),
        (("schemes", "digits", "--kinds", "crop,blur"), "Unknown kind of augmentation 'blur'"),
        (("schemes", "digits", "--schemes", "G"), "Unknown scheme 'G'"),
        (("schemes", "digits", "--method", "random"), "has nothing to vary in --method random"),
        (("gradients", "digits", "--method", "dc"), "has nothing to vary in --method dc"),
        (("gradients", "digits", "--sets", "2"), "The study gradients uses one set"),
        (("digits", "ipc"), "Give the study first: dsactl ablate ipc digits"),
        (("gradients", large, "--arch", "resnet18bn"), "not measured for networks with batch norm"),
        (("ipc", "digits", "--method", "dc"), "The study ipc takes --methods"),
        (("schemes", "digits", "--methods", "dc"), "--methods is for ipc, not for schemes"),
        (("init", "digits", "--kinds", "crop"), "--kinds is for schemes and strategies, not for init"),
        (("ipc", "digits", "--ipc", "²"), "is not a number of images per class, or a list such as 1,10,50"),
    ):
        code, answer, error = cli("ablate", *arguments)
        assert (code, answer) == (2, "")
        assert said in error
    assert registry.Store().sets() == []


def test_a_plan_comes_with_its_cost(cli: Cli, tmp_path: Path) -> None:
    arguments = ("ablate", "strategies", *SMALLER, "--kinds", "crop", "--sets", "2", "--out", str(tmp_path))
    code, answer, said = cli(*arguments[:-2], "--dry-run")
    assert code == 0, said
    cost = json.loads(answer)
    assert cost["cells"] == ["none", "crop"]
    assert (cost["sets"], cost["made"], cost["networks"]) == (4, 0, 8)
    assert cost["making"] > 0
    assert cost["testing"] > 0
    assert registry.Store().sets() == []
    cli(*arguments)
    after = json.loads(cli(*arguments[:-2], "--dry-run")[1])
    assert (after["sets"], after["made"], after["making"]) == (0, 4, 0.0)
    _, whole, _ = cli("ablate", "strategies", "digits", "--arch", "mlp", "--dry-run")
    assert "7 cells: none, color, crop, cutout, scale, rotate, combination" in whole
    assert "networks would be trained and tested: about" in whole
    assert "No network would be trained" in cli("ablate", "gradients", "digits", "--arch", "mlp", "--dry-run")[1]


def test_a_smaller_call_keeps_the_cells_of_a_larger_one(cli: Cli, tmp_path: Path) -> None:
    arguments = ("ablate", "schemes", *SMALLER, "--out", str(tmp_path))
    cells(*cli(*arguments, "--schemes", "A,E", "--kinds", "crop,rotate"))
    before = (tmp_path / "schemes.png").read_bytes()
    assert len(cells(*cli(*arguments, "--schemes", "A", "--kinds", "crop"))) == 1
    assert len(json.loads((tmp_path / "schemes.json").read_text())["cells"]) == 4
    again = Image.open(tmp_path / "schemes.png")
    assert again.size == Image.open(io.BytesIO(before)).size, "drawn with all that is there"


def test_another_study_s_folder_is_refused(cli: Cli, tmp_path: Path) -> None:
    Folder(tmp_path, "transfer", {}).add({}, ())
    code, _, said = cli("ablate", "strategies", *SMALL, "--out", str(tmp_path))
    assert code == 2
    assert "has the results of transfer" in said


def test_a_watched_run_is_counted_until_it_was_watched(cli: Cli, tmp_path: Path) -> None:
    execute(prepare(Request.of("digits", 1, arch="mlp", iterations=2, init="real")), session())
    arguments = ("ablate", "init", *SMALLER, "--out", str(tmp_path))
    assert json.loads(cli(*arguments, "--dry-run")[1])["sets"] == 2, "it is run again, to be watched"
    cells(*cli(*arguments))
    assert json.loads(cli(*arguments, "--dry-run")[1])["sets"] == 0


def test_only_the_first_set_of_a_start_is_watched() -> None:
    entries = ablations.starts(Request.of("digits", 1, width=8, iterations=2), Protocol())
    prepared = check(entries, "cpu")
    for job in prepared:
        execute(job, session())
        execute(job.with_seed(1), session())
    assert estimate(entries, prepared, 2, session(), tested=False).sets == 2, (
        "the first of each is run again, to be watched"
    )
    for entry in entries:
        watch_condensing(entry.request, session())
    assert estimate(entries, prepared, 2, session(), tested=False).sets == 0


def test_networks_without_augmentation_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """DC's own augmentation of digits is none; `dc` was made for none."""
    tried: list[str | None] = []
    monkeypatch.setattr(costs, "try_a_step", lambda *given: None)
    monkeypatch.setattr(costs, "try_training", lambda *given: tried.append(given[2].strategy) or (0.0, 0.0))
    request = Request.of("digits", 1, method="dc", width=8, iterations=1)
    entries = [
        Entry((str(asked),), request, Protocol(strategy=asked)) for asked in ("none", "dc", None, "crop", "flip")
    ]
    estimate(entries, check(entries, "cpu"), 1, session())
    assert tried == ["none", "crop"]


def test_other_images_of_the_same_name_are_another_plan(cli: Cli, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        write_folder(tmp_path / parent / "photos", 12 if parent == "a" else 13)
    usual = ("--iterations", "1", "--networks", "1", "--epochs", "1", "--out", str(tmp_path / "out"))
    assert cli("ablate", "init", str(tmp_path / "a" / "photos"), *usual)[0] == 0
    code, _, said = cli("ablate", "init", str(tmp_path / "b" / "photos"), *usual)
    assert code == 2
    assert "has the results of another plan (other images)" in said


def test_methods_are_compared_on_one_network(cli: Cli, tmp_path: Path) -> None:
    arguments = ("--arch", "mlp", "--methods", "random,dsa", "--out", str(tmp_path))
    assert {cell["network"] for cell in cells(*cli("ablate", "ipc", *SMALL, *arguments))} == {"mlp"}


def test_a_cell_that_fails_does_not_stop_the_others(program: Program, tmp_path: Path) -> None:
    request = Request.of("digits", 1, arch="mlp", iterations=2)
    job = prepare(replace(request, strategy=Strategy())).within(STUDIES)
    folder = run_folder(registry.Store(), job.recipe)
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"):
        done = program("ablate", "strategies", *SMALLER, "--kinds", "crop", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "none: Another process is making" in done.stderr
    assert "1 of 2 cells failed (see above); results that depend on them are missing." in done.stderr
    assert [cell["strategy"] for cell in json.loads(done.stdout)["cells"]] == ["crop"]
    again = program("ablate", "strategies", *SMALLER, "--kinds", "crop", "--out", str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert len(json.loads((tmp_path / "strategies.json").read_text())["cells"]) == 2


def test_the_way_is_watched_and_kept() -> None:
    request = Request.of("digits", 1, iterations=4, init="noise", precision="float32")
    job, seen = watch_condensing(request, session())
    assert list(seen) == milestones(4) == [0, 1, 2, 3, 4]
    straight = {state.iteration: state.images_KICHW for state in condense(job.dataset, job.recipe)}
    assert torch.equal(seen[0], initial(job.dataset, job.recipe).images_KICHW)
    for iteration, images in straight.items():
        assert (seen[iteration] - images).norm() < 0.01 * (images - seen[0]).norm()
    stored = dsactl.load("studies/digits-dsa-convnet-ipc1")
    assert torch.equal(seen[4].flatten(0, 1), stored.images)
    assert not torch.equal(seen[3], seen[4])
    again = watch_condensing(request, session())[1]
    assert all(torch.equal(seen[number], again[number]) for number in seen)
    unwatched = Request.of("digits", 1, iterations=3)
    digest = execute(prepare(unwatched), session()).stored.digest
    _, late = watch_condensing(unwatched, session())
    assert list(late) == [0, 1, 2, 3]
    assert execute(prepare(unwatched), session()).stored.digest == digest, "watching changes nothing"


def test_a_run_that_was_begun_unwatched_is_watched_from_the_start() -> None:
    store, request = registry.Store(), Request.of("digits", 1, iterations=6)

    def stop(done: float, _total: float, _doing: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(prepare(request), session(progress=Told(stop)))
    assert steps_done(store, prepare(request)) == 3
    told = Told()
    _, seen = watch_condensing(request, session(progress=told))
    assert list(seen) == milestones(6)
    assert min(done for done, *_ in told.updates) <= 1, "begun again"
    assert steps_done(store, prepare(request)) == math.inf


def test_pictures_of_the_way_have_a_frame_for_each_number(tmp_path: Path) -> None:
    real = small_dataset()
    seen = {number: torch.full((3, 1, 1, 8, 8), float(number)) for number in (0, 1, 5)}
    (tmp_path / "a.webp").write_bytes(animation(seen, real))
    with Image.open(tmp_path / "a.webp") as moving:
        assert moving.n_frames == 3  # type: ignore[attr-defined]
        frames = []
        for index in range(3):
            moving.seek(index)
            frames.append(np.asarray(moving.convert("RGB")).astype(int))
    assert (frames[1] != frames[0]).any()
    (tmp_path / "s.png").write_bytes(strip(seen, real, [0, 2]))
    picture = np.asarray(Image.open(tmp_path / "s.png"))
    # Two rows and three columns of tiles; mean 0.5 and deviation 0.25: 0 is grey, 5 is white.
    assert picture[40, 76 + 20].tolist() == [128] * 3
    assert picture[40, 76 + 3 * 52 - 20].tolist() == [255] * 3
    assert (picture[14:62, :76] < 128).any(), "the class's name"
    assert milestones(1000)[0] == 0
    assert milestones(1000)[-1] == 1000
    assert len(milestones(1000)) <= 24


@pytest.mark.parametrize("strategy", ["none", "crop_rotate"])
def test_gradient_norms_against_a_plain_backward_pass(strategy: str) -> None:
    real = small_dataset()
    values = {"dataset": "small", "ipc": 2, "width": 8, "strategy": strategy, "iterations": 3, "inner_steps": 1}
    recipe = Request.parse(values).resolve(
        "small", real.train.checksum(), (1, 8, 8), mirrored=True, precision="float32"
    )
    images = initial(real, recipe).images_KICHW
    found = list(gradient_norms(real, recipe, images, 2, Progress()))
    assert [(each.network, each.step, each.label) for each in found] == [
        (network, 0, label) for network in range(2) for label in range(3)
    ]
    network = structure(recipe.network, 1, (8, 8), 3)
    state, _ = initial_state(network, generator(recipe.seed, "network", 3))
    module = network.to_empty(device="cpu")
    module.load_state_dict(state, strict=False)

    def norm(batch: torch.Tensor, label: int) -> float:
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(batch), torch.full((len(batch),), label)).backward()
        return float(sum(weight.grad.double().square().sum() for weight in module.parameters()) ** 0.5)  # type: ignore[union-attr]

    for label, each in enumerate(found[:3]):
        batch = real.draw(label, recipe.settings.batch_real, generator(recipe.seed, "real-batch", 3, 0, label))
        source = generator(recipe.seed, "transformation", 3, 0, label)
        one = draw(recipe.strategy, 1, real.size, source)
        pair = [augment(side, one) for side in (batch, images[label])]
        assert each.real == pytest.approx(norm(pair[0], label), rel=1e-4)
        assert each.synthetic == pytest.approx(norm(pair[1], label), rel=1e-4)
        assert abs(each.real - each.synthetic) > 0.001 * each.real, "which is which can be told"
