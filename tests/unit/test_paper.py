import json

import pytest
from conftest import SHARED

from dsactl.paper import ACCURACY, TRANSFER, TRANSFER_TESTED_ON, paper_accuracy


def test_cells_are_found_only_where_the_paper_has_them() -> None:
    assert paper_accuracy("mnist", 1, "dsa", "convnet", "convnet") == (88.7, 0.6)
    assert paper_accuracy("mnist", 1, "random", None, "convnet") == (64.9, 3.5)
    assert paper_accuracy("mnist", 1, "dsa", "convnet", "resnet18") == (89.3, 0.8)
    assert paper_accuracy("mnist", 1, "dc", "convnet", "resnet18") is None
    assert paper_accuracy("mnist", 10, "dsa", "convnet", "resnet18") is None
    assert paper_accuracy("mnist", 1, "dsa", "convnet-depth2", "convnet") is None
    assert paper_accuracy("mnist", 2, "dsa", "convnet", "convnet") is None
    assert paper_accuracy("digits", 1, "dsa", "convnet", "convnet") is None


def test_figures_are_those_of_the_tables() -> None:
    tables = SHARED / "paper" / "tables.json"
    if not tables.is_file():
        pytest.skip(f"the paper's tables are not here ({tables})")
    published = json.loads(tables.read_text())
    rows, transfer = published["accuracy"]["rows"], published["transfer"]
    assert tuple(transfer["columns"]) == TRANSFER_TESTED_ON
    assert {row: [list(figure) for figure in figures] for row, figures in TRANSFER.items()} == transfer["rows"]
    assert {(row["dataset"], row["ipc"]) for row in rows} == set(ACCURACY)
    for row in rows:
        for method, figure in ACCURACY[row["dataset"], row["ipc"]].items():
            assert tuple(row[method]) == figure
