"""Device and precision of the computation."""

import contextlib
import os
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from dsactl.engine.code_cache import leave_unusable_folder
from dsactl.engine.cores import usable_cores
from dsactl.engine.gpus import gpu_fault, visible_gpus
from dsactl.engine.words import check_device, check_precision
from dsactl.errors import DeviceError
from registry.notices import notify_once

# Flush subnormal numbers (below about 10⁻³⁸) to 0: a CPU computes with them at a hundredth of the speed, and vanishing
# gradients of a deep network are full of them. Set at import, since torch's threads inherit it when they start.
torch.set_flush_denormal(True)

leave_unusable_folder()

# Threads beyond the CPU quota of a container are stopped for most of the time, and all others wait for them.
if not os.environ.get("OMP_NUM_THREADS") and usable_cores() < torch.get_num_threads():
    torch.set_num_threads(usable_cores())


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device for a name; "auto" prefers CUDA, then MPS, then the CPU.

    Where "auto" does not take a GPU that is there, a notice says why.

    Raises:
        DeviceError: an unknown name, or a device that this machine does not have or this build of torch cannot use.
    """
    check_device(name)
    if name == "auto":
        count, why = visible_gpus()
        fault = gpu_fault(0) if count else why
        if count and not fault:
            return torch.device("cuda")
        if fault:
            notify_once(f"The GPU is not used: {fault}")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count, why = visible_gpus()
        if (device.index or 0) >= count:
            found = "1 CUDA device" if count == 1 else f"{count} CUDA devices"
            raise DeviceError(f"Device {name!r} is not available: {found} found. {why}".strip(), 'Use `device="auto"`.')
        if fault := gpu_fault(device.index or 0):
            raise DeviceError(
                f"Device {name!r} cannot be used: {fault}",
                'Use `device="cpu"`, or install a driver and a torch that fit the GPU.',
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("Device 'mps' is not available.", 'Use `device="auto"`.')
    return device


def resolve_precision(name: str, device: torch.device) -> Literal["float32", "bfloat16"]:
    """Return the precision of the networks' forward and backward passes.

    "auto" is bfloat16 where the device multiplies matrices faster in it than in float32, up to several times, at no
    cost in accuracy (docs/performance.md): CPUs with AMX, AMD's with AVX-512's bfloat16, and GPUs from Ampere on.
    Elsewhere it is float32, as on Intel's CPUs whose AMX a virtual machine hides: their AVX-512 is slower in bfloat16.

    Raises:
        DeviceError: an unknown name, or bfloat16 on a device without it.
    """
    check_precision(name)
    if name == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise DeviceError("This GPU does not support bfloat16.", 'Use `precision="float32"`.')
    if name == "auto":
        return "bfloat16" if _prefers_bfloat16(device) else "float32"
    return "bfloat16" if name == "bfloat16" else "float32"


def _prefers_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and is_faster_in_bfloat16(capabilities())


def is_faster_in_bfloat16(can: Mapping[str, object]) -> bool:
    """Return whether a CPU with these capabilities multiplies matrices faster in bfloat16 than in float32."""
    return bool(can.get("amx_bf16") or (can.get("avx512_bf16") and "Intel" not in str(can.get("cpu_name"))))


def capabilities() -> dict[str, object]:
    """Return the CPU's capabilities under torch's names; only AMX in versions of torch that report no others.

    Instructions that ONEDNN_MAX_CPU_ISA forbids to oneDNN, which multiplies torch's matrices, count as missing.
    """
    get = getattr(torch.cpu, "get_capabilities", None)
    can = {"amx_bf16": torch.cpu._is_amx_tile_supported()} if get is None else dict(get())
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    if limit in _WITHOUT_BF16:
        return {**can, "amx_bf16": False, "avx512_bf16": False}
    return {**can, "amx_bf16": False} if limit in _WITHOUT_AMX else can


_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_WITHOUT_AMX = ("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512")


def prepare_device(device: torch.device) -> None:
    """Prepare a device for computing: on CUDA, make it the current device and its results reproducible.

    Graphs and streams belong to the current device, whichever device their tensors are on.
    """
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        compute_reproducibly()


def compute_reproducibly() -> None:
    """Make CUDA bit-reproducible: deterministic algorithms, and true float32 instead of TF32."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return a context that autocasts to bfloat16 if `precision` says so. Distances stay outside it, in float32."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return the tensor as float32, or unchanged if it is float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def describe_machine(device: torch.device) -> str:
    """Describe the machine, with its processor's name: "AMD EPYC, cpu, 2 threads, AVX512, BF16"; else as `describe`."""
    name = capabilities().get("cpu_name") if device.type == "cpu" else None
    return f"{name}, {describe(device)}" if name else describe(device)


def describe(device: torch.device, threads: int | None = None) -> str:
    """Describe the device for manifests and results: "cpu, 2 threads, AVX512, AMX" or "cuda, NVIDIA H200"."""
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        count = threads or torch.get_num_threads()
        can = capabilities()
        more = ", AMX" if can.get("amx_bf16") else ", BF16" if can.get("avx512_bf16") else ""
        return f"cpu, {count} {'thread' if count == 1 else 'threads'}, {torch.backends.cpu.get_cpu_capability()}{more}"
    return device.type
