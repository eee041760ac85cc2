"""Accuracies beside those of baselines: only those that were measured in the same way."""

import numpy as np
import pytest
from samples import manifest, put, tensors

import registry
from dsactl.pages.accuracies import comparisons

USUAL = {"network": "convnet", "epochs": 1000, "augmentation": "dsa crop", "test_checksum": "a" * 64}


def record(accuracies: list[float], **changed: registry.JsonValue) -> dict[str, registry.JsonValue]:
    mean, std = float(np.mean(accuracies)), float(np.std(accuracies))
    return {**USUAL, "accuracies": list(accuracies), "mean": mean, "std": std, "n": len(accuracies), **changed}


def random_set(seed: int, checksum: str = "0" * 64, **changed: object) -> registry.StoredSet:
    """Random images of the images of `samples.manifest`, or of others."""
    arrays = tensors(seed)
    values = manifest(arrays).model_dump() | {"method": "random", "network": None, "seed": seed} | changed
    values["dataset"]["checksum"] = checksum
    return registry.Store().put(
        registry.parse_name(f"r-{seed}"), arrays, registry.Manifest.model_validate(values), None
    )


def rows(stored: registry.StoredSet, *records: dict[str, registry.JsonValue]) -> list[list[tuple[str, float, object]]]:
    found = comparisons([stored], [records], registry.Store())
    return [[(row.what, row.mean, row.n) for row in comparison.rows] for comparison in found]


def test_random_sets_are_pooled_and_others_do_not_count() -> None:
    store, stored = registry.Store(), put(registry.Store())
    for seed, accuracies in ((1, [10.0, 20.0]), (2, [30.0])):
        store.add_evaluation(random_set(seed).digest, record(accuracies))
    for changed in ({"epochs": 300}, {"network": "mlp"}, {"augmentation": "none"}, {"test_checksum": "b" * 64}):
        store.add_evaluation(random_set(1).digest, record([90.0, 90.0, 90.0], **changed))  # type: ignore[arg-type]
    store.add_evaluation(random_set(1).digest, record([90.0, 90.0], protocol={"lr": 0.5}))
    store.add_evaluation(random_set(3, checksum="1" * 64).digest, record([90.0]))
    store.add_evaluation(random_set(4).digest, {**USUAL, "mean": 90.0, "n": 2})  # without its accuracies
    own = (stored.reference, 50.0, 2)
    assert rows(stored, record([40.0, 60.0])) == [[own, ("random real images", 20.0, 3)]]
    (found,) = comparisons([stored], [[record([40.0, 60.0])]], store)
    assert found.rows[1].note == "2 sets"


def test_baselines_of_another_formation_or_network_are_rows_of_their_own() -> None:
    store, stored = registry.Store(), put(registry.Store())
    kinds: list[dict[str, object]] = [
        {},
        {"recipe": {"ipc": 2, "strategy": ["crop"], "formation": 2}},
        {"method": "herding", "network": "convnet"},
        {"method": "herding", "network": "mlp"},
    ]
    for seed, changed in enumerate(kinds, 1):
        store.add_evaluation(random_set(seed, **changed).digest, record([10.0 * seed]))
    ((_, *baselines),) = rows(stored, record([50.0]))
    assert sorted(baselines) == [
        ("herding, by convnet", 30.0, 1),
        ("herding, by mlp", 40.0, 1),
        ("random real images", 10.0, 1),
        ("random real images, formation 2", 20.0, 1),
    ]


@pytest.mark.parametrize(
    ("changed", "there"),
    [({}, True), ({"network": "mlp"}, False), ({"protocol": {"name": "idc", "batch": 64}}, False)],
)
def test_the_paper_s_whole_split_stands_beside_what_was_trained_like_it(
    changed: dict[str, registry.JsonValue], there: bool
) -> None:
    """It is of ConvNet, by the paper's protocol; other papers' figures and those of other networks are not."""
    arrays = tensors()
    values = manifest(arrays).model_dump()
    values["dataset"]["name"] = "mnist"
    stored = registry.Store().put(registry.parse_name("x"), arrays, registry.Manifest.model_validate(values), None)
    ((own, paper, *more),) = rows(stored, record([50.0], paper=[88.7, 0.6], **changed))
    assert (own[1], paper[1]) == (50.0, 88.7)
    assert [row[0] for row in more] == (["the paper: the whole training split"] if there else [])


def test_of_several_results_of_a_set_the_one_with_the_most_networks_counts() -> None:
    stored = put(registry.Store())
    ((row,),) = rows(stored, record([40.0, 60.0, 50.0, 50.0]), record([10.0]))
    assert row == (stored.reference, 50.0, 4)


def test_the_whole_split_has_epochs_of_its_own() -> None:
    store, stored = registry.Store(), put(registry.Store())
    store.add_evaluation(stored.manifest.dataset.checksum, record([99.0], epochs=43))
    store.add_evaluation(stored.manifest.dataset.checksum, record([1.0], epochs=43, network="mlp"))
    ((_, whole),) = rows(stored, record([40.0, 60.0]))
    assert whole == ("the whole training split", 99.0, 1)


def test_every_way_is_a_table_the_usual_one_first() -> None:
    stored = put(registry.Store())
    records = [record([30.0], epochs=5), record([40.0, 60.0]), record([35.0], test_checksum="b" * 64)]
    records.append(record([20.0], protocol={"lr": 0.5, "batch": 256}))
    found = comparisons([stored], [records], registry.Store())
    assert found[0].way == "convnet, 1000 epochs, augmentation dsa crop, test images aaaaaaaa"
    assert {each.way for each in found[1:]} == {
        "convnet, 5 epochs, augmentation dsa crop, test images aaaaaaaa",
        "convnet, 1000 epochs, augmentation dsa crop, test images bbbbbbbb",
        "convnet, 1000 epochs, augmentation dsa crop, lr 0.5, test images aaaaaaaa",
    }
    assert {(each.low, each.high) for each in found} == {(15.0, 65.0)}, "all plots have the same axis"
    (row,) = found[0].rows
    mark = found[0].mark(row)
    assert mark.left < mark.middle < mark.right
    assert mark.middle == pytest.approx(10 + 280 * (50 - 15) / 50)


def test_sets_of_other_datasets_are_tables_of_their_own_with_the_whole_split_of_theirs() -> None:
    store, sets = registry.Store(), []
    for seed, name in enumerate(("mnist", "cifar10", "mnist")):
        arrays = tensors(seed)
        values = manifest(arrays).model_dump()
        values["dataset"] |= {"name": name, "checksum": str(seed % 2) * 64}
        reference = registry.parse_name(f"set-{seed}")
        sets.append(store.put(reference, arrays, registry.Manifest.model_validate(values), None))
    old = {name: value for name, value in record([50.0], paper=[1.0, 2.0]).items() if name != "test_checksum"}
    found = comparisons(sets, [[old], [old], [old]], store)
    assert [each.way.partition(",")[0] for each in found] == ["mnist", "cifar10"]
    assert [[row.what for row in each.rows if row.kind == "set"] for each in found] == [
        ["set-0:1", "set-2:1"],
        ["set-1:1"],
    ]
    assert [each.rows[-1].mean for each in found] == [99.6, 84.8], "those of Table 1"


def test_records_with_less_than_usual_do_no_harm() -> None:
    stored = put(registry.Store())
    found = comparisons([stored], [[{}, {"mean": 5.0}, {"mean": 7.0, "paper": [1.0, 2.0]}]], registry.Store())
    (comparison,) = found
    assert comparison.way == "?, ? epochs, augmentation ?"
    assert [(row.what, row.words) for row in comparison.rows] == [
        (stored.reference, "7.0"),
        ("the paper: dsa, 2 per class", "1.0 ± 2.0"),
    ]
    assert comparisons([stored], [[]], registry.Store()) == []
