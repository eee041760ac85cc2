"""The report for a bug report has nothing private."""

import getpass
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

import dsactl
import registry
from dsactl.diagnosis import doctor, report
from dsactl.diagnosis.report import lines, without_private

Answer = tuple[int, str, str]


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the user be alice, at home in a folder of that name, on a machine that is called alices-laptop."""
    home = tmp_path / "home of" / "alice"
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    monkeypatch.setattr(platform, "node", lambda: "alices-laptop.example.org")
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setenv("DSACTL_HOME", str(home / "my store"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return home


def test_what_is_private_is_left_out(somebody: Path) -> None:
    said = [
        f"3 sets in {somebody}/my store.",
        f"{somebody}/.cache: read-only",
        "/scratch/alice/x y: no",
        "(~alice/data): no",
        "C:\\Users\\alice\\x is no folder",
        "user alice on alices-laptop, or alices-laptop.example.org",
        "token hf_secret, http://alice:word@host/",
    ]
    assert [without_private(each) for each in said] == [
        "3 sets in STORE.",
        "HOME/.cache: read-only",
        "PATH y: no",
        "(PATH): no",
        "PATH is no folder",
        "user … on …, or …",
        "token …, http://host/",
    ]
    for plain in ("400 GFLOP/s with 1 thread", "/dev/shm: 1 GB", "5/15 of 2 cores", "1.0 of 2, 3/s", "alice-like"):
        assert without_private(plain) == plain


def test_the_report_begins_with_versions(
    cli: Callable[..., Answer], somebody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor, "CHECKS", tuple(each for each in doctor.CHECKS if each[0] in ("store", "data", "extras"))
    )
    registry.default_home().parent.mkdir(parents=True)
    code, out, _ = cli("doctor", "--report")
    first, second, *rest = out.splitlines()
    assert code == 0
    assert first.startswith(f"dsactl {dsactl.__version__}, Python {platform.python_version()}, ")
    assert f"torch {report.versions()['torch']}" in first
    assert platform.platform() in second
    assert "cores" in second
    assert any(line.startswith("ok        store: STORE does not exist yet") for line in rest)
    as_json = cli("doctor", "--report", "--json")[1]
    assert "STORE does not exist yet" in as_json
    assert not {word for word in ("alice", "hf_secret", str(somebody)) if word in out + as_json}


def test_a_user_without_a_name_or_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(getpass, "getuser", none)
    monkeypatch.setattr(Path, "home", no_home)
    assert without_private("12 things in /srv/x") == "12 things in PATH"
    assert len(lines([])) == 2
