"""Pages in a real browser: nothing is fetched, no error, all images are there; sorting, filtering and zoom work."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Tab, tab
from samples import manifest, put, tensors

import dsactl
import registry
from registry.tensors import describe

EVERY_IMAGE = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth > 0)))"
ROWS = "[...document.querySelector('table.sortable').tBodies[0].rows]"
NAMES = f"{ROWS}.filter(row => !row.hidden).map(row => row.cells[1].innerText)"
SORTED = "document.querySelector('[aria-sort]').innerText + ' ' + document.querySelector('[aria-sort]').ariaSort"
HOSTILE = '<script>document.title="bad"</script><img src="https://example.org/x.png"> \'"'


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def registry_page(tmp_path: Path) -> Path:
    """Three sets of the user's with accuracies, and one without, beside the bundled ones."""
    put(registry.Store(), 3, registry.parse_name("set-d"))
    for index, mean in enumerate((9.5, 9.25, 20.0)):
        stored = put(registry.Store(), index, registry.parse_name(f"set-{'abc'[index]}"))
        result = {"network": "convnet", "mean": mean, "std": 1.0, "n": 2, "epochs": 1000, "augmentation": "dsa crop"}
        registry.Store().add_evaluation(stored.digest, result)
    return dsactl.page(output=tmp_path / "registry.html").path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_fetched_and_every_image_is_shown(
    browser: Tab, registry_page: Path, tmp_path: Path, scheme: str
) -> None:
    made = dsactl.condense("digits", ipc=2, method="random")
    grounds = []
    for page in (registry_page, dsactl.page(made.reference, neighbours=True, output=tmp_path / "set.html").path):
        browser.open(page, scheme=scheme)
        shown = browser.value(EVERY_IMAGE)
        assert len(shown) >= 8
        assert all(shown)
        assert browser.complaints == []
        assert {address.partition(":")[0] for address in browser.requests} <= {"file", "data"}
        assert [each for each in browser.requests if each.startswith("file")] == [page.as_uri()]
        grounds.append(browser.value("getComputedStyle(document.documentElement).backgroundColor"))
        browser.open(page, scheme=scheme, width=400)
        assert browser.value("document.documentElement.scrollWidth") <= 400, "a narrow screen is not exceeded"
    for width in (1300, 1100):
        browser.open(registry_page, scheme=scheme, width=width)
        table = browser.value(
            "(({scrollWidth, clientWidth}) => [scrollWidth, clientWidth])(document.querySelector('.wide'))"
        )
        assert table[0] <= table[1], f"at {width} pixels no column is cut off"
    assert set(grounds) == {"rgb(253, 253, 252)" if scheme == "light" else "rgb(22, 24, 27)"}


def test_a_column_is_sorted_by_click_and_by_keyboard(browser: Tab, registry_page: Path) -> None:
    browser.open(registry_page)
    assert browser.value(NAMES)[:4] == ["set-d:1", "set-a:1", "set-b:1", "set-c:1"], "as stored"
    browser.click("th:nth-child(8) button")
    assert browser.value(SORTED).split() == ["Accuracy", "%", "ascending"]
    assert browser.value(NAMES)[:3] == ["set-b:1", "set-a:1", "set-c:1"], "as numbers"
    browser.click("th:nth-child(8) button")
    assert browser.value(SORTED).split() == ["Accuracy", "%", "descending"]
    assert browser.value(NAMES)[-4:] == ["set-c:1", "set-a:1", "set-b:1", "set-d:1"], "without a number: last"
    browser.value("document.getElementById('filter').focus()")
    browser.press("Tab")
    assert browser.value("document.activeElement.innerText") == "Set"
    browser.press("Enter")
    assert browser.value(SORTED).split() == ["Set", "ascending"]
    browser.press(" ")
    assert browser.value(SORTED).split() == ["Set", "descending"]
    assert browser.value(NAMES)[:4] == ["set-d:1", "set-c:1", "set-b:1", "set-a:1"]
    assert browser.value("document.querySelectorAll('[aria-sort]').length") == 1


def test_rows_are_filtered_by_words(browser: Tab, registry_page: Path) -> None:
    browser.open(registry_page)
    everything = browser.value(NAMES)
    browser.click("#filter")
    browser.type("CONVNET set-b")
    assert browser.value(NAMES) == ["set-b:1"]
    assert browser.value("document.querySelector('output').value").startswith("1 of ")
    browser.value("document.getElementById('filter').select()")
    browser.type("mnist")
    shown = browser.value(NAMES)
    assert shown == [name for name in everything if "mnist" in name]
    assert {name.partition(":")[0] for name in shown} >= {
        "bundled/mnist-dsa-convnet-ipc1",
        "bundled/fashionmnist-dsa-convnet-ipc1",
    }
    assert len(shown) < len(everything)


def test_the_images_are_zoomed_without_a_script(browser: Tab, tmp_path: Path) -> None:
    made = dsactl.condense("digits", ipc=1, method="random")
    page = dsactl.page(made.reference, output=tmp_path / "set.html").path
    assert "<script" not in page.read_text(encoding="utf-8")
    browser.open(page)
    width = "document.querySelector('.sheets img').getBoundingClientRect().width"
    assert browser.value(width) == 8 * 16
    browser.click(".zoom label:nth-of-type(3)")
    assert browser.value(width) == 8 * 4
    browser.value("document.querySelector('.zoom input:checked').focus()")
    assert browser.value("getComputedStyle(document.images[0]).imageRendering") == "pixelated"


def test_texts_of_others_are_shown_and_not_run(browser: Tab, tmp_path: Path) -> None:
    arrays = {"images": np.zeros((2, 1, 3, 3), np.float32), "labels": np.array([0, 1])}
    about = manifest(tensors()).model_dump(mode="json")
    about["dataset"] |= {"name": HOSTILE, "class_names": [HOSTILE, "</figure>"]}
    about |= {"method": HOSTILE, "recipe": {HOSTILE: HOSTILE}, "provenance": {HOSTILE: HOSTILE}}
    about["tensors"] = {name: info.model_dump() for name, info in describe(arrays).items()}
    store = registry.Store()
    stored = store.put(registry.parse_name("hostile"), arrays, registry.Manifest.model_validate(about), None)
    result = {"network": HOSTILE, "mean": 5.0, "std": 1.0, "n": 2, "epochs": 3, "augmentation": HOSTILE}
    store.add_evaluation(stored.digest, result)
    for references in (("hostile",), ("hostile", "bundled/mnist-dsa-convnet-ipc1"), ()):
        page = dsactl.page(*references, output=tmp_path / "page.html", force=True).path
        browser.open(page)
        assert browser.value("document.title") != "bad"
        assert HOSTILE in browser.value("document.body.textContent")
        assert browser.value("document.querySelectorAll('script').length") == (0 if references else 1)
        assert all(browser.value("[...document.images].map(i => i.src.startsWith('data:'))"))
        assert browser.complaints == []
    foreign = '<img src="https://example.org/x.png"></body>'
    (tmp_path / "bad.html").write_text(page.read_text(encoding="utf-8").replace("</body>", foreign), encoding="utf-8")
    browser.open(tmp_path / "bad.html")
    assert "Content Security Policy" in browser.complaints[0], "what the policy forbids would have been seen"
