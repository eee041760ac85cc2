"""GPUs: whether torch can use them, compute right on them, and capture graphs."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from dsactl.diagnosis.finding import Finding, first_line
from dsactl.engine.gpus import gpu_fault, visible_gpus
from dsactl.engine.graphs import Graph
from dsactl.text.formatting import bytes_in_words

_TOLERANCE = 1e-4  # of the largest value: float32 is at 10⁻⁶, TF32 at 10⁻³
_MEMORY = 2 * 10**9  # bytes, enough for most runs
_INSTALL = (
    "pip install --force-reinstall torch torchvision, with the command that pytorch.org/get-started/locally gives."
)


def cuda() -> Iterator[Finding]:
    """Look at every CUDA device, and compute on it."""
    count, why = visible_gpus()
    if not count:
        yield _absent(why)
        return
    yield Finding("CUDA", "ok", f"Torch is built for CUDA {torch.version.cuda}; {_driver()}. {_tf32()}")
    for index in range(count):
        device = torch.device("cuda", index)
        name = str(device)
        if (fault := gpu_fault(index)) is not None:
            yield Finding(name, "broken", fault, _INSTALL)
            continue
        try:
            yield _memory(device)
            yield from computed(device)
            yield _graphs(device)
        except RuntimeError as error:
            yield Finding(
                name, "broken", f"It does not compute: {first_line(error)}.", 'Restart it, or `device="cpu"`.'
            )


def _absent(why: str) -> Finding:
    smi = shutil.which("nvidia-smi")
    if torch.version.cuda is None and torch.version.hip is None:
        found = f"Torch {torch.__version__} is built for the CPU only"
        if smi:
            return Finding("CUDA", "slow", f"{found}, and nvidia-smi is here.", f"For the GPU: {_INSTALL}")
        return Finding("CUDA", "not here", f"{found}.")
    if why:
        return Finding("CUDA", "broken", f"The GPU is not used: {why}", f"{_driver()}. Mend that, or: {_INSTALL}")
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return Finding("CUDA", "not here", "CUDA_VISIBLE_DEVICES hides all GPUs.", "unset CUDA_VISIBLE_DEVICES")
    if smi and _smi("name"):
        return Finding(
            "CUDA", "broken", f"nvidia-smi finds {_smi('name')}, and torch does not.", f"{_driver()}. {_INSTALL}"
        )
    return Finding("CUDA", "not here", "There is no NVIDIA GPU.")


def _driver() -> str:
    """Return what is known of the driver."""
    version = _smi("driver_version")
    return f"driver {version}" if version else "nvidia-smi does not say which driver there is"


def _smi(field: str) -> str:
    """Return a field of nvidia-smi for the first GPU; empty if it does not say."""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.partition("\n")[0]


def _tf32() -> str:
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "1":
        return "NVIDIA_TF32_OVERRIDE=1 forces TF32."
    return "TF32 is turned off while sets are made and evaluated."


def _memory(device: torch.device) -> Finding:
    free, total = torch.cuda.mem_get_info(device)
    major, minor = torch.cuda.get_device_capability(device)
    name = torch.cuda.get_device_name(device)
    found = f"{name}, compute capability {major}.{minor}, {bytes_in_words(free)} of {bytes_in_words(total)} free."
    slow = free < _MEMORY
    advice = "See with nvidia-smi which processes use it, and stop them." if slow else ""
    return Finding(str(device), "slow" if slow else "ok", found, advice, {"free_bytes": free, "total_bytes": total})


def mps() -> Iterator[Finding]:
    """Compute on Apple's GPU."""
    if not torch.backends.mps.is_available():
        yield Finding("MPS", "not here", "There is no GPU of Apple.")
        return
    try:
        yield from computed(torch.device("mps"))
    except RuntimeError as error:
        yield Finding("MPS", "broken", f"It does not compute: {first_line(error)}.", 'Use `device="cpu"`.')


def computed(device: torch.device) -> Iterator[Finding]:
    """Compare a convolution and its gradient with the CPU's."""
    images, filters = _inputs()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        there = _gradient(images.to(device), filters.to(device)).cpu()
    here = _gradient(images, filters)
    error = float((there - here).abs().max() / here.abs().max())
    found = f"The gradient of a convolution differs from the CPU's by {error:.0e}."
    name = "MPS" if device.type == "mps" else f"{device}"
    if error <= _TOLERANCE:
        yield Finding(name, "ok", found, figures={"relative_error": error})
    elif os.environ.get("NVIDIA_TF32_OVERRIDE") == "1":
        yield Finding(name, "slow", f"{found} TF32 is forced.", "unset NVIDIA_TF32_OVERRIDE", {"relative_error": error})
    else:
        yield Finding(name, "broken", found, f'Use `device="cpu"`, or: {_INSTALL}', {"relative_error": error})


def _inputs() -> tuple[Tensor, Tensor]:
    """Return 8 images of 3×16×16, and 16 filters of 3×3."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, 16, 16, generator=generator), torch.randn(16, 3, 3, 3, generator=generator)


def _gradient(images: Tensor, filters: Tensor) -> Tensor:
    filters = filters.detach().requires_grad_()
    loss = F.conv2d(images, filters, padding=1).square().mean()
    return torch.autograd.grad(loss, filters)[0]


def _graphs(device: torch.device) -> Finding:
    """Capture a gradient as a graph, replay it on other images, and compare it with the uncaptured one."""
    images, filters = (tensor.to(device) for tensor in _inputs())
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.cuda.device(device), deterministic:
        held = images.clone()
        try:
            graph = Graph(lambda: _gradient(held, filters))
        except RuntimeError as error:
            found = f"Graphs cannot be captured ({first_line(error)}): small networks are slow."
            return Finding(f"{device} graphs", "slow", found, "Update the driver and torch.")
        held.copy_(2 * images)
        captured, plain = graph.replay().clone(), _gradient(2 * images, filters)
    difference = float((captured - plain).abs().max() / plain.abs().max())
    found = f"A captured gradient differs from the uncaptured one by {difference:.0e}."
    right = difference <= _TOLERANCE
    advice = "" if right else "Update the driver and torch."
    return Finding(f"{device} graphs", "ok" if right else "broken", found, advice, {"relative_error": difference})
