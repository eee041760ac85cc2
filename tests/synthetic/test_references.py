"""Files of torch.save whose references amount to much more than what they have in them."""

from pathlib import Path
from typing import Any

import peak
import pytest
import torch
from pt_samples import FORMATS, IMAGES, LABELS, authors, save

import registry
from dsactl.errors import DataError
from dsactl.synthetic.importing import sets
from dsactl.synthetic.importing.layouts import MAX_EXPERIMENTS, experiments
from dsactl.synthetic.importing.source import Source
from dsactl.synthetic.importing.torch_files import load

IMAGE = torch.zeros(1, 32, 32)
LEVELS = torch.zeros(1600, 1, 8, 8, dtype=torch.uint8)
CLASSES = torch.arange(1600) % 10


@FORMATS
@pytest.mark.parametrize(
    "content",
    [
        [(IMAGE, 0)] * 5000,
        [[IMAGE] * 5000, LABELS],
        [[[IMAGE] * 100, LABELS]] * 50,
        {"data": [[LEVELS, CLASSES]] * 50},
        {"data": [[LEVELS.numpy(), CLASSES.numpy()]] * 50},
        [[LEVELS.view(LEVELS.shape), CLASSES] for _ in range(50)],
        [[[]] * 1000] * 1000,
    ],
    ids=["samples", "images", "lists", "pairs", "arrays", "views", "nothing"],
)
def test_the_same_many_times_is_refused(tmp_path: Path, content: Any, new: bool) -> None:
    path = save(content, tmp_path / "f.pt", new)
    with pytest.raises(DataError, match="is not read: it has the same tensors or lists many times"):
        load(path)


@FORMATS
def test_a_few_references_are_not_many(tmp_path: Path, new: bool) -> None:
    large, count = torch.rand(700, 3, 32, 32), 7
    pairs = [[large[100 * index :][:100], CLASSES[:100]] for index in range(count)]
    found = experiments(load(save({"data": pairs, "best": pairs[0]}, tmp_path / "f.pt", new)), "f")
    assert [torch.equal(each.images, images) for each, (images, _) in zip(found, pairs, strict=True)] == [True] * count
    parts = [(image, 0) for image in large]
    assert torch.equal(experiments(load(save(parts, tmp_path / "f.pt", new)), "f")[0].images, large)


def test_too_many_experiments(tmp_path: Path) -> None:
    path = save([[IMAGES, LABELS]] * (MAX_EXPERIMENTS + 1), tmp_path / "f.pt")
    with pytest.raises(DataError, match=r"has 1,001 experiments; the limit is 1,000"):
        experiments(load(path), "f")


def test_a_dict_in_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["data"] = content
    with pytest.raises(DataError, match="has a dict of data; expected images and labels"):
        experiments(load(save(content, tmp_path / "f.pt")), "f")
    (found,) = experiments(load(save({"data": {"images": IMAGES, "labels": LABELS}}, tmp_path / "f.pt")), "f")
    assert torch.equal(found.images, IMAGES)


def test_more_floats_than_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MAX_BYTES", 4 * IMAGES.numel())
    store, path = registry.Store(), save(authors(), tmp_path / "f.pt")
    with pytest.raises(DataError, match=r"have more than 96 bytes as floats.*such as `experiment=0`"):
        sets.import_sets(path, Source("digits"), store)
    with pytest.raises(DataError, match="those of the dataset 1×8×8"):
        sets.import_sets(path, Source("digits", experiment=0), store)


_IMPORT = """
import registry
from dsactl.errors import DataError
from dsactl.synthetic.importing.sets import Source, import_sets

def refused(path):
    try:
        import_sets(Path(path), Source("digits", name="x"), registry.Store())
    except DataError as error:
        return "many times" in str(error)
    return False

import_sets(Path(sys.argv[1]), Source("digits", name="x"), registry.Store())
outcome = []
print(peak(lambda: outcome.append(refused(sys.argv[2]))))
assert outcome == [True]
"""


@peak.needs_proc
def test_what_the_same_many_times_takes(tmp_path: Path) -> None:
    """As floats, the images of the experiments would be 400 MB."""
    honest = save([LEVELS[:10] + CLASSES[:10, None, None, None].byte(), CLASSES[:10]], tmp_path / "honest.pt")
    hostile = save({"data": [[LEVELS, CLASSES]] * MAX_EXPERIMENTS}, tmp_path / "hostile.pt")
    assert int(peak.run(_IMPORT, honest, hostile)) < 32 * 2**20
