import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from reference import write_folder

from dsactl import __version__
from dsactl.cli import main as program_main
from dsactl.cli.commands import condense
from dsactl.errors import UnknownNameError

Answer = tuple[int, str, str]


SMALL = ("condense", "digits", "--ipc", "1", "--width", "8", "--iterations", "3")


def test_under_torchrun_requests_are_not_checked_before_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process reports the error after all have connected."""
    wrong = {"dataset": "digit", "ipc": 1}
    with pytest.raises(UnknownNameError):
        condense._request(wrong)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert condense._request(wrong).dataset == "digit"


def test_condense_evaluate_show_and_ls(cli: Callable[..., Answer]) -> None:
    code, out, err = cli(*SMALL)
    assert code == 0
    assert "Stored digits-dsa-convnet-width8-ipc1:1  10×1×8×8" in out
    picture = next(line.removeprefix("Picture ") for line in out.splitlines() if line.startswith("Picture"))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert "iterations 3" in err  # the resolved recipe
    assert "3/3 steps" in err
    assert "distance" in err
    assert "Next: dsactl evaluate digits-dsa-convnet-width8-ipc1:1" in err

    code, out, err = cli("evaluate", "--networks", "2", "--epochs", "5")
    assert code == 0
    assert "digits-dsa-convnet-width8-ipc1:1  convnet-width8" in out
    assert " ± " in out
    assert "5 epochs, augmentation dsa color crop cutout scale rotate" in err

    code, out, _ = cli("show", "digits-dsa-convnet-width8-ipc1")
    assert code == 0
    for text in ("@sha256:", "inner steps", "convnet-width8", picture, "dsactl 0.1.0", "digits (train), 1,437 images"):
        assert text in out
    code, out, _ = cli("ls")
    assert out.splitlines()[1].startswith("digits-dsa-convnet-width8-ipc1:1  10×1×8×8")


def test_json_and_quiet_output(cli: Callable[..., Answer]) -> None:
    code, out, err = cli("ls", "--json")
    assert (code, out, err) == (0, "[]\n", "")
    code, out, err = cli("ls", "--quiet")
    assert (code, out, err) == (0, "", "")
    code, out, err = cli(*SMALL, "--sets", "2", "--json")
    made = json.loads(out)
    assert [each["reference"] for each in made] == [f"digits-dsa-convnet-width8-ipc1:{n}" for n in (1, 2)]
    assert made[0]["digest"] != made[1]["digest"]
    code, out, err = cli(*SMALL, "--quiet")
    assert (code, out, err) == (0, "digits-dsa-convnet-width8-ipc1:1\n", "")
    code, out, _ = cli("evaluate", "digits-dsa-convnet-width8-ipc1:2", "--networks", "2", "--epochs", "2", "--json")
    result = json.loads(out)
    assert (result["n"], result["digest"], len(result["accuracies"])) == (2, made[1]["digest"], 2)
    code, out, _ = cli("ls", "--json")
    listed = json.loads(out)
    assert [len(each["evaluations"]) for each in listed] == [0, 1]
    assert cli("ls", "--quiet")[1].splitlines() == [each["reference"] for each in listed]
    code, out, _ = cli("show", "digits-dsa-convnet-width8-ipc1:2", "--json")
    shown = json.loads(out)
    assert shown["evaluations"] == [result]
    assert shown["manifest"]["recipe"]["iterations"] == 3
    assert json.loads(cli("env", "--json")[1])["dsactl"] == __version__
    assert {each["name"]: each["here"] for each in json.loads(cli("datasets", "--json")[1])}["digits"] is True
    archs = {each["name"]: each for each in json.loads(cli("archs", "--images", "1x8x8", "--json")[1])}
    assert archs["mlp"]["parameters"] == 26122
    assert "needs at least 5×5 pixels" in archs["lenet"]["impossible"]
    for command in ("datasets", "archs", "env"):
        assert cli(command, "--quiet")[0] == cli(command)[0] == 0
    assert cli("--version")[1] == f"dsactl {__version__}\n"


def test_a_dry_run_prints_the_plan_and_writes_nothing(cli: Callable[..., Answer]) -> None:
    code, out, _ = cli("condense", "digits", "--ipc", "10", "--width", "8", "--dry-run")
    assert code == 0
    for text in (
        "10,000 inner steps, 450,000 network steps",
        "operations per set",
        "time per set",
        "memory",
        "image lr",
    ):
        assert text in out
    value = json.loads(cli("condense", "digits", "--ipc", "10", "--width", "8", "--dry-run", "--json")[1])
    assert value["recipe"]["inner_steps"] == 10
    assert value["operations"] > 1e11
    assert value["seconds"] > 0
    assert not Path(os.environ["DSACTL_HOME"]).exists()


@pytest.mark.parametrize("command", [("condense", "mnist@3x32x32", "--ipc", "1"), ("nas", "mnist@3x32x32")])
def test_a_dry_run_downloads_nothing(cli: Callable[..., Answer], command: tuple[str, ...], tmp_path: Path) -> None:
    code, out, err = cli(*command, "--dry-run")
    assert (code, out) == (1, "")
    assert "mnist@3x32x32 is not on this machine, and --dry-run downloads nothing.\n" in err
    assert "  Commands without it do, such as: dsactl condense mnist --ipc 1 --method random\n" in err
    assert not (tmp_path / "data").exists()


def test_flags_override_the_file_and_the_file_overrides_defaults(cli: Callable[..., Answer], tmp_path: Path) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text('dataset = "digits"\nipc = 3\nimage-lr = 0.05\nwidth = 8\nstrategy = "crop_scale"\n')
    code, out, _ = cli("condense", "--config", str(config), "--ipc", "1", "--dry-run", "--json")
    recipe = json.loads(out)["recipe"]
    assert code == 0
    assert (recipe["ipc"], recipe["image_lr"], recipe["network"]["width"]) == (1, 0.05, 8)
    assert (recipe["strategy"], recipe["network_lr"]) == (["crop", "scale"], 0.01)
    for text, message in (
        ("iteration = 3", "Unknown option 'iteration'. Did you mean 'iterations'"),
        ("ipc = ", "is not TOML"),
        ('iterations = "x"', "recipe.toml, iterations: input should be a valid integer"),
    ):
        config.write_text(text)
        code, out, err = cli("condense", "digits", "--ipc", "1", "--config", str(config))
        assert (code, out) == (2, "")
        assert message in " ".join(err.split())
    assert cli("condense", "digits", "--ipc", "1", "--config", str(tmp_path / "none.toml"))[0] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["condense", "digit", "--ipc", "1"], 2, "Unknown dataset 'digit'. Did you mean 'digits'?"),
        (["condense", "digits"], 2, "Missing option --ipc N"),
        (["condense"], 2, "Missing dataset, e.g. digits"),
        (["condense", "digits", "--ipc", "0"], 2, "--ipc: input should be greater than or equal to 1, not 0."),
        (["condense", "digits", "--ipc", "x"], 2, "Invalid value for '--ipc'"),
        (["condense", "digits", "--ipc", "1", "--arhc", "mlp"], 2, "No such option: --arhc"),
        (["condense", "digits", "--ipc", "1", "--arch", "resnet"], 2, "Did you mean 'resnet18'"),
        (["condense", "digits", "--ipc", "1", "--arch", "lenet"], 2, "lenet cannot take 1×8×8 images: the second"),
        (["condense", "digits", "--ipc", "500"], 1, "has 139. Use --ipc 139 or less"),
        (["condense", "digits", "--ipc", "1", "--device", "tpu"], 2, "Unknown device 'tpu'. Use auto, cpu"),
        (["condense", "digits", "--ipc", "1", "--device", "cuda:99"], 2, "Device 'cuda:99' is not available"),
        (["condense", "digits", "--ipc", "1", "--precision", "float8"], 2, "--precision"),
        (["condense", "digits", "--ipc", "1", "--name", "../x"], 2, "'../x' is not a name."),
        (["condense", "./nowhere", "--ipc", "1"], 1, "nowhere is not a folder."),
        (["evaluate"], 1, "is empty. Make a set: dsactl condense digits --ipc 1"),
        (["evaluate", "no-such-set"], 1, "There is no set 'no-such-set'."),
        (["evaluate", "UPPER"], 2, "'UPPER' is not a name."),
        (["evaluate", "--networks", "0"], 2, "--networks must be at least 1"),
        (["show", "x:0.5/y"], 2, "'0.5/y' is not a tag."),
        (["archs", "--images", "32"], 2, "'32' is not a shape. Give channels, height and width"),
        (["conense"], 2, "No such command 'conense'"),
    ],
)
def test_invalid_input_gives_one_error_line(
    cli: Callable[..., Answer], arguments: list[str], code: int, message: str
) -> None:
    found, out, err = cli(*arguments)
    assert (found, out) == (code, "")
    assert message in " ".join(err.split())
    assert err.startswith("Error: ")
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert not Path(os.environ["DSACTL_HOME"]).exists()


def test_a_folder_from_end_to_end(cli: Callable[..., Answer], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "shapes")
    code, out, _ = cli(
        "condense", str(folder), "--ipc", "1", "--width", "8", "--iterations", "2", "--name", "me/shapes"
    )
    assert code == 0
    assert "Stored me/shapes:1  2×1×8×8" in out
    code, out, _ = cli("evaluate", "me/shapes", "--networks", "2", "--epochs", "100", "--json")
    assert json.loads(out)["mean"] > 80
    # The folder has moved: it must be named, and must be the same.
    moved = folder.rename(tmp_path / "elsewhere")
    code, _, err = cli("evaluate", "me/shapes", "--networks", "1", "--epochs", "1")
    assert code == 1
    assert "is not a folder" in err
    assert cli("evaluate", "me/shapes", "--data", str(moved), "--networks", "1", "--epochs", "1", "-q")[0] == 0
    (moved / "dark" / "0.png").unlink()
    code, _, err = cli("evaluate", "me/shapes", "--data", str(moved), "--networks", "1", "--epochs", "1")
    assert code == 1
    assert "are not those that me/shapes:1 was made from" in err


def test_own_defaults_and_network_variants_are_remarked(cli: Callable[..., Answer]) -> None:
    _, _, err = cli("condense", "digits", "--ipc", "2", "--width", "8", "--iterations", "1", "--network-epochs", "1")
    assert "The paper has no schedule for --ipc 2; 2 inner steps of 1 network epoch are our choice." in err
    cli(*SMALL, "--norm", "batch")
    _, _, err = cli("evaluate", "--networks", "1", "--epochs", "1")
    assert "condensed with batch norm and is evaluated on convnet-width8" in err
    assert "The paper has no images of 8×8; --depth 2 is our choice for them." in cli(*SMALL)[2]
    assert "is our choice" not in cli(*SMALL, "--depth", "2")[2]


def test_a_finished_run_can_be_stored_under_another_name(cli: Callable[..., Answer]) -> None:
    first = json.loads(cli(*SMALL, "--json")[1])[0]
    again = json.loads(cli(*SMALL, "--name", "me/best", "--json")[1])[0]
    assert (again["reference"], again["repeated"], again["digest"]) == ("me/best:1", True, first["digest"])
    assert cli("ls", "-q")[1].split() == [first["reference"], "me/best:1"]
    shown = json.loads(cli("show", f"@sha256:{first['digest'][:12]}", "--json")[1])
    assert shown["digest"] == first["digest"]


def test_fresh_ignores_stored_results(cli: Callable[..., Answer]) -> None:
    first = json.loads(cli(*SMALL, "--json")[1])[0]
    assert json.loads(cli(*SMALL, "--json")[1])[0]["repeated"] is True
    again = json.loads(cli(*SMALL, "--fresh", "--json")[1])[0]
    assert (again["repeated"], again["reference"], again["digest"]) == (False, first["reference"], first["digest"])
    measure = ("evaluate", "--networks", "2", "--epochs", "2")
    assert "Result stored." in cli(*measure)[2]
    assert "Cached result; --fresh evaluates again." in cli(*measure)[2]
    assert "Result stored." in cli(*measure, "--fresh")[2]


def test_a_damaged_set_is_reported_and_made_again(cli: Callable[..., Answer]) -> None:
    made = json.loads(cli(*SMALL, "--json")[1])[0]
    cli(*SMALL, "--seed", "1", "--quiet")
    file = Path(made["file"])
    file.write_bytes(file.read_bytes()[:-5])
    code, _, err = cli("evaluate", made["reference"])
    assert code == 1
    assert "was modified" in err
    assert "make the set again with the same recipe" in err
    mended = json.loads(cli(*SMALL, "--json")[1])[0]
    assert (mended["digest"], mended["reference"], mended["repeated"]) == (made["digest"], made["reference"], False)
    assert cli("evaluate", made["reference"], "--networks", "1", "--epochs", "1")[0] == 0
    Path(made["picture"]).with_suffix(".json").write_text("{}")
    code, out, err = cli("ls", "--quiet")
    assert (code, out) == (1, "digits-dsa-convnet-width8-ipc1:2\n")
    assert "1.json is damaged" in err


def test_a_link_out_of_the_store_is_refused(cli: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    sets = Path(os.environ["DSACTL_HOME"]) / "sets" / "_"
    sets.mkdir(parents=True)
    (sets / "escape").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    code, out, err = cli(*SMALL, "--name", "escape")
    assert (code, out) == (2, "")
    assert "leads out of the store" in err
    assert not list((tmp_path / "elsewhere").iterdir())


def test_no_command_prints_the_help(cli: Callable[..., Answer]) -> None:
    code, out, err = cli()
    assert (code, err) == (0, "")
    assert "condense" in out
    assert out.strip() == cli("--help")[1].strip()


def test_tracebacks_only_with_dsactl_debug(program) -> None:  # type: ignore[no-untyped-def]
    quiet = program("show", "nothing")
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert quiet.stderr == "Error: There is no set 'nothing'.\n  See: dsactl ls\n"
    loud = program("show", "nothing", DSACTL_DEBUG="1")
    assert loud.returncode == 1
    assert "Traceback" in loud.stderr


def test_every_help_has_examples_and_every_option_a_description(cli: Callable[..., Answer]) -> None:
    program = typer.main.get_command(program_main.program_of([]))
    context = typer.Context(program)
    commands = program.list_commands(context)
    assert {"condense", "evaluate", "ls", "show", "push", "nas", "import"} <= set(commands)
    for name in commands:
        code, out, _ = cli(name, "--help")
        assert code == 0
        assert f"dsactl {name}" in out
        assert "Examples" in out
        assert "<bool>" not in out, "flags take no value"
        for parameter in program.get_command(context, name).get_params(context):
            assert parameter.param_type_name == "argument" or parameter.help, f"{name}: {parameter.opts}"


def test_names_are_completed(program) -> None:  # type: ignore[no-untyped-def]
    assert program(*SMALL).returncode == 0

    def complete(words: str) -> set[str]:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        return set(program(_DSACTL_COMPLETE="complete_bash", **asked).stdout.split())

    assert complete("dsactl condense cif") == {"cifar10", "cifar100"}
    assert complete("dsactl evaluate digits-d") == {"digits-dsa-convnet-width8-ipc1"}
    assert complete("dsactl condense digits --arch res") == {"resnet18", "resnet18bn", "resnet18bn_ap"}
    assert "evaluate" in complete("dsactl ev")


def test_an_unwritable_store(cli: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DSACTL_HOME", str(tmp_path / "file" / "home"))
    code, out, err = cli(*SMALL)
    assert (code, out) == (1, "")
    assert "DSACTL_HOME" in err


def test_only_condense_supports_torchrun(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in (("evaluate",), ("ls",), ("bench",)):
        code, out, err = cli(*command)
        assert (code, out) == (2, "")
        assert "Run this command without torchrun." in err


def test_flags_override_the_settings_of_the_file_wherever_they_are(cli: Callable[..., Answer], tmp_path: Path) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text('method = "herding"\n[options]\nepochs = 10\n')
    asked = ("condense", "digits", "--ipc", "1", "--config", str(config), "--dry-run", "--json")
    for given, epochs in ((), 10), (("--epochs", "5"), 5), (("--option", "epochs=6"), 6):
        assert json.loads(cli(*asked, *given)[1])["recipe"]["options"] == {"epochs": epochs}
    code, _, err = cli(*asked, "--epochs", "5", "--option", "epochs=6")
    assert (code, "are both given" in err) == (2, True)
    config.write_text('method = "herding"\nepochs = 4\n')
    assert json.loads(cli(*asked, "--option", "epochs=6")[1])["recipe"]["options"] == {"epochs": 6}
    config.write_text('method = "herding"\n[options]\nepochs = 2020-01-01\n')
    assert "must have numbers and words" in cli(*asked)[2]
