"""The speed of matrix products, which most of the work consists of; about a second."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dsactl.diagnosis.finding import Finding
from dsactl.diagnosis.processor import has_bfloat16, thread_count
from dsactl.engine.device import resolve_precision
from dsactl.text.formatting import many

_SIDE = 1024
_SECONDS = 0.25  # per measurement
_GAIN = 1.2  # of all threads over one, below which they are not worth it
_SHARE = 0.85  # of a core, below which something else takes the rest


@dataclass(frozen=True)
class Rate:
    """A measured speed.

    Attributes:
        gflops: 10⁹ operations per second, over the whole time and not only in the best moment: a CPU quota lets a
            process run at full speed for a part of each tenth of a second.
        share: processor time of this process per thread and second; 1 if its threads always had a core.
    """

    gflops: float
    share: float


def measure(dtype: torch.dtype, threads: int, seconds: float = _SECONDS) -> Rate:
    """Measure products of square matrices on the CPU with this many threads; torch's number is as before afterwards."""
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = torch.ones(2, _SIDE, _SIDE).to(dtype).unbind()
        a @ b  # starts the threads
        began, used, products = time.perf_counter(), time.process_time(), 0
        while (elapsed := time.perf_counter() - began) < seconds or products < 2:
            a @ b
            products += 1
        elapsed = time.perf_counter() - began
        return Rate(2e-9 * products * _SIDE**3 / elapsed, (time.process_time() - used) / elapsed / threads)
    finally:
        torch.set_num_threads(usual)


def speed() -> Iterator[Finding]:
    """Measure float32, and bfloat16 where the processor has it, with one thread and with all."""
    count = thread_count()
    types = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if has_bfloat16() else {})
    yield judged({name: {n: measure(dtype, n) for n in sorted({1, count})} for name, dtype in types.items()})


def judged(rates: dict[str, dict[int, Rate]]) -> Finding:
    """Return the finding for the rates of each precision by the number of threads."""
    count = max(rates["float32"])
    one, every = rates["float32"][1], rates["float32"][count]
    found, advice = f"Matrix products: {'; '.join(f'{name} {_words(each)}' for name, each in rates.items())}.", []
    if one.share < _SHARE:
        found += f" One thread had {one.share:.2f} of a core."
        advice.append("A CPU quota or another process takes the rest: see the lines above.")
    elif every.gflops < _GAIN * one.gflops and count > 1:
        found += f" {count} threads are not faster than one ({every.gflops / one.gflops:.1f} times)."
        advice.append("Look for busy processes, a CPU quota or shared cores above; meanwhile export OMP_NUM_THREADS=1.")
    half = rates.get("bfloat16", rates["float32"])[count]
    if half.gflops < every.gflops and resolve_precision("auto", torch.device("cpu")) == "bfloat16":
        found += " The default precision, bfloat16, is the slower one here."
        advice.append('Use `precision="float32"`.')
    figures = {
        f"{name}_gflops_{many(n, 'thread').replace(' ', '_')}": rate.gflops
        for name, each in rates.items()
        for n, rate in each.items()
    }
    return Finding("speed", "slow" if advice else "ok", found, " ".join(advice), figures)


def _words(rates: dict[int, Rate]) -> str:
    one, *more = (f"{rate.gflops:,.0f} GFLOP/s with {many(n, 'thread')}" for n, rate in rates.items())
    return ", ".join([one, *(text.replace(" GFLOP/s", "").replace(" threads", "") for text in more)])
