"""Which of a set's evaluations a list shows, and in what words."""

from typing import Any

from dsactl.evaluation.shown import best_of, training


def record(**values: Any) -> dict[str, Any]:
    sgd = {"batch": 256, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005, **values.pop("protocol", {})}
    usual = {"network": "convnet", "epochs": 1000, "n": 2, "mean": 50.0, "augmentation": "dsa crop", "created": "2026"}
    return {**usual, "own_augmentation": True, "protocol": sgd, **values}


def test_the_protocols_numbers_go_before_more_networks_and_later_ones() -> None:
    usual = record()
    for other in ({"lr": 0.05}, {"batch": 64}, {"momentum": 0.0}, {"weight_decay": 0.0}):
        unusual = record(protocol=other, n=20, created="2027")
        assert best_of([unusual, usual], "convnet") == usual
    more = record(n=20)
    assert best_of([usual, more], "convnet") == more


def test_numbers_that_are_not_the_protocols_are_said() -> None:
    idc = {"name": "idc", "batch": 64, "cutmix": 0.5}
    assert training(record()) == "dsa crop"
    assert training(record(protocol={"lr": 0.05, "weight_decay": 0.0})) == "dsa crop, lr 0.05, weight decay 0.0"
    assert training(record(protocol=idc)) == "dsa crop, protocol idc"
    assert training(record(protocol={**idc, "batch": 256})) == "dsa crop, protocol idc, batch 256"
    assert training(record(protocol={"name": "idc", "batch": 64})) == "dsa crop, protocol idc, without CutMix"
    assert training(record(protocol={"cutmix": 0.2})) == "dsa crop, CutMix 0.2"
    assert training(record(protocol={"name": "mtt", "lr": 0.02})) == "dsa crop, protocol mtt, lr 0.02"
    assert training({"augmentation": "dsa crop"}) == "dsa crop", "an old record"
