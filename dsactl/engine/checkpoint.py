"""Checkpoints: named tensors and a JSON description in one safetensors file, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
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


def read_checkpoint(data: bytes, path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` wrote.

    Args:
        data: the file's content.
        path: where it came from, for the error.
        device: where the tensors go.

    Raises:
        RunError: the file is damaged.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["about"])
        # Copied: what the file gives lies in its bytes, at any alignment.
        return {name: tensor.clone().to(device) for name, tensor in load(data).items()}, about
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"The checkpoint {path} is damaged ({error}).", "Start over with --fresh.") from error
