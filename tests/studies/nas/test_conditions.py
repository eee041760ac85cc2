"""What results of an architecture search state of the training."""

import pytest

import dsactl
from dsactl.recipes import methods
from dsactl.recipes.methods import Method
from dsactl.studies.nas.proxies import Budget, Proxy
from dsactl.synthetic.synthetic_set import SyntheticSet


def conditions(synthetic: SyntheticSet, **options: int) -> dict[str, object]:
    digits, budget = dsactl.load_dataset("digits"), Budget(**options)
    proxy = Proxy("a set", synthetic, digits, budget.protocol(budget.epochs), len(synthetic))
    stated: dict[str, object] = proxy.conditions("cpu")["protocol"]
    return stated


def test_the_protocol_of_dsa_is_stated_as_ever_and_another_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dsactl.condense("digits", ipc=1, method="random")
    dsa = {"epochs": 300, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "batch": 256, "seed": 0}
    assert list(conditions(made).items()) == [*dsa.items(), ("precision", "float32")]
    assert conditions(made, batch=7)["batch"] == 7
    find = methods.find

    def of_idc(name: str) -> Method:
        return find(name) if name != "random" else Method("a method", protocol="idc")

    monkeypatch.setattr(methods, "find", of_idc)
    assert conditions(made) == {**dsa, "batch": 64, "precision": "float32", "name": "idc"}
