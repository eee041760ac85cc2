"""Checkpoints: named tensors and a JSON description in one safetensors file, written atomically."""

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
    """Write the checkpoint at `path`, replacing an existing one atomically.

    Args:
        path: the file.
        tensors: on any device; an empty mapping is allowed.
        about: description, JSON values.

    Raises:
        registry.StoreError: the disk is full, or the folder cannot be written to.
    """
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(on_cpu, {"about": json.dumps(dict(about))}))


def read_checkpoint(data: bytes, path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the description that `save_checkpoint` wrote.

    Args:
        data: the file's content.
        path: the file's path, for the error message.
        device: device of the returned tensors.

    Raises:
        RunError: the file is damaged.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["about"])
        # Cloned: the loaded tensors share the buffer of the file, at any alignment.
        return {name: tensor.clone().to(device) for name, tensor in load(data).items()}, about
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"The checkpoint {path} is damaged ({error}).", "Start over with `fresh=True`.") from error
