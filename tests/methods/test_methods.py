"""Methods of other packages, by the entry point that docs/methods.md describes."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import processes
import pytest
import torch

import dsactl
from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes import methods
from dsactl.recipes.recipe import Recipe, Request
from dsactl.recipes.settings import TOP_LEVEL

Answer = tuple[int, str, str]

DOC = Path(__file__).resolve().parents[2] / "docs" / "methods.md"

ODD = '''
import os, torch
from pathlib import Path
from dsactl.methods.work import CondensedSet

def odd(work):
    """Gives what is no set, or is interrupted."""
    images = torch.stack([work.dataset.draw(label, 1, work.generator("x", label))[0] for label in range(10)])
    labels = torch.arange(10)
    match work.option("how"):
        case "shape": return CondensedSet(images[:, :, 1:], labels)
        case "order": return CondensedSet(images, labels.flip(0))
        case "many": return CondensedSet(images, labels // 2)
        case "nan": return CondensedSet(images * float("nan"), labels)
        case "soft": return CondensedSet(images, labels, torch.full((10, 10), 0.2))
        case "narrow": return CondensedSet(images, labels, torch.full((10, 5), 0.2))
        case "nothing": return None
        case "fails": raise ValueError("of its own making")
        case "interrupted":
            step = int(work.resume().get("step", torch.tensor(0)))
            while step < 5:
                step += 1
                work.keep(step, 5, {"step": torch.tensor(step)}, loss=0.5, doing="odd things")
                if step == 3 and not Path("once").exists():
                    Path("once").touch()
                    raise KeyboardInterrupt
                Path("steps").open("a").write(f"{step} ")
            return CondensedSet(images, labels, torch.eye(10).mul(0.9).add(0.01), {"steps": step})

odd.options = {"how": "shape"}
'''


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two packages with a method each, as pip would leave them: the one of the documentation, and an odd one."""
    text = DOC.read_text()
    source, project = (re.search(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "toml"))
    assert source
    assert project
    folder = tmp_path / "site"
    for name, code in (("means", source[1]), ("odd", ODD)):
        assert name == "odd" or f'{name} = "{name}:{name}"' in project[1]
        about = folder / f"{name}-1.dist-info"
        about.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[dsactl.methods]\n{name} = {name}:{name}\n")
    return folder


@pytest.fixture
def installed(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """They are on the path of this process."""

    def forget() -> None:
        for name in ("means", "odd"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        methods._foreign.cache_clear()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(packages)
    forget()
    yield packages
    forget()


COMMAND = ("condense", "digits", "--ipc", "1")


def condense(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, on whose path they are."""
    environment = {**os.environ, "PYTHONPATH": f"{packages}:{DOC.parents[1]}"}
    return processes.run(*COMMAND, *arguments, env=environment, cwd=packages)


def test_the_example_of_the_documentation_works(packages: Path) -> None:
    """In a program that nothing of it was loaded into before: some seconds."""
    command = [sys.executable, "-m", "dsactl", *COMMAND, "--method", "means", "--option", "part=50", "--json"]
    environment = {**os.environ, "PYTHONPATH": f"{packages}:{DOC.parents[1]}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=packages, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["reference"] == "digits-means-ipc1:1"
    made = dsactl.load("digits-means-ipc1")
    digits = dsactl.load_dataset("digits")
    assert made.recipe.options == {"part": 50}
    assert made.images.shape == (10, 1, 8, 8)
    for label, image in enumerate(made.images):
        real = digits.normalise(digits.train.images_NCHW[digits.train.labels_N == label]).mean(0)
        assert (image - real).abs().mean() < 0.2, "a mean of fifty is near the mean of all"
    again = condense(packages, "--method", "means", "--option", "part=50")
    assert "Already stored" in again.stdout


def test_an_entry_point_that_names_a_method_works_as_documented(installed: Path, refused: Callable[..., str]) -> None:
    function, options, method = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.S)
    assert "means.options" in options
    code = function[: function.index("means.options")] + method
    (installed / "means.py").write_text(code)
    (installed / "means-1.dist-info" / "entry_points.txt").write_text("[dsactl.methods]\nmeans = means:MEANS\n")
    methods._foreign.cache_clear()
    asked = {"dataset": "digits", "ipc": 1, "method": "means", "options": {"part": 50}}
    made = dsactl.condense(**asked)
    assert made.recipe.options == Request.parse(asked).settings == {"part": 50}
    said = refused(*COMMAND, "--method", "means", "--option", "part=0")
    assert "--option part: input should be greater than or equal to 1" in said


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("part=many", "--option part: input should be a valid integer"),
        ("size=3", "Unknown option of means 'size'. Known: part."),
        ("part", "is not NAME=VALUE"),
    ],
)
def test_options_are_checked_by_what_the_method_says_of_them(
    refused: Callable[..., str], option: str, said: str
) -> None:
    assert said in refused(*COMMAND, "--method", "means", "--option", option).replace("\n ", "")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("shape", "made images of shape (10, 1, 7, 8), not N×1×8×8"),
        ("order", "made labels that are not int64, not negative, and in ascending order"),
        ("many", "made 2 images of a class, more than --ipc 1"),
        ("nan", "made images that are not finite"),
        ("soft", "made soft labels that do not sum to one"),
        ("narrow", "made soft labels of shape (10, 5)"),
        ("nothing", "returned an object of type NoneType, not CondensedSet"),
        ("fails", "failed: ValueError: of its own making, at "),
    ],
)
def test_what_is_no_set_is_refused(cli: Callable[..., Answer], how: str, said: str) -> None:
    code, out, err = cli(*COMMAND, "--method", "odd", "--option", f"how={how}")
    assert (code, out) == (1, "")
    assert f"The method 'odd' {said}" in err


def test_a_method_goes_on_where_it_was_interrupted(packages: Path) -> None:
    arguments = ("--method", "odd", "--option", "how=interrupted")
    stopped = condense(packages, *arguments)
    assert stopped.returncode == 130
    assert "at step 3 of 5; the checkpoint was written" in stopped.stderr
    done = condense(packages, *arguments)
    assert done.returncode == 0, done.stderr
    assert (packages / "steps").read_text() == "1 2 4 5 "
    made = dsactl.load("digits-odd-ipc1")
    assert made.soft_labels is not None
    assert made.soft_labels.shape == (10, 10)
    assert torch.equal(made.targets, made.soft_labels)
    batch, targets = next(made.batches(batch_size=4))
    assert (batch.shape, targets.shape) == ((4, 1, 8, 8), (4, 10))
    assert dsactl.evaluate(made, networks=2, epochs=2).n == 2


def test_a_method_whose_package_is_broken_says_so(installed: Path, cli: Callable[..., Answer]) -> None:
    (installed / "means.py").write_text("import nothing_of_that_name")
    code, _, err = cli(*COMMAND, "--method", "means")
    assert code == 2
    assert "The method 'means' cannot be loaded" in err
    assert "Did you mean 'means'" in cli(*COMMAND, "--method", "meens")[2]


def test_only_what_a_method_takes_is_taken() -> None:
    with pytest.raises(UsageError, match="`iterations` is not for method 'random'"):
        Request.parse({"dataset": "digits", "ipc": 1, "method": "random", "iterations": 5})
    with pytest.raises(UnknownNameError, match="Unknown option of dsa 'epochs'"):
        Request.parse({"dataset": "digits", "ipc": 1, "options": {"epochs": 5}})
    for name in methods.BUILT_IN:
        method = methods.find(name)
        recipe = Request.parse({"dataset": "digits", "ipc": 1, "method": name}).resolve(
            "digits", "0" * 64, (1, 8, 8), mirrored=False, precision="bfloat16"
        )
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
        assert (recipe.network is not None) == method.network
        own = [name for name in method.settings.names() if name not in TOP_LEVEL]
        assert list(recipe.options) == own


@pytest.mark.parametrize(("given", "meant"), [("iteration", "iterations"), ("devise", "device"), ("fesh", "fresh")])
def test_an_unknown_keyword_of_condense_is_refused_with_the_nearest(given: str, meant: str) -> None:
    with pytest.raises(dsactl.Error, match=rf"Unknown option '{given}'\. Did you mean '{meant}'"):
        dsactl.condense("digits", ipc=1, **{given: 1})
