"""What two stored sets differ in. All tests together take a second."""

import dataclasses
from typing import Any

import pytest

import registry
from dsactl.evaluation.differences import differing, facts_of, in_rows
from dsactl.synthetic import bundled

DSA, DANCE = "bundled/mnist-dsa-convnet-ipc1:1", "bundled/cifar10-dance-convnet-ipc1-formation2"


@pytest.fixture
def found() -> dict[str, list[Any]]:
    """The differences of a set of DSA and one of DANCE."""
    store = registry.Store()
    sets = [bundled.find(reference, store)[1] for reference in (DSA, DANCE)]
    return differing([facts_of(each, bundled.evaluations(each, store)) for each in sets])


def test_each_setting_is_a_row_and_none_comes_twice(found: dict[str, list[Any]]) -> None:
    assert found["recipe: calibration"] == [None, 1.0], "a setting of a method alone"
    assert found["recipe: image_shape"] == [[1, 28, 28], [3, 32, 32]]
    rows = dict(in_rows(found))
    assert rows["recipe: calibration"] == ["–", "1.0"]
    assert rows["images"] == ["10×1×28×28", "10×3×32×32"]
    again = {"recipe: method", "recipe: dataset", "recipe: checksum", "recipe: image_shape", "recipe: experts"}
    assert again < found.keys()
    assert not again & rows.keys()


def test_rows_of_a_kind_stand_together(found: dict[str, list[Any]]) -> None:
    groups = [name.split(":")[0].split(" %")[0] for name, _ in in_rows(found)]
    assert list(dict.fromkeys(groups)) == [
        *("digest", "method", "dataset", "images", "recipe", "made", "file size", "accuracy")
    ]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)


def test_times_and_digests_are_short(found: dict[str, list[Any]]) -> None:
    rows = dict(in_rows(found))
    assert rows["digest"][0] == "3396a42be365…"
    assert rows["made: time"] == ["17 min 39 s", "18 min 15 s"]
    assert rows["made: created"][0] == "2026-11-24 03:40"
    assert rows["made: experts"][1] == "cifar10-experts-convnet:1 @sha256:d0d884875f6b…"


def test_a_manifest_of_someone_else_may_have_any_values() -> None:
    stored = bundled.find(DSA, registry.Store())[1]
    strange = {"options": 3, "checksum": 4, "experts": ["a"]}
    manifest = stored.manifest.model_copy(update={"recipe": strange, "provenance": {"seconds": "?", "created": 5}})
    other = dataclasses.replace(stored, manifest=manifest)
    rows = dict(in_rows(differing([facts_of(stored, []), facts_of(other, [])])))
    assert rows["recipe: options"][1] == "3"
    assert rows["recipe: checksum"] == ["7da2637b2064…", "4"]
    assert rows["made: time"] == ["17 min 39 s", "?"]
