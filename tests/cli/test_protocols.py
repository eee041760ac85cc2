"""Named protocols on the command line: evaluate, show, ls and diff."""

import json
from collections.abc import Callable

import pytest

import dsactl
import registry
from dsactl.evaluation.differences import facts_of

Answer = tuple[int, str, str]
FAST = ("--networks", "2", "--epochs", "3", "--arch", "mlp")


@pytest.fixture(autouse=True)
def _one_set() -> None:
    dsactl.condense("digits", ipc=1, method="random")


def test_a_set_is_evaluated_by_a_named_protocol_and_says_so(cli: Callable[..., Answer]) -> None:
    code, out, err = cli("evaluate", "--protocol", "idc", *FAST, "--json")
    assert code == 0, err
    assert {"name": "idc", "cutmix": 0.5, "batch": 64}.items() <= json.loads(out)["protocol"].items()
    _, _, err = cli("evaluate", "--protocol", "idc", *FAST)
    assert "3 epochs, augmentation idc color crop scale rotate, protocol idc, CutMix 0.5" in " ".join(err.split())
    assert "Cached result" in err
    code, out, _ = cli("evaluate", "--protocol", "mtt", "--lr", "0.5", *FAST, "--json")
    assert (code, json.loads(out)["protocol"]["lr"]) == (0, 0.5)


def test_lists_prefer_the_set_s_own_protocol_and_name_others(cli: Callable[..., Answer]) -> None:
    cli("evaluate", "--protocol", "mtt", "--lr", "0.5", *FAST)
    assert "mlp, 3 epochs, protocol mtt" in listed(cli)
    cli("evaluate", "--protocol", "idc", *FAST)
    assert "mlp, 3 epochs, protocol mtt" in listed(cli), "its augmentation is the set's own"
    cli("evaluate", "--strategy", "none", *FAST)
    cli("evaluate", *FAST)
    cli("evaluate", "--lr", "0.5", *FAST)
    assert "protocol" not in listed(cli)
    assert ", lr" not in listed(cli), "the learning rate of the protocol is preferred"
    assert "augmentation" not in listed(cli)
    shown = " ".join(cli("show", "digits-random-ipc1")[1].split())
    assert "dsa color crop cutout scale rotate, protocol mtt" in shown
    (stored,) = registry.Store().sets()
    facts = facts_of(stored, registry.Store().evaluations(stored.digest))
    assert len([fact for fact in facts if fact.startswith("accuracy")]) == 5, "of each protocol and learning rate one"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--protocol", "mtt"), "and digits-random-ipc1:1 has none"),
        (("--protocol", "mtt", "--method", "whole", "digits"), "and the whole of digits has none"),
        (("--arch", "convnet", "--depth", "9"), "8×8"),
    ],
)
def test_what_needs_no_dataset_is_refused_before_one_is_loaded(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a dataset is loaded")

    monkeypatch.setattr("dsactl.api.load_source", load)
    monkeypatch.setattr("dsactl.api.load_dataset", load)
    assert said in refused("evaluate", *words)


def listed(cli: Callable[..., Answer]) -> str:
    return " ".join(cli("ls")[1].split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--protocol", "idcs"), "Unknown protocol 'idcs'. Did you mean 'idc'"),
        (("--protocol", "mtt"), "digits-random-ipc1:1 has none. Use --lr 0.01 or another rate, or --protocol dsa."),
        (("--lr", "0"), "--lr must be above 0 and finite, not 0.0."),
    ],
)
def test_refusals(cli: Callable[..., Answer], options: tuple[str, str], said: str) -> None:
    code, _, err = cli("evaluate", *options)
    assert (code, said in " ".join(err.split())) == (2, True), err
    assert "Traceback" not in err
