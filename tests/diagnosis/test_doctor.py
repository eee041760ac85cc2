"""All checks together: each gives a finding, whatever is wrong with the machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import dsactl
import registry
from dsactl.diagnosis import doctor as module
from dsactl.diagnosis.finding import Finding
from dsactl.engine.progress import NO_FIGURES

ROOT = Path(__file__).parents[2]
Answer = tuple[int, str, str]
WORDS = {"ok", "slow", "broken", "not here", "unknown"}


def of(check: str, findings: list[Finding]) -> Finding:
    """Return the finding of a check."""
    (found,) = (finding for finding in findings if finding.check == check)
    return found


@pytest.mark.slow
def test_every_check_measures_this_machine() -> None:
    """Takes half a minute at most; only here all of them really run."""
    seen = []

    class Meter(dsactl.Progress):
        def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
            del figures
            seen.append((done, total, doing))

    findings = dsactl.doctor(progress=Meter())
    assert [finding for finding in findings if finding.state == "unknown"] == []
    assert {finding.state for finding in findings} <= WORDS
    assert all(finding.found.endswith(".") and (finding.advice or finding.state != "broken") for finding in findings)
    assert of("threads", findings).figures["threads"] >= 1
    assert of("speed", findings).figures["float32_gflops_1_thread"] > 0
    assert of("memory", findings).figures["free_bytes"] > 0
    assert of("store disk", findings).figures["flush_seconds"] > 0
    assert of("store", findings).state == "ok"
    assert "digits" in of("datasets", findings).found
    assert not registry.default_home().exists(), "nothing is created"
    assert [done for done, _, _ in seen] == list(range(len(module.CHECKS) + 1))
    assert all(doing for _, _, doing in seen[:-1])


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let there be only the checks of these names."""

    def keep(*names: str) -> None:
        monkeypatch.setattr(module, "CHECKS", tuple(check for check in module.CHECKS if check[0] in names))

    return keep


def test_a_check_that_fails_says_so_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("first", "ok", "Fine.")
        raise ValueError("one\ntwo")

    def cannot_be_loaded() -> Iterator[Finding]:
        raise ImportError("no libtorch.so")

    assert module.guarded("first", fails) == [
        Finding("first", "ok", "Fine."),
        Finding(
            "first", "unknown", "The check itself failed: ValueError, one.", "Please report it, with all lines here."
        ),
    ]
    [found] = module.guarded("second", cannot_be_loaded)
    assert (found.state, found.found) == ("unknown", "Not checked: no libtorch.so.")
    monkeypatch.setattr(module, "CHECKS", (("bad", "", "nowhere:nothing"), ("extras", "", "packages:extras")))
    states = [(finding.check, finding.state) for finding in dsactl.doctor()]
    assert states[0] == ("bad", "unknown")
    assert len(states) > 1
    with pytest.raises(KeyboardInterrupt):
        module.guarded("stopped", lambda: (_ for _ in ()).throw(KeyboardInterrupt))


def test_the_command_ends_with_1_if_something_is_broken(
    cli: Callable[..., Answer], only: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only("extras", "store")
    code, out, err = cli("doctor")
    assert code == 0
    assert "Broken: nothing." in err
    assert "docs/troubleshooting.md" in err
    (tmp_path / "file").touch()
    monkeypatch.setenv("DSACTL_HOME", str(tmp_path / "file"))
    code, out, err = cli("doctor")
    assert code == 1
    assert f"broken store The store {tmp_path / 'file'} is not a folder." in " ".join(out.split())
    assert "→ Set DSACTL_HOME to a folder." in out
    assert "Broken: store." in err
    code, out, _ = cli("doctor", "--json")
    assert code == 1
    value = json.loads(out)
    assert value["versions"]["dsactl"] == dsactl.__version__
    assert [each["check"] for each in value["findings"] if each["state"] == "broken"] == ["store"]
    assert cli("doctor", "--quiet") == (1, "store\n", "")


def test_the_hub_is_asked_only_on_request(
    cli: Callable[..., Answer], only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsactl.diagnosis import hub

    only()
    monkeypatch.setattr(hub, "_asked", lambda: Finding("Hub, online", "broken", "No.", "", {"nan": float("nan")}))
    assert json.loads(cli("doctor", "--json")[1])["findings"] == []
    code, out, _ = cli("doctor", "--online", "--json")
    [found] = json.loads(out)["findings"]
    assert (code, found["check"], found["figures"]) == (1, "Hub, online", {})


FINDINGS = (
    Finding(
        "threads", "slow", "2 threads on 8 cores, and a rather long text follows here.", "export A=1, and then go."
    ),
    Finding("other processes", "ok", "None."),
    Finding("Hub", "not here", "It is not [installed]."),
    Finding("speed", "unknown", "Not known.", 'Use `precision="float32"`.'),
)


@pytest.mark.parametrize("width", [120, 80, 61, 40, 28])
def test_the_screen_is_aligned_and_wraps_between_words(width: int) -> None:
    from dsactl.cli.commands.doctor import _screen

    lines = [text.plain for text in _screen(FINDINGS, width)]
    assert max(map(len, lines)) <= width
    joined = " ".join(" ".join(lines).split())
    assert "a rather long text follows here. → export A=1, and then go." in joined
    assert "not here Hub It is not [installed]." in joined
    assert "→ Use --precision float32." in joined
    if width >= 60:
        assert {line.index("None.") for line in lines if "None." in line} == {10 + len("other processes") + 2}
        assert all(line[: 10 + len("other processes") + 2].strip() == "" for line in lines if "→" in line)
    else:
        assert "slow      threads" in lines
        assert "  None." in lines


def _run(code: str, **environment: str) -> str:
    """Return what Python code prints in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


THREADS = "from dsactl.diagnosis import processor; processor.cpu_quota = lambda: float('inf'); "
THREADS += "f = next(processor.threads()); print(f.state, f.found, f.advice)"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_one_core_by_affinity() -> None:
    said = _run(f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {THREADS}", OMP_NUM_THREADS="")
    if os.cpu_count() == 1:
        assert said.startswith("ok 1 thread on 1 core.")
    else:
        assert said.startswith(f"slow 1 thread on {os.cpu_count()} cores, of which this process may use 1 (affinity).")
        assert "taskset" in said


@pytest.mark.parametrize(
    ("count", "cores", "quota", "said", "advice"),
    [
        ("1", 4, None, "slow 1 thread on 4 cores. OMP_NUM_THREADS is 1.", "unset OMP_NUM_THREADS"),
        ("8", 4, None, "slow 8 threads on 4 cores. OMP_NUM_THREADS is 8.", "export OMP_NUM_THREADS=4"),
        ("4", 4, None, "ok 4 threads on 4 cores.", ""),
        ("2", 4, 1.5, "slow 2 threads on 4 cores, with a CPU quota of 1.5.", "docker run --cpus"),
        ("3", 4, 3.0, "slow 3 threads on 4 cores, with a CPU quota of 3.", "Allow more cores"),
        ("4", 4, 8.0, "ok 4 threads on 4 cores, with a CPU quota of 8.", ""),
    ],
)
def test_threads_against_cores_and_quota(
    monkeypatch: pytest.MonkeyPatch, count: str, cores: int, quota: float | None, said: str, advice: str
) -> None:
    import math

    import torch

    from dsactl.diagnosis import processor
    from dsactl.engine import cores as engine

    monkeypatch.setenv("OMP_NUM_THREADS", count)
    monkeypatch.setattr(torch, "get_num_threads", lambda: int(count))
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    for place in (processor, engine):
        monkeypatch.setattr(place, "cpu_quota", lambda: quota or math.inf)
    found = next(processor.threads())
    assert f"{found.state} {found.found}".startswith(said)
    assert advice in found.advice
    assert bool(advice) == bool(found.advice)


@pytest.mark.parametrize(
    ("variable", "value", "state"),
    [
        ("GOMP_SPINCOUNT", "3000", "ok"),
        ("GOMP_SPINCOUNT", "300000", "slow"),
        ("GOMP_SPINCOUNT", "infinite", "slow"),
        ("OMP_WAIT_POLICY", "active", "slow"),
        ("OMP_WAIT_POLICY", "PASSIVE", "ok"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
def test_threads_that_spin(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, state: str) -> None:
    from dsactl.diagnosis.processor import _spinning

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(variable, value)
    found = _spinning(2)
    assert (found.state, f"{variable}={value}" in found.found) == (state, True)
    assert found.advice == (f"unset {variable}" if state == "slow" else "")
    assert _spinning(1).state == "ok"


@pytest.mark.parametrize(
    ("can", "why"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bfloat16, which AMX"),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, "bfloat16, which AVX-512"),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, "float32, since AVX-512 of Intel"),
        ({"avx2": True}, "float32, since this processor has no bfloat16"),
    ],
)
def test_the_default_precision_and_why(monkeypatch: pytest.MonkeyPatch, can: dict[str, object], why: str) -> None:
    import torch

    from dsactl.diagnosis.processor import instructions

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    [found] = instructions()
    assert (found.state, f"Default precision: {why}" in found.found) == ("ok", True)
    assert ("no AVX-512 bfloat16" in found.found) != bool(can.get("avx512_bf16"))
    if "amx_bf16" in can:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        [found] = instructions()
        assert (found.state, found.advice) == ("slow", "unset ONEDNN_MAX_CPU_ISA")


def test_torch_that_cannot_be_loaded(tmp_path: Path) -> None:
    """The lines that do not need torch are there all the same, and the report."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text('raise ImportError("libtorch.so: cannot open shared object file")')
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "dsactl", "doctor", "--report"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[2] == (
        "broken    packages: Torch or torchvision cannot be loaded: libtorch.so: cannot open shared object file."
    )
    assert "unknown   speed: Not checked: libtorch.so: cannot open shared object file." in lines
    assert any(line.startswith("ok        store: ") for line in lines)
    assert "Traceback" not in ended.stderr
