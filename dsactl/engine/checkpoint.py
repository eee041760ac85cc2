"""Checkpoints: named tensors and a JSON description in one safetensors file, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dsactl.errors import RunError
from registry.files import write_atomically


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Replace the checkpoint at `path`.

    Args:
        path: the file.
        tensors: from any device; an empty mapping is allowed.
        about: JSON values.

    Raises:
        registry.StoreError: the disk is full, or the folder cannot be written to.
    """
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(on_cpu, {"about": json.dumps(dict(about))}))


def load_checkpoint(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint at `path`, or None where there is none.

    Raises:
        RunError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            # Copied: what the file gives may lie in a mapping of it, at any alignment.
            tensors = {name: file.get_tensor(name).clone().to(device) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"The checkpoint {path} is damaged ({error}).", "Start over with --fresh.") from error
    return tensors, about
