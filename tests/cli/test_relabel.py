"""dsactl relabel, and what other commands say of a relabelled set."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference import write_folder

import dsactl
import registry
from dsactl.cli.recipe_to_command import set_command
from dsactl.errors import INTERRUPTS
from dsactl.expert_pools import expert
from dsactl.expert_pools.recipe import PoolRequest
from dsactl.runs import default_pool
from dsactl.synthetic import relabelling

Cli = Callable[..., tuple[int, str, str]]
SOURCE, POOL, SOFT = "digits-random-ipc1", "digits-experts-convnet-width8", "digits-random-ipc1-soft"
SMALL = ("--networks", "1", "--epochs", "1", "--width", "8", "--batch", "512", "--precision", "float32")
TINY = functools.partial(
    PoolRequest, network=dsactl.NetworkSpec(width=8), networks=1, epochs=2, batch=512, precision="float32"
)


@pytest.fixture
def source(cli: Cli) -> None:
    assert cli("condense", "digits", "--ipc", "1", "--method", "random")[0] == 0


@pytest.fixture
def pool(cli: Cli) -> None:
    assert cli("experts", "digits", *SMALL)[0] == 0


@pytest.mark.usefixtures("source", "pool")
def test_the_same_command_looks_the_set_up(cli: Cli) -> None:
    code, out, err = cli("relabel", SOURCE)
    stored = registry.Store().find(registry.parse_reference(SOFT))
    line = f"{SOFT}:1  10×1×8×8, labels of {POOL}:1, @sha256:{stored.digest[:12]}\n"
    assert (code, out.startswith(f"Stored {line}Picture ")) == (0, True)
    assert f"Next: dsactl evaluate {SOFT}:1" in err
    assert cli("relabel", SOURCE)[1].startswith(f"Already stored: {line}")
    value = json.loads(cli("relabel", SOURCE, "--experts", POOL, "--json")[1])
    assert (value["reference"], value["source"], value["experts"]) == (f"{SOFT}:1", f"{SOURCE}:1", f"{POOL}:1")
    assert value["labels"]["teacher"] == 0
    assert value["repeated"] is True
    assert cli("relabel", SOURCE, "--teacher", "mean", "--epoch", "0", "--name", "mine", "--quiet")[1] == "mine:1\n"
    replaced = f"The soft labels of {SOFT}:1 are replaced"
    assert replaced in cli("relabel", f"{SOFT}:1", "--temperature", "2")[2]
    assert replaced not in cli("relabel", f"{SOFT}:1", "--temperature", "2")[2], "looked up"
    assert replaced not in cli("relabel", f"{SOFT}:1", "--temperature", "3", "--name", POOL)[2], "refused"
    assert (
        "the only pool that fits (1 network, 1 epoch, convnet-width8); --experts names another."
        in (cli("relabel", SOURCE)[2])
    )


@pytest.mark.usefixtures("pool")
def test_the_number_of_decoded_images_is_said(cli: Cli) -> None:
    _, out, _ = cli("condense", "digits", "--ipc", "1", "--method", "random", "--formation", "2")
    assert out.startswith("Stored digits-random-ipc1-formation2:1  10×1×8×8, 40 to train on, ")
    _, out, _ = cli("relabel", "digits-random-ipc1-formation2")
    assert "-soft:1  10×1×8×8, 40 to train on, labels of " in out


@pytest.mark.usefixtures("source", "pool")
def test_other_commands_say_what_labels_a_set_has(cli: Cli, tmp_path: Path) -> None:
    cli("relabel", SOURCE)
    assert [entry["labels"] for entry in json.loads(cli("ls", "--json")[1])] == ["hard", "soft"]
    rows = cli("ls")[1].splitlines()
    assert ["10×1×8×8 soft" in row for row in rows] == [False, False, True]
    shown = cli("show", SOFT)[1]
    assert "soft, of a teacher: a distribution over the classes per image" in shown
    assert f"teacher        {POOL}:1" in shown
    assert "hard: a class per image" in cli("show", SOURCE)[1]
    differing = json.loads(cli("diff", SOURCE, SOFT, "--json")[1])["differing"]
    assert differing["labels"] == ["hard", "soft, of a teacher"]
    assert differing["recipe: labels"][1]["epoch"] == 1
    assert "soft labels are not exported" in cli("export", SOFT, "-o", str(tmp_path / "a.png"))[2]
    file = tmp_path / "a.npz"
    assert cli("export", SOFT, "-o", str(file))[0] == 0
    assert cli("import", str(file), "--quiet")[1] == f"{SOFT}:1\n"
    stored = registry.Store().find(registry.parse_reference(SOFT))
    pool = registry.Store().find(registry.parse_reference(POOL)).digest
    commands = [
        "dsactl condense digits --ipc 1 --method random",
        f"# Pull or import the pool of experts {POOL}:1 first.",
        f"dsactl relabel {SOURCE} --experts @sha256:{pool} --teacher 0 --epoch 1 --temperature 1.0",
    ]
    assert (set_command(stored.manifest) or "").splitlines() == commands
    cli("rm", SOURCE, "--yes")
    assert cli(*commands[0].split()[1:])[0] == 0
    assert cli(*commands[2].split()[1:], "--quiet")[1] == f"{SOFT}:1\n"


@pytest.mark.usefixtures("source", "pool")
def test_a_relabelled_set_of_another_program_names_the_source_to_pull(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "theirs.npz"
    np.savez(file, images=np.zeros((10, 1, 8, 8), np.float32), labels=np.arange(10))
    assert cli("import", str(file), "--dataset", "digits", "--name", "theirs", "--space", "pixels")[0] == 0
    assert cli("relabel", "theirs")[0] == cli("relabel", "theirs-soft", "--temperature", "2")[0] == 0
    theirs = registry.Store().find(registry.parse_reference("theirs"))
    for reference, source in (("theirs-soft:1", "theirs:1"), ("theirs-soft:2", "theirs-soft:1")):
        manifest = registry.Store().find(registry.parse_reference(reference)).manifest
        first, _, last = (set_command(manifest) or "").splitlines()
        assert first == f"# Pull or import the set {source} first."
        digest = (
            theirs.digest if source == "theirs:1" else registry.Store().find(registry.parse_reference(source)).digest
        )
        assert last.startswith(f"dsactl relabel @sha256:{digest} ")


@pytest.mark.usefixtures("source")
def test_a_missing_pool_is_announced_and_made(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_pool, "PoolRequest", TINY)
    train, calls = expert._epoch, list[object]()

    def interrupted(*given: object) -> float:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(expert, "_epoch", interrupted)
    code, out, err = cli("relabel", SOURCE)
    assert (code, out) == (130, "")
    assert "The store has no fitting pool of experts for digits. One is trained now: 1 network of 2 epochs, " in err
    assert "Ctrl-C is safe: the same command continues it." in err
    code, out, err = cli("relabel", SOURCE)
    assert code == 0, err
    assert f"labels of {POOL}:1" in out
    assert f"Stored the experts {POOL}:1." in err
    assert "no pool" not in cli("relabel", SOURCE, "--temperature", "3")[2]
    assert len(calls) == 3


@pytest.mark.usefixtures("source", "pool")
@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_while_labelling_says_that_the_pool_is_stored(
    monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    def interrupted(*_: object) -> None:
        raise interrupt

    monkeypatch.setattr(relabelling, "soft_labels", interrupted)
    with pytest.raises(interrupt) as raised:
        dsactl.relabel(SOURCE)
    kept = f"Interrupted; the experts {POOL}:1 are stored."
    assert raised.value.__notes__ == [f"{kept}\nRun the same again to continue from there."]


def test_a_set_of_a_folder(
    cli: Cli, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_folder(tmp_path / "photos"))
    how = ("--test-fraction", "0.3", "--split-seed", "1")
    assert cli("condense", folder, "--ipc", "1", "--method", "random", *how)[0] == 0
    monkeypatch.setattr(default_pool, "PoolRequest", TINY)
    kept = tmp_path / "home-before"
    shutil.copytree(tmp_path / "home", kept)
    assert cli("relabel", "photos-random-ipc1")[0] == 0
    soft = "photos-random-ipc1-soft"
    assert cli("evaluate", soft, "--networks", "1", "--epochs", "1", "--arch", "mlp")[0] == 0
    provenance = registry.Store().find(registry.parse_reference(soft)).manifest.provenance
    assert (provenance["test_fraction"], provenance["split_seed"]) == (0.3, 1)
    shutil.rmtree(folder)
    monkeypatch.setenv("DSACTL_HOME", str(kept))
    said = refused("relabel", "photos-random-ipc1")
    assert "which is not a folder any more" in said
    assert "Make a pool of its images: dsactl experts FOLDER" in said


@pytest.mark.usefixtures("source", "pool")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((POOL,), f"{POOL}:1 is a pool of experts, not a set."),
        ((SOURCE, "--experts", SOURCE), f"{SOURCE}:1 is a set, not a pool of experts."),
        ((SOURCE, "--experts", "nothing"), "nothing"),
        (("nothing",), "nothing"),
        ((SOURCE, "--teacher", "1"), f"{POOL}:1 has no network 1."),
        ((SOURCE, "--teacher", "all"), "--teacher must be the number of a network or 'mean', not 'all'."),
        ((SOURCE, "--epoch", "5"), f"{POOL}:1 has no epoch 5."),
        ((SOURCE, "--temperature", "-1"), "--temperature must be above 0 and finite, not -1.0."),
        ((SOURCE, "--name", "A B"), "'A B' is not a name."),
        (
            ("bundled/mnist-dsa-convnet-ipc1:1", "--experts", POOL),
            "it is for images of 1×8×8, not 1×28×28.\n  Make a pool of its images: dsactl experts mnist",
        ),
    ],
)
def test_bad_input_is_refused(refused: Callable[..., str], words: tuple[str, ...], said: str) -> None:
    assert said in refused("relabel", *words)


@pytest.mark.usefixtures("source", "pool")
def test_what_sets_cost_is_shown(cli: Cli, tmp_path: Path) -> None:
    cli("relabel", SOURCE)
    cli("condense", "digits", "--ipc", "1", "--method", "random", "--formation", "2", "--name", "tiles")
    base = {"numbers": 640, "image_bytes": 2560, "soft_label_bytes": 0, "decoded_images": 10}
    soft, tiles = {**base, "soft_label_bytes": 400}, {**base, "decoded_images": 40}
    assert [entry["cost"] for entry in json.loads(cli("ls", "--json")[1])] == [base, soft, tiles]
    for name, cost, fitting in ((SOURCE, base, 640), (SOFT, soft, 640), ("tiles", tiles, None)):
        assert json.loads(cli("show", name, "--json")[1])["cost"] == {**cost, "image_bytes_8_bit": fitting}
    line = (
        "640 numbers, 2.6 kB as float32, 640 B as 8-bit pixels without loss, soft labels 400 B, 10 images to train on"
    )
    assert line in cli("show", SOFT)[1]
    assert "640 numbers, 2.6 kB as float32, 40 images to train on" in cli("show", "tiles")[1]
    stored = registry.Store().find(registry.parse_reference(SOURCE))
    stored.file.write_bytes(b"")
    assert json.loads(cli("show", SOURCE, "--json")[1])["cost"]["image_bytes_8_bit"] is None
    assert cli("push", SOFT, "you/soft", "--dry-run", "--out", str(tmp_path / "card"))[0] == 0
    card = (tmp_path / "card" / "README.md").read_text()
    labels = "soft labels, a distribution over the classes for each image (400 bytes)"
    assert f"It stores 640 numbers of float32 (2,560 bytes), and {labels}." in card
    assert (
        f"    dsactl condense digits --ipc 1 --method random\n    # Pull or import the pool of experts {POOL}:1" in card
    )
    assert f"\n    dsactl relabel {SOURCE} --experts @sha256:" in card
