"""dsactl evaluate --against"""

import json
from collections.abc import Callable

import pytest

import dsactl

Answer = tuple[int, str, str]
FAST = ("--networks", "2", "--epochs", "3", "--arch", "mlp")
NAME = "digits-dsa-mlp-ipc1"


@pytest.fixture(autouse=True)
def _one_set() -> None:
    dsactl.condense("digits", ipc=1, arch="mlp", iterations=1)


def test_the_table_and_the_scores(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsactl.synthetic.full_data.STEPS", 5)
    code, out, err = cli("evaluate", NAME, "--against", *FAST)
    assert code == 0, err
    head, *rows, score = out.splitlines()
    assert " ".join(head.split()) == "group per class trained on bytes labels accuracy % n sets gain"
    assert [row.split("  ")[0] for row in rows] == [
        "the set",
        "random real images, as many",
        "random real images, as many bytes",
    ]
    assert rows[2].split()[6:10] == ["4", "40", "2.6", "kB"]
    assert score.startswith("IOR")
    assert "dsactl evaluate --method whole digits --networks 2 --arch mlp" in err
    assert "Result stored." in err
    code, out, err = cli("evaluate", "--method", "whole", "digits", *FAST[:2], "--arch", "mlp", "--seed", "1", "-q")
    assert (code, err) == (0, "")
    _, out, err = cli("evaluate", NAME, "--against", *FAST, "--seed", "1")
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["IOR", "HLR", "LRS"]
    assert "--method whole" not in err
    _, _, err = cli("evaluate", NAME, "--against", *FAST, "--seed", "1")
    assert "Cached result" in err


def test_json_is_the_record_of_the_set_with_groups_and_scores(cli: Callable[..., Answer]) -> None:
    value = json.loads(cli("evaluate", NAME, "--against", *FAST, "--json")[1])
    record = json.loads(cli("evaluate", NAME, *FAST, "--json")[1])
    assert {name: value[name] for name in record} == record
    assert [group["name"] for group in value["groups"]] == ["set", "random", "random bytes"]
    assert "gain" not in value["groups"][0]
    assert value["groups"][1]["gain"] == pytest.approx(100 * value["ior"])
    assert (value["hlr"], value["lrs"]) == (None, None)
    quiet = cli("evaluate", NAME, "--against", *FAST, "-q")
    assert quiet[1].split() == [each for group in value["groups"] for each in group["references"]]
    assert not quiet[2]


def test_references_are_identifiers_and_remarks_are_commands(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsactl.synthetic.full_data.STEPS", 5)
    dsactl.experts("digits", networks=1, epochs=1, batch=512, network=dsactl.NetworkSpec(width=8))
    soft = dsactl.relabel(NAME).reference
    remarks = json.loads(cli("evaluate", soft, "--against", *FAST, "--json")[1])["remarks"]
    assert remarks[-1].endswith(": dsactl evaluate --method whole digits --networks 2 --arch mlp")
    assert cli("evaluate", "--method", "whole", "digits", "--networks", "2", "--arch", "mlp")[0] == 0
    groups = {
        group["name"]: group for group in json.loads(cli("evaluate", soft, "--against", *FAST, "--json")[1])["groups"]
    }
    assert groups["hard"]["references"] == groups["whole"]["references"] == []
    assert groups["hard"]["digests"] == [dsactl.load(NAME).digest]
    quiet = cli("evaluate", soft, "--against", *FAST, "-q")[1].splitlines()
    assert quiet[0] == soft
    assert all(dsactl.load(each).reference == each for each in quiet)


def test_a_whole_dataset_is_refused(refused: Callable[..., str]) -> None:
    said = refused("evaluate", "--method", "whole", "digits", "--against")
    assert "--against compares a set, not a whole dataset." in said
