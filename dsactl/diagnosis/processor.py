"""The processor: its instructions for matrices, the default precision, and its cores."""

import math
import os
import sys
from collections.abc import Iterator, Mapping

import torch

from dsactl import SPINS
from dsactl.diagnosis.finding import Finding
from dsactl.engine.cores import cpu_quota, own_cores, usable_cores
from dsactl.engine.device import capabilities, resolve_precision
from dsactl.text.formatting import many

_CPU = torch.device("cpu")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware, which torch may use."""
    can = capabilities()
    return bool(can.get("amx_bf16") or can.get("avx512_bf16"))


def instructions() -> Iterator[Finding]:
    """Say which instructions torch uses, and which precision is the default for it."""
    can, level = capabilities(), torch.backends.cpu.get_cpu_capability()
    precision = resolve_precision("auto", _CPU)
    has = ", ".join(f"{'no ' * (not here)}{name}" for name, here in features(can).items())
    found = f"{can.get('cpu_name') or 'CPU'}: {has}; torch uses {level}. Default precision: {precision}, {_why(can)}."
    limits = {
        name: os.environ[name] for name in _LIMITS if os.environ.get(name, "").upper() not in ("", "ALL", "DEFAULT")
    }
    raw: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    hidden = [name for name in ("amx_bf16", "avx512_bf16") if raw.get(name) and not can.get(name)]
    below = raw.get("avx512_f") and "AVX512" not in level
    if limits and (hidden or below):
        settings = ", ".join(f"{name}={value}" for name, value in limits.items())
        yield Finding("processor", "slow", f"{found} {settings} keeps torch from more.", f"unset {' '.join(limits)}")
    elif level == "DEFAULT":
        yield Finding("processor", "slow", found, "Use a machine with AVX2, or one with a GPU.")
    else:
        yield Finding("processor", "ok", found)


def features(can: Mapping[str, object]) -> dict[str, bool]:
    """Return the features that decide the speed of matrix products, and whether the processor has them."""
    names = {"AVX2": "avx2", "AVX-512": "avx512_f", "AVX-512 bfloat16": "avx512_bf16", "AMX bfloat16": "amx_bf16"}
    return {name: bool(can.get(key)) for name, key in names.items()}


def _why(can: Mapping[str, object]) -> str:
    if can.get("amx_bf16"):
        return "which AMX multiplies several times faster"
    if can.get("avx512_bf16"):
        intel = "Intel" in str(can.get("cpu_name"))
        return "since AVX-512 of Intel is slower in bfloat16" if intel else "which AVX-512 multiplies faster here"
    return "since this processor has no bfloat16"


def thread_count() -> int:
    """Return the number of torch's threads; `engine.device`, imported above, has fitted it to the CPU quota."""
    return torch.get_num_threads()


def threads() -> Iterator[Finding]:
    """Compare torch's threads with the cores that this process may use, and look how threads wait."""
    total, count, usable, quota = os.cpu_count() or 1, thread_count(), usable_cores(), cpu_quota()
    affinity = len(own_cores())
    given = os.environ.get("OMP_NUM_THREADS")
    figures = {"threads": count, "cores": total, "usable_cores": min(affinity, quota)}
    said = f"{many(count, 'thread')} on {many(total, 'core')}"
    if affinity < total:
        said += f", of which this process may use {affinity} (affinity)"
    if math.isfinite(quota):
        said += f", with a CPU quota of {quota:g}"
    set_by = f" OMP_NUM_THREADS is {given}." if given else ""
    advice = ""
    if count > usable:
        advice = f"export OMP_NUM_THREADS={usable}: more threads than cores wait for each other."
    elif quota < count:
        advice = "Raise the quota (docker run --cpus, Kubernetes limits.cpu): threads are stopped for part of the time."
    elif count < usable and given:
        advice = "unset OMP_NUM_THREADS, unless other processes need the cores."
    elif usable < total:
        advice = "Allow more cores, if they are free (taskset, docker run --cpus, Slurm's cpus-per-task)."
    yield Finding("threads", "slow" if advice else "ok", f"{said}.{set_by}", advice, figures)
    yield _spinning(count)


def _spinning(count: int) -> Finding:
    """Say for how long OMP's threads spin while they wait, which takes a core from another process."""
    policy, bound = os.environ.get("OMP_WAIT_POLICY", ""), os.environ.get("GOMP_SPINCOUNT", "")
    long = policy.lower() == "active" or (not policy and not (bound.isdigit() and int(bound) <= SPINS))
    says = (
        f"OMP_WAIT_POLICY={policy}" if policy else f"GOMP_SPINCOUNT={bound}" if bound else "GOMP_SPINCOUNT is not set"
    )
    if sys.platform != "linux" or count == 1 or not long:
        return Finding("spinning", "ok", f"{says}: threads that wait give their core away soon.")
    name = "OMP_WAIT_POLICY" if policy else "GOMP_SPINCOUNT"
    found = f"{says}: threads that wait keep their core, which is slow beside any other busy process."
    return Finding("spinning", "slow", found, f"unset {name}")
