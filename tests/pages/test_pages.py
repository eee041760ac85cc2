"""What pages of sets, pools and registries say, in every state of a set."""

import base64
import hashlib
import html
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from html_checks import Parsed
from samples import manifest, put, tensors, write_idx
from sessions import Told, session

import dsactl
import registry
from dsactl.pages.neighbours import nearest
from dsactl.recipes.recipe import Request
from dsactl.studies.evolution import watch_condensing
from registry.tensors import describe

DM = {"method": "dm", "iterations": 3, "width": 8}


def parsed(*references: str, **how: object) -> Parsed:
    return Parsed(dsactl.page(*references, force=True, **how).path)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stored_with(name: str, arrays: dict[str, np.ndarray], **about: object) -> registry.StoredSet:
    """A set with other fields in its manifest."""
    values = manifest(tensors()).model_dump(mode="json") | about
    values["tensors"] = {each: info.model_dump() for each, info in describe(arrays).items()}
    made = registry.Manifest.model_validate(values)
    return registry.Store().put(registry.parse_name(name), arrays, made, None)


def test_a_set_that_was_evaluated() -> None:
    made = dsactl.condense("digits", ipc=1, **DM)  # type: ignore[arg-type]
    how = {"networks": 2, "epochs": 2, "network": dsactl.NetworkSpec("mlp")}
    ours = dsactl.evaluate(made, **how)  # type: ignore[arg-type]
    random = [dsactl.condense("digits", ipc=1, method="random", seed=seed) for seed in (0, 1)]
    theirs = [accuracy for each in random for accuracy in dsactl.evaluate(each, **how).accuracies]  # type: ignore[arg-type]
    dsactl.evaluate(dsactl.condense("digits", ipc=2, method="random"), **how)  # type: ignore[arg-type]
    whole = dsactl.evaluate_whole("digits", networks=1, epochs=1, network=dsactl.NetworkSpec("mlp"))
    found = parsed(made.reference)
    assert len(found.named("img")) == 10
    assert {each["alt"] for each in found.named("img")} >= {"The image of class 0", "The image of class 9"}
    assert "10 images of 10 classes, made from 1,437 training images of digits by dm" in found.text
    assert ["iterations", "3", "Number of iterations, each with a new network."] in found.rows
    own, drawn, all_of_it = (row[:3] for row in found.rows[1:4])
    assert own == [made.reference, f"{ours.mean:.1f} ± {ours.std:.1f}", "2"]
    assert drawn == ["random real images 2 sets", f"{np.mean(theirs):.1f} ± {np.std(theirs):.1f}", "4"]
    assert all_of_it == ["the whole training split 1 epoch", f"{whole.mean:.1f}", "1"]
    assert "mlp, 2 epochs, augmentation dsa" in found.text
    assert f'condensed = dsactl.load("{made.reference}")' in found.text
    assert f"@sha256:{made.digest}" in found.text
    assert "640 numbers, 2.6 kB as float32, 10 images to train on" in found.text
    charts = [str(each["aria-label"]) for each in found.named("svg") if each.get("role") == "img"]
    starts = [f"{figure} by step. {made.reference}: " for figure in ("loss", "image norm", "gradient norm")]
    assert [label[: len(start)] for label, start in zip(charts, starts, strict=True)] == starts
    assert all("at step 3" in label for label in charts)
    assert "Soft labels" not in found.text
    assert "On the way" not in found.text


def test_a_set_without_evaluations_and_without_its_run(tmp_path: Path) -> None:
    made = dsactl.condense("digits", ipc=1, **DM)  # type: ignore[arg-type]
    assert "The run" in parsed(made.reference).text
    for path in (tmp_path / "home" / "runs").rglob("events.jsonl"):
        path.write_text("damaged\n[]\n" + '{"step": "x", "loss": 1}\n' + '{"step": 1}\n')
    assert "The run" not in parsed(made.reference).text, "there are no figures"
    for path in (tmp_path / "home" / "runs").rglob("finished.json"):
        path.unlink()
    found = parsed(made.reference)
    assert "The run" not in found.text
    assert f"Not evaluated yet. dsactl evaluate {made.reference} trains networks" in found.text


def test_the_figures_of_a_run_are_of_the_set_that_it_made() -> None:
    first = dsactl.condense("digits", ipc=1, **DM)  # type: ignore[arg-type]
    pool = dsactl.experts("digits", networks=1, epochs=1, network=dsactl.NetworkSpec(width=8))
    soft = dsactl.relabel(first, experts=pool)
    assert "The run" in parsed(soft.reference).text, "its images are those of the run"
    store = registry.Store()
    stored = store.find(registry.parse_reference(first.reference))
    arrays = dict(store.tensors(stored))
    arrays["images"] = arrays["images"] + np.float32(1)
    other = stored.manifest.model_copy(update={"tensors": describe(arrays)})
    changed = store.put(registry.parse_name("changed"), arrays, other, None)
    assert "The run" not in parsed(changed.reference).text, "the same recipe, and other images"


def test_the_paper_s_accuracy_is_there_without_an_evaluation(tmp_path: Path) -> None:
    found = parsed("bundled/mnist-dsa-convnet-ipc1:1")
    assert ["the paper: dsa, 1 per class", "88.7 ± 0.6", "–", ""] in found.rows
    assert ["the paper: the whole training split", "99.6 ± 0.0", "–", ""] in found.rows
    write_idx(tmp_path / "data", "MNIST")
    mine = dsactl.condense("mnist", ipc=1, method="random")
    assert "The paper reports 64.9 ± 3.5 % for this recipe." in parsed(mine.reference).text


def test_soft_labels_are_a_table() -> None:
    made = dsactl.condense("digits", ipc=2, method="random")
    pool = dsactl.experts("digits", networks=1, epochs=1, network=dsactl.NetworkSpec(width=8))
    soft = dsactl.relabel(made, experts=pool)
    assert soft.soft_labels is not None
    found = parsed(soft.reference)
    first = [f"{100 * value:.1f}" for value in soft.soft_labels[0].tolist()]
    assert ["0", *first] in found.rows
    assert "10 more images are left out here" in found.text
    assert "with soft labels" in found.text


def test_soft_labels_of_many_classes_are_the_largest() -> None:
    arrays = {"images": np.zeros((30, 1, 2, 2), np.float32), "labels": np.arange(30)}
    arrays["soft_labels"] = np.full((30, 30), 0.5 / 29, np.float32) + np.eye(30, dtype=np.float32) * (0.5 - 0.5 / 29)
    names = [f"c{label}" for label in range(30)]
    info = manifest(tensors()).dataset.model_dump() | {"class_names": names, "counts": [1] * 30}
    found = parsed(stored_with("many", arrays, dataset=info).reference)
    (row,) = [row for row in found.rows if row[0] == "c7"]
    assert row[1] == "c7 50.0"
    assert len(row) == 6
    assert "10 more images are left out here" in found.text


def test_images_of_a_formation_are_decoded() -> None:
    made = dsactl.condense("digits", ipc=1, method="idc", iterations=1, inner_steps=1, formation=2, width=8)
    found = parsed(made.reference)
    alts = [each["alt"] for each in found.named("img")]
    assert alts.count("The 4 images of class 3") == 1
    assert alts.count("The image of class 3") == 1, "as it is stored"
    assert "10 images of 10 classes, decoded into 40 to train on" in found.text


def test_images_on_the_way(tmp_path: Path) -> None:
    request = Request.of("digits", 1, width=8, iterations=4, inner_steps=1)
    job, _ = watch_condensing(request, session())
    found = parsed(f"{job.name}")
    alts = [each["alt"] for each in found.named("img")]
    assert "The first image of every class after 4 iterations" in alts
    for path in (tmp_path / "home" / "runs").rglob("seen/*"):
        path.write_bytes(b"damaged")
    assert "On the way" not in parsed(f"{job.name}").text


def test_neighbours_are_the_nearest_real_images() -> None:
    digits = dsactl.load_dataset("digits")
    source = np.random.default_rng(0)
    labels = torch.tensor([0, 3, 3])
    pixels = torch.from_numpy(source.random((3, 1, 8, 8), np.float32))
    places, distances = nearest(pixels, labels, digits)
    for pixel, label, place, distance in zip(pixels, labels, places, distances, strict=True):
        own = (digits.train.labels_N == label).nonzero().flatten()
        far = (digits.train.images_NCHW[own].float() / 255 - pixel).square().mean((1, 2, 3)).sqrt()
        assert place == own[far.argmin()]
        assert distance == pytest.approx(far.min().item(), rel=1e-4)
    made = dsactl.condense("digits", ipc=1, method="random")
    found = parsed(made.reference, neighbours=True)
    assert "The image of class 4, each beside the nearest real image" in {each["alt"] for each in found.named("img")}
    assert found.text.count("0.000") == 10, "random images are real"
    single, paired = (int(str(page.named("img")[0]["width"])) for page in (parsed(made.reference), found))
    assert (single, paired) == (8, 17)


def test_neighbours_need_the_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    reference = "bundled/mnist-dsa-convnet-ipc1:1"
    with pytest.raises(dsactl.Error, match="MNIST is not on this machine") as error:
        dsactl.page(reference, neighbours=True)
    assert "\n" not in error.value.message
    write_idx(tmp_path / "data", "MNIST")
    with pytest.raises(dsactl.Error, match="The training images of mnist are not those"):
        dsactl.page(reference, neighbours=True)
    assert list(tmp_path.glob("*.html")) == []
    assert len(parsed(reference).named("img")) == 10, "all the rest is there"


def test_a_set_of_another_program_whose_recipe_is_not_known() -> None:
    stored = put(registry.Store())
    found = parsed(stored.reference)
    assert "The 2 images of class ö" in {each["alt"] for each in found.named("img")}
    assert ["strategy", "crop", "Kinds of augmentation, when networks are trained on the set."] in found.rows
    imported = stored_with("imported", tensors(), method="imported", recipe={}, network=None)
    assert "imported; another program made them from 7 training images of digits" in parsed(imported.reference).text


def test_images_that_cannot_be_drawn() -> None:
    arrays = {"images": np.zeros((2, 2, 3, 3), np.float32), "labels": np.array([0, 1])}
    info = manifest(tensors()).dataset.model_dump() | {"mean": [0.0] * 2, "std": [1.0] * 2}
    stored = stored_with("odd", arrays, dataset=info)
    found = parsed(stored.reference)
    assert "Images with 2 channels cannot be drawn." in found.text
    assert found.named("img") == []
    assert ["", "odd:1"] in [row[:2] for row in parsed().rows]


def test_sets_side_by_side() -> None:
    first = dsactl.condense("digits", ipc=1, **DM)  # type: ignore[arg-type]
    second = dsactl.condense("digits", ipc=1, **{**DM, "iterations": 2})  # type: ignore[arg-type]
    for each in (first, second):
        dsactl.evaluate(each, networks=1, epochs=1, network=dsactl.NetworkSpec("mlp"))
    found = parsed(first.reference, second, first)  # type: ignore[arg-type]
    assert ["recipe: iterations", "3", "2"] in found.rows
    assert not [row for row in found.rows if row[0] == "recipe: width"]
    tested = [row for row in found.rows if len(row) == 4 and row[0] in (first.reference, second.reference)]
    assert [row[0] for row in tested] == [first.reference, second.reference], "in one table"
    charts = [str(each["aria-label"]) for each in found.named("svg") if each.get("role") == "img"]
    assert len(charts) == 3
    assert all(each.reference in label for label in charts for each in (first, second))
    assert len(found.named("article")) == 2
    cost = "640 numbers, 2.6 kB as float32, 10 images to train on"
    assert [second.reference, cost, "0.7 % of 1,437"] in found.rows
    assert Path("comparison.html").exists()


def test_distances_of_two_methods_have_charts_of_their_own() -> None:
    made = [dsactl.condense("digits", ipc=1, **{**DM, **more}) for more in ({}, {"method": "dd"}, {"seed": 1})]  # type: ignore[arg-type]
    found = parsed(*(each.reference for each in made))
    labels = [str(each["aria-label"]) for each in found.named("svg") if each.get("role") == "img"]
    of_dm = ["loss, dm", "image norm, dm", "gradient norm, dm"]
    assert [label.partition(" by step")[0] for label in labels] == [*of_dm, "loss, dd", "image norm, dd"]
    for index, own in ((0, labels[:3]), (1, labels[3:]), (2, labels[:3])):
        assert [label for label in labels if made[index].reference in label] == own


def test_a_pool_of_experts() -> None:
    pool = dsactl.experts("digits", networks=2, epochs=2, network=dsactl.NetworkSpec(width=8))
    found = parsed(pool.reference)
    assert "2 networks (convnet-width8), trained for 2 epochs on 1,437 training images of digits." in found.text
    assert found.named("img") == []
    (losses,) = [store.manifest.provenance["training loss"] for store in registry.Store().pools()]
    assert isinstance(losses, list)
    assert ["1", str(losses[1])] in found.rows
    assert f'pool = dsactl.load_experts("{pool.reference}")' in found.text
    assert [pool.reference, "digits", "convnet-width8", "2", "0, 2"] in [row[:5] for row in parsed().rows]
    with pytest.raises(dsactl.Error, match="is a pool of experts, not a set"):
        dsactl.page(pool.reference, neighbours=True, force=True)


def test_the_registry_has_every_set_and_names_damaged_ones() -> None:
    store = registry.Store()
    good, bad, worse = (put(store, seed, registry.parse_name(f"lab/set-{seed}")) for seed in range(3))
    store.add_evaluation(good.digest, {"network": "convnet", "mean": 12.34, "std": 0.5, "n": 3, "epochs": 1000})
    bad.file.write_bytes(b"damaged")
    worse.record.write_text("{}")
    meter = Told()
    page = dsactl.page(progress=meter)
    assert good.reference in page.references
    assert len(page.faults) == 2
    assert page.size == page.path.stat().st_size
    found = Parsed(page.path)
    (row,) = [row for row in found.rows if good.reference in row]
    assert [row[2], row[3], row[4], row[7]] == ["digits", "dsa convnet", "2", "12.3 ± 0.5"]
    assert not [row for row in found.rows if bad.reference in row]
    assert f"The file of {bad.reference} was modified" in found.text
    assert str(worse.record) in found.text
    assert [row for row in found.rows if "bundled/cifar10-dsa-convnet-ipc1:1" in row]
    assert [done for done in meter.seen if done] != []
    with pytest.raises(dsactl.Error, match="was modified"):
        dsactl.page(bad.reference)


def test_a_policy_allows_the_page_s_own_style_and_script_alone() -> None:
    text = dsactl.page().path.read_text(encoding="utf-8")
    policy = re.search(r'content="(default-src[^"]*)"', text)
    assert policy is not None
    for tag in ("style", "script"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in html.unescape(policy[1])
    assert "url(" not in text
    assert "http:" not in text
    assert "https:" not in text


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    reference = "bundled/mnist-dsa-convnet-ipc1:1"
    with pytest.raises(dsactl.Error, match="`data` is for `neighbours` only"):
        dsactl.page(reference, data=tmp_path)
    with pytest.raises(dsactl.Error, match="whole registry has no `neighbours`"):
        dsactl.page(neighbours=True)
    with pytest.raises(dsactl.Error, match="not to standard output"):
        dsactl.page(reference, output="-")
    with pytest.raises(dsactl.Error, match="There is no set"):
        dsactl.page("nothing")
    for wrong in (3, None, b"x"):
        with pytest.raises(dsactl.Error):
            dsactl.page(wrong)  # type: ignore[arg-type]
    written = dsactl.page(reference).path
    assert written == Path("mnist-dsa-convnet-ipc1-v1.html")
    written.write_text("mine")
    with pytest.raises(dsactl.Error, match="already exists"):
        dsactl.page(reference)
    assert written.read_text() == "mine"
    assert dsactl.page(reference, force=True).size > 1000
    (tmp_path / "there").mkdir()
    assert dsactl.page(reference, output="there").path == Path("there/mnist-dsa-convnet-ipc1-v1.html")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]
