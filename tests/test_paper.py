import json

import pytest
from conftest import SHARED

from dsactl.paper import full_data_accuracy, paper_accuracy, tables


def test_cells_are_found_only_where_the_paper_has_them() -> None:
    assert paper_accuracy("mnist", 1, "dsa", "convnet", "convnet") == (88.7, 0.6)
    assert paper_accuracy("mnist", 1, "random", None, "convnet") == (64.9, 3.5)
    assert paper_accuracy("mnist", 1, "dsa", "convnet", "resnet18") == (89.3, 0.8)
    assert paper_accuracy("mnist", 1, "dc", "convnet", "resnet18") is None
    assert paper_accuracy("mnist", 10, "dsa", "convnet", "resnet18") is None
    assert paper_accuracy("mnist", 1, "dsa", "convnet-depth2", "convnet") is None
    assert paper_accuracy("mnist", 1, "dsa", "vgg11bn", "convnet") == (88.9, 0.7), "condensed with batch norm"
    assert paper_accuracy("mnist", 1, "dsa", "resnet18bn_ap", "resnet18") is not None
    assert paper_accuracy("mnist", 1, "dsa", "vgg11", "convnet") is None
    assert paper_accuracy("mnist", 2, "dsa", "convnet", "convnet") is None
    assert paper_accuracy("digits", 1, "dsa", "convnet", "convnet") is None
    assert paper_accuracy("mnist", 1, "herding", "convnet", "convnet") == (89.2, 1.6)
    assert paper_accuracy("mnist", 10, "dd", "lenet", "lenet") == (79.5, 8.1), "as its authors had it"
    assert paper_accuracy("mnist", 10, "dd", "convnet", "convnet") is None
    assert paper_accuracy("mnist", 1, "dd", "lenet", "lenet") is None
    assert full_data_accuracy("cifar10") == (84.8, 0.1)
    assert full_data_accuracy("digits") is None


def test_figures_are_those_of_the_tables() -> None:
    published = SHARED / "paper" / "tables.json"
    if not published.is_file():
        pytest.skip(f"the paper's tables are not here ({published})")
    assert tables() == json.loads(published.read_text())
