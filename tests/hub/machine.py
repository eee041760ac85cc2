"""A user's machine: a store, a cache of the Hub's client, and the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np

import registry
from dsactl.recipes.recipe import Request
from hub.server import TOKEN, LoopbackHub
from hub.worker import Worker
from registry.pictures import png, to_pixels, to_uint8
from registry.tensors import describe

NAME = "digits-dsa-convnet-ipc1"
NO_PROXY = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
"""For a client that would ask a proxy for the Hub on loopback."""
NAMES = ["no", "größe | 2", "1"]
"""Class names that YAML and Markdown could take for something else."""


def levels(tensors: dict[str, Any], manifest: registry.Manifest) -> tuple[np.ndarray, int]:
    """A set's 8-bit pictures N×H×W×C, and how many values were clipped."""
    return to_uint8(to_pixels(tensors["images"], manifest.dataset.mean, manifest.dataset.std))


class Machine:
    """One user's machine.

    Args:
        hub: that it talks to.
        worker: runs commands.
        program: runs a command in a process of its own; see `conftest.program`.
        folder: for its files.
    """

    def __init__(
        self, hub: LoopbackHub, worker: Worker, program: Callable[..., CompletedProcess[str]], folder: Path
    ) -> None:
        self._worker, self._program, self._folder = worker, program, folder
        self.home = folder / "store"
        folder.mkdir()
        self.store = registry.Store(self.home)
        self.environment = {"DSACTL_HOME": str(self.home), "HF_TOKEN": TOKEN}
        self.client = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0"}
        self.client |= NO_PROXY

    def run(self, *arguments: str, code: int | None = 0, **environment: str) -> CompletedProcess[str]:
        """Run a command that must end with this code (None for any), without a traceback, and without naming the token.

        With DSACTL_DEBUG there may be a traceback. With that or settings of the client, which it reads when it is
        imported, in a process and with a cache of its own.
        """
        changed = {**self.environment, **environment}
        if any(name not in self.environment for name in environment):
            done = self._program(*arguments, **{**self.client, **changed})
        else:
            done = self._worker.run(arguments, changed, self._folder)
        assert code in (None, done.returncode), done.stdout + done.stderr
        for text in (done.stdout, done.stderr):
            assert "DSACTL_DEBUG" in environment or "Traceback" not in text, text
            assert TOKEN not in text
        return done

    def json(self, *arguments: str, **environment: str) -> Any:
        """What a command answers with `--json`."""
        return json.loads(self.run(*arguments, "--json", **environment).stdout)

    def add(self, seed: int = 0, *, channels: int = 1, side: int = 8) -> registry.StoredSet:
        """Store a set of six square images as the next version of `NAME`, with a picture and a result."""
        source = np.random.default_rng(seed)
        images = source.normal(scale=2.0, size=(6, channels, side, side)).astype(np.float32)
        tensors = {"images": images, "labels": np.repeat(np.arange(3), 2)}
        recipe = Request("digits", 2, seed=seed).resolve(
            "digits", "0" * 64, (channels, side, side), mirrored=False, precision="float32"
        )
        manifest = registry.Manifest(
            dataset=registry.DatasetInfo(
                name="digits",
                split="train",
                checksum="0" * 64,
                class_names=NAMES,
                mean=[0.5] * channels,
                std=[0.25] * channels,
                counts=[3, 4, 5],
            ),
            method="dsa",
            recipe=recipe.to_dict(),
            network="convnet",
            seed=seed,
            tensors=describe(tensors),
            provenance={"program": "dsactl 0"},
        )
        stored = self.store.put(registry.parse_name(NAME), tensors, manifest, png(levels(tensors, manifest)[0][0]))
        self.store.add_evaluation(
            stored.digest, {"digest": stored.digest, "network": "convnet", "mean": 88.46, "std": 0.64, "n": 20}
        )
        return stored

    def files(self) -> dict[str, bytes]:
        """Every file of the store but its lock."""
        return {
            str(path.relative_to(self.home)): path.read_bytes()
            for path in self.home.rglob("*")
            if path.is_file() and path.name != "lock"
        }
