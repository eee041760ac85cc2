"""What a set gains over random real images: each group as if it were evaluated by hand, bytes, scores, refusals."""

import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference import write_folder
from sessions import Stopping, session

import dsactl
import registry
from dsactl.cli.flags import translate
from dsactl.engine.device import resolve_precision
from dsactl.errors import DataError, UnknownNameError, UsageError
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs.job import prepare
from dsactl.runs.run import execute
from dsactl.studies.comparison import Comparison, Group, label_robust_score, shares
from dsactl.synthetic.importing.sets import import_sets
from dsactl.synthetic.importing.source import Source
from dsactl.synthetic.protocols_of_sets import protocol_for
from dsactl.training.protocols import NamedProtocol

MLP = dsactl.NetworkSpec("mlp")
FAST: dict[str, Any] = {"networks": 2, "epochs": 3, "network": MLP}
DSA: dict[str, Any] = {"method": "dsa", "arch": "mlp", "iterations": 1}
"""A set of float32 images, which 8 bits would change."""


def pool(**options: Any) -> dsactl.ExpertPool:
    """A pool of two tiny networks."""
    network = dsactl.NetworkSpec(width=8)
    return dsactl.experts("digits", **{"networks": 2, "epochs": 1, "batch": 512, "network": network, **options})


def draws(ipc: int, count: int = 2, **options: Any) -> list[dsactl.SyntheticSet]:
    """Random sets by hand, with the seeds of several sets."""
    job = prepare(Request.parse({"dataset": "digits", "ipc": ipc, "method": "random", **options}), "cpu")
    stored = [execute(job.with_seed(index), session()).stored for index in range(count)]
    return [dsactl.load(each.reference) for each in stored]


def by_hand(sets: list[dsactl.SyntheticSet], networks: int = 1, **options: Any) -> tuple[float, ...]:
    """Accuracies of some networks on each set, set by set."""
    how = {**FAST, **options, "networks": networks}
    return tuple(accuracy for each in sets for accuracy in dsactl.evaluate(each, **how).accuracies)


def names(found: Comparison) -> list[str]:
    return [group.name for group in found.groups]


def test_each_group_is_what_evaluating_it_by_hand_gives() -> None:
    condensed = dsactl.condense("digits", ipc=2, formation=2, method="herding", width=8, epochs=1)
    by_us = [by_hand([condensed], 2), by_hand(draws(2, formation=2)), by_hand(draws(8))]
    found = dsactl.compare_with_random(condensed, **FAST)
    assert names(found) == ["set", "random", "random bytes"]
    assert [group.accuracies for group in found.groups] == by_us
    assert [(group.ipc, group.trained_on, group.soft) for group in found.groups] == [
        (2, 80, False),
        (2, 80, False),
        (8, 80, False),
    ]
    assert [group.stored_bytes for group in found.groups] == [20 * 64 * 4, 20 * 64 * 4, 80 * 64]
    assert all(each.startswith("studies/digits-random-ipc") for each in found.group("random bytes").references)


def test_random_images_have_the_soft_labels_of_the_same_teacher() -> None:
    experts, source = pool(), dsactl.condense("digits", ipc=1, **DSA)
    pool(seed=1)  # a newer one
    how: dict[str, Any] = {"experts": experts, "teacher": "mean", "epoch": 0, "temperature": 2.0}
    soft = dsactl.relabel(source, **how)
    found = dsactl.compare_with_random(soft, **FAST)
    assert names(found) == ["set", "random", "random bytes", "random soft", "random bytes soft", "hard"]
    # 64 numbers and 10 soft labels of 4 bytes each are 296 bytes: 4 real images of 64, or 2 with soft labels of 40.
    assert [group.ipc for group in found.groups] == [1, 1, 4, 1, 2, 1]
    assert [group.stored_bytes for group in found.groups] == [2960, 640, 2560, 1040, 2080, 2560]
    assert [group.soft for group in found.groups] == [True, False, False, True, True, False]
    by_us = {
        "random soft": by_hand([dsactl.relabel(each, **how) for each in draws(1)]),
        "random bytes soft": by_hand([dsactl.relabel(each, **how) for each in draws(2)]),
        "hard": by_hand([source], 2),
    }
    assert {name: found.group(name).accuracies for name in by_us} == by_us
    assert found.group("hard").digests == (source.digest,)


def test_a_set_with_soft_labels_of_its_own_is_compared_with_those_of_the_newest_pool() -> None:
    learned = dsactl.condense("digits", ipc=1, method="ld", iterations=1, width=8)
    without = dsactl.compare_with_random(learned, **FAST)
    assert names(without) == ["set", "random", "hard"]
    assert "no pool of experts that fits" in without.remarks[0]
    assert translate(without.remarks[0]).endswith("dsactl experts digits")
    pool()
    newest = pool(seed=1)
    found = dsactl.compare_with_random(learned, **FAST)
    # 8-bit images, of which as many have the bytes of the set with soft labels
    assert names(found) == ["set", "random", "random soft", "hard"]
    soft = [dsactl.relabel(each, experts=newest) for each in draws(1)]
    assert found.group("random soft").accuracies == by_hand(soft)
    assert (
        f"{newest.reference}, chosen from 2 pools that fit (2 networks, 1 epoch, convnet-width8)." in (found.remarks[0])
    )
    assert found.group("hard").digests != found.group("set").digests


def test_a_teacher_that_is_gone_leaves_out_its_rows() -> None:
    soft = dsactl.relabel(dsactl.condense("digits", ipc=1, **DSA), experts=pool())
    store = registry.Store()
    (known,) = store.pools()
    store.remove([(known.name, known.version)])
    found = dsactl.compare_with_random(soft, **FAST)
    assert names(found) == ["set", "random", "random bytes", "hard"]
    assert f"({known.reference} @sha256:{known.digest}) is not in the store" in found.remarks[0]


def test_groups_that_would_be_the_same_are_left_out() -> None:
    found = dsactl.compare_with_random(dsactl.condense("digits", ipc=2, method="random"), **FAST)
    assert names(found) == ["set", "random"], "8-bit images, as many of which have as many bytes"
    assert found.group("set").digests[0] not in found.group("random").digests, "other draws than the set"
    assert len(set(found.group("random").digests)) == 2


@pytest.mark.parametrize(
    ("made", "options"),
    [
        ({"method": "dsa", "strategy": "color_crop"}, {}),
        ({"method": "dsa", "strategy": "crop_cutout"}, {"name": "idc"}),
        ({"method": "dc"}, {}),
        ({"method": "dsa"}, {"strategy": "none", "lr": 0.1, "seed": 3}),
    ],
)
def test_all_groups_have_the_protocol_of_the_set(made: dict[str, Any], options: dict[str, Any]) -> None:
    condensed = dsactl.condense("digits", ipc=1, **{**DSA, **made})
    how = {**FAST, "network": None, "epochs": 1, **options}
    found = dsactl.compare_with_random(condensed, **how)
    records = [registry.Store().evaluations(digest)[0] for group in found.groups for digest in group.digests]
    assert len(records) == 5
    for name in ("network", "epochs", "augmentation", "protocol"):
        assert len({str(record[name]) for record in records}) == 1, name
    assert records[0]["network"] == "mlp"


def test_all_groups_have_what_the_protocol_is_for_the_set_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def excepted(recipe: Recipe, name: str | None) -> NamedProtocol:
        named = protocol_for(recipe, name)
        return replace(named, cutmix=0.0, without=()) if (recipe.ipc, recipe.formation) == (1, 2) else named

    monkeypatch.setattr("dsactl.evaluation.protocol.protocol_for", excepted)
    condensed = dsactl.condense("digits", ipc=1, formation=2, **DSA)
    found = dsactl.compare_with_random(condensed, name="idc", **FAST)
    records = [registry.Store().evaluations(digest)[0] for group in found.groups for digest in group.digests]
    assert {record["augmentation"] for record in records} == {"idc color crop cutout scale rotate"}
    assert all("cutmix" not in record["protocol"] for record in records)
    assert len(records) == 5, "images without formation among them"


def test_networks_are_divided_among_at_most_five_sets() -> None:
    assert shares(1, 5) == [1]
    assert shares(4, 5) == [1, 1, 1, 1]
    assert shares(7, 5) == [2, 2, 1, 1, 1]
    assert shares(20, 5) == [4, 4, 4, 4, 4]
    condensed = dsactl.condense("digits", ipc=1, method="random", seed=9)
    group = dsactl.compare_with_random(condensed, **{**FAST, "networks": 7, "epochs": 1}).group("random")
    assert (group.n, len(group.references)) == (7, 5)
    sets = draws(1, 5)
    assert group.accuracies == by_hand(sets[:2], 2, epochs=1) + by_hand(sets[2:], 1, epochs=1)


def test_images_of_as_many_bytes_are_at_most_those_of_the_smallest_class(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", per_class=10)
    (folder / "dark" / "0.png").unlink()
    condensed = dsactl.condense(folder, ipc=3, **DSA)
    found = dsactl.compare_with_random(condensed, **FAST)
    counts = dsactl.load_dataset(str(folder)).train.counts
    fewest = min(counts)
    assert fewest < 12
    assert found.group("random bytes").ipc == fewest
    assert f"12 random images of each class would have as many bytes as the set; class 'dark' has {fewest}." in (
        found.remarks
    )


def test_short_classes_are_drawn_as_the_set_has_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", per_class=10)
    (folder / "dark" / "0.png").unlink()
    condensed = dsactl.condense(folder, ipc=20, method="herding", width=8, epochs=1, short_classes="all")
    found = dsactl.compare_with_random(condensed, **FAST)
    assert found.group("random").trained_on == found.group("set").trained_on == len(condensed)


def test_the_same_again_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = dsactl.relabel(dsactl.condense("digits", ipc=1, **DSA), experts=pool())
    first = dsactl.compare_with_random(soft, **FAST)

    def train(*_: object) -> None:
        raise AssertionError("networks are trained")

    monkeypatch.setattr("dsactl.evaluation.evaluate.train_and_test", train)
    again = dsactl.compare_with_random(soft.reference, **FAST)
    assert (first.repeated, again.repeated) == (False, True)
    assert again.groups == first.groups
    assert again.to_dict() == first.to_dict()
    with pytest.raises(AssertionError, match="networks are trained"):
        dsactl.compare_with_random(soft, fresh=True, **FAST)


def test_an_interrupted_comparison_keeps_finished_groups() -> None:
    condensed = dsactl.condense("digits", ipc=1, **DSA)
    with pytest.raises(KeyboardInterrupt) as stop:
        dsactl.compare_with_random(condensed, progress=Stopping(3), **FAST)
    assert stop.value.__notes__[-1].startswith(
        "Interrupted; 1 of 3 groups are finished, and all finished work is kept."
    )
    assert len(registry.Store().evaluations(condensed.digest)) == 1


def test_the_whole_is_a_group_once_it_is_measured(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsactl.synthetic.full_data.STEPS", 5)
    folder = write_folder(tmp_path / "my photos", per_class=10)
    condensed = dsactl.condense(folder, ipc=1, **{**DSA, "strategy": "crop"}, image_size=8, test_fraction=0.3)
    how = {**FAST, "network": dsactl.NetworkSpec(width=4, norm="none"), "name": "idc", "seed": 2}
    without = dsactl.compare_with_random(condensed, **how)
    assert (without.find("whole"), without.hlr, without.lrs) == (None, None, None)
    dsactl.evaluate_whole(folder, networks=1, epochs=1, test_fraction=0.3)  # by another protocol
    call = without.remarks[-1].rpartition(": ")[2]
    command = translate(call)
    assert command.startswith("dsactl evaluate --method whole ")
    assert cli(*shlex.split(command)[1:])[0] == 0
    found = dsactl.compare_with_random(condensed, **how)
    whole = found.group("whole")
    assert whole.n == 2
    assert (whole.ipc, whole.trained_on, whole.stored_bytes) == (7, 14, 14 * 64)
    assert found.hlr == (whole.mean - found.group("set").mean) / 100
    assert found.ior is not None
    assert found.lrs == label_robust_score(found.ior, found.hlr)
    assert found.remarks == without.remarks[:-1]


def test_the_whole_may_be_measured_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsactl.synthetic.full_data.STEPS", 5)
    condensed = dsactl.condense("digits", ipc=1, **DSA)
    other = "float32" if resolve_precision("auto", torch.device("cpu")) == "bfloat16" else "bfloat16"
    how = {**FAST, "epochs": None}
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("dsactl.evaluation.resolve.describe", lambda *_: "another device")
        measured = dsactl.evaluate_whole("digits", precision=other, **how)
        dsactl.evaluate_whole("digits", seed=1, **{**how, "networks": 3})  # by another protocol
    evaluations = registry.Store().home / "runs" / "evaluations"
    for name, text in (("-first", "{"), ("-second", '{"networks": {"0": [1, 1]}, "created": "", "conditions": 1}')):
        (evaluations / f"{name}.json").write_text(text)
    found = dsactl.compare_with_random(condensed, **FAST)
    assert found.group("whole").accuracies == measured.accuracies
    assert found.remarks[-1] == "The whole training split was measured on another device: another device."
    usual = resolve_precision("auto", torch.device("cpu"))
    assert dsactl.compare_with_random(condensed, precision=usual, **FAST).find("whole") is None
    here = dsactl.evaluate_whole("digits", **{**how, "networks": 1})
    found = dsactl.compare_with_random(condensed, **FAST)
    assert found.group("whole").accuracies == here.accuracies, "this device's are preferred"
    assert not any("another device" in remark for remark in found.remarks)


def test_the_number_of_networks_is_said_before_they_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    condensed, said = dsactl.condense("digits", ipc=1, **DSA), list[str]()
    monkeypatch.setattr(Stopping, "remark", lambda _, text: said.append(text))
    with pytest.raises(KeyboardInterrupt):
        dsactl.compare_with_random(condensed, progress=Stopping(0), **FAST)
    assert "3 groups of 2 networks each: 6 in all, less those whose results are cached." in said[-1]


def comparison(evaluation: dsactl.Evaluation, **accuracies: tuple[float, ...]) -> Comparison:
    """Groups with these accuracies."""
    groups = [Group(name, 1, 1, 1, False, (name,), (name,), values, 0.0) for name, values in accuracies.items()]
    return Comparison(evaluation, tuple(groups), (), repeated=False)


def test_scores_by_hand() -> None:
    evaluation = dsactl.evaluate(dsactl.condense("digits", ipc=1, method="random"), **FAST)
    found = comparison(evaluation, set=(60.0, 64.0), random=(30.0, 36.0, 42.0), hard=(50.0, 54.0), whole=(92.0,))
    assert found.gain("random") == pytest.approx(26)
    # Sample variances 8 and 36: √(8/2 + 36/3) = 4
    assert found.standard_error("random") == pytest.approx(4)
    assert found.standard_error("whole") is None
    assert (found.ior, found.hlr) == (pytest.approx(0.26), pytest.approx(0.4))
    assert found.lrs == pytest.approx((math.exp(-0.07) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert found.lrs == pytest.approx(0.240178, abs=1e-6)
    hard = comparison(evaluation, set=(60.0, 64.0), random=(30.0,), whole=(92.0,))
    assert hard.hlr == pytest.approx(0.3), "the labels of the set are hard"
    known = {"set": (60.0, 64.0), "random": (30.0,), "random soft": (55.0,), "hard": (50.0,), "whole": (92.0,)}
    soft = comparison(evaluation, **known)
    soft = replace(soft, groups=(replace(soft.groups[0], soft=True), *soft.groups[1:]))
    assert (soft.ior, soft.hlr) == (pytest.approx(0.07), pytest.approx(0.42)), "random images have soft labels, too"
    untaught = replace(soft, groups=tuple(each for each in soft.groups if each.name != "random soft"))
    assert (untaught.ior, untaught.lrs) == (None, None)
    assert label_robust_score(1, -1) == pytest.approx(1)
    assert label_robust_score(-1, 1) == 0
    with pytest.raises(UnknownNameError, match="Unknown group 'hard'") as unknown:
        hard.group("hard")
    assert "Known: random, set, whole." in unknown.value.hint
    with pytest.raises(UnknownNameError, match="Unknown group 'randon'") as unknown:
        hard.gain("randon")
    assert "Did you mean 'random'?" in unknown.value.hint
    for meaningless in (hard.gain, hard.standard_error):
        with pytest.raises(UsageError, match="no gain over itself") as refused:
            meaningless("set")
        assert refused.value.hint == "Name another group: 'random', 'whole'."


def imported(tmp_path: Path, dataset: Path | str, labels: list[int]) -> dsactl.SyntheticSet:
    """A set of another program, of noise."""
    images = np.random.default_rng(0).normal(size=(len(labels), 1, 8, 8)).astype(np.float32)
    path = tmp_path / "set.npz"
    np.savez(path, images=images, labels=np.array(labels))
    (stored,) = import_sets(path, Source(dataset=str(dataset), name="other"), registry.Store())
    return dsactl.load(stored.reference)


def test_an_imported_set_of_a_folder_needs_the_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    there = imported(tmp_path, folder, [0, 1])
    with pytest.raises(DataError, match="this machine does not know where they are"):
        dsactl.compare_with_random(there, **FAST)
    found = dsactl.compare_with_random(there, data=folder, **FAST)
    assert names(found) == ["set", "random", "random bytes"]
    dsactl.compare_with_random(found.group("random").references[0], **FAST)  # knows the folder


def test_an_imported_set_may_have_more_images_than_a_class(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", per_class=5)
    there = imported(tmp_path, folder, [0] * 6 + [1] * 6)
    with pytest.raises(DataError, match="has 4 training images, fewer than the 6 of other:1") as refused:
        dsactl.compare_with_random(there, data=folder, **FAST)
    assert translate(refused.value.hint) == "Evaluate the set alone: dsactl evaluate other:1"


def test_an_imported_set_of_uneven_classes_is_remarked_on(tmp_path: Path) -> None:
    there = imported(tmp_path, "digits", [*range(10), 0])
    found = dsactl.compare_with_random(there, **FAST)
    assert found.remarks[0].startswith("other:1 does not have 2 images of every class")
    assert found.group("random").trained_on == 20


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    condensed = dsactl.condense(folder, ipc=1, **DSA)
    folder.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="which is not a folder any more"):
        dsactl.compare_with_random(condensed, **FAST)
    assert names(dsactl.compare_with_random(condensed, data=tmp_path / "moved", **FAST))[0] == "set"


def test_wrong_keywords() -> None:
    with pytest.raises(TypeError, match="Unknown keyword 'network_'"):
        dsactl.compare_with_random("x", network_=MLP)
    with pytest.raises(UsageError, match="Without `data`"):
        dsactl.compare_with_random("x", image_size=8)
    part = dsactl.condense("digits", ipc=1, method="random").part(torch.tensor([0]))
    with pytest.raises(registry.NotFoundError):
        dsactl.compare_with_random(part)
