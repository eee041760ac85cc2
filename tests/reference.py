"""Inputs of the golden values, and slow, paper-shaped versions of what dsactl does fast.

Nothing here is imported by dsactl, and nothing here uses its gradients, distances or training.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from dsactl.augmentation.transforms import augment, draw
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.random import generator
from dsactl.networks.build import build, initial_state
from dsactl.recipes.recipe import Recipe

GOLDEN = Path(__file__).parent / "golden"
VALUES = json.loads((GOLDEN / "reference.json").read_text())
TENSORS = load_file(GOLDEN / "reference.safetensors")


def golden_image(count: int, channels: int, height: int, width: int, k: float) -> Tensor:
    """sin(0.011 j + k) + cos(0.0173 j (1 + 0.1 k)) over the flat index j, rounded to float32, as float64."""
    j = torch.arange(count * channels * height * width, dtype=torch.float64)
    values = torch.sin(0.011 * j + k) + torch.cos(0.0173 * j * (1 + 0.1 * k))
    return values.float().double().view(count, channels, height, width)


def golden_parameters(network: nn.Module) -> dict[str, Tensor]:
    """The i-th parameter's element j is sin(0.37 j + 1.3 i), scaled as for a Kaiming initialisation.

    Rounded to float32, as float64.
    """
    norms = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm)
    }
    values = {}
    for i, (name, parameter) in enumerate(network.named_parameters()):
        value = torch.sin(0.37 * torch.arange(parameter.numel(), dtype=torch.float64) + 1.3 * i)
        if parameter.ndim > 1:
            value *= math.sqrt(2 / (parameter.numel() / parameter.shape[0]))
        else:
            value = 0.1 * value + (name.rpartition(".")[0] in norms and name.endswith("weight"))
        values[name] = value.float().double().view(parameter.shape)
    return values


def slow_distance(synthetic: list[Tensor], real: list[Tensor], metric: str) -> Tensor:
    """The matching distance with a loop over every row (Section 3.1; DC, Section 3.2)."""
    if metric == "mse":
        return sum(((s - r) ** 2).sum() for s, r in zip(synthetic, real, strict=True))
    if metric == "cos":
        s, r = (torch.cat([g.reshape(-1) for g in gradient]) for gradient in (synthetic, real))
        return 1 - torch.dot(s, r) / (s.norm() * r.norm() + 1e-6)
    total = torch.zeros(())
    for s, r in zip(synthetic, real, strict=True):
        if s.ndim == 1:
            continue
        for row_s, row_r in zip(s.reshape(s.shape[0], -1), r.reshape(r.shape[0], -1), strict=True):
            total = total + 1 - torch.dot(row_s, row_r) / (row_s.norm() * row_r.norm() + 1e-6)
    return total


def slow_condense(real: Dataset, recipe: Recipe) -> Iterator[Tensor]:
    """Algorithm 1 as the paper writes it: modules, plain double backward, one class after the other, torch's SGD.

    It takes the same draws as dsactl, from the same generators, and shares no other step with it.

    Yields:
        The images K×I×C×H×W after every inner step.
    """
    images = [
        (
            real.draw(label, recipe.ipc, generator(recipe.seed, "initial-images", label))
            if recipe.settings.init == "real"
            else torch.randn(
                recipe.ipc, real.channels, *real.size, generator=generator(recipe.seed, "initial-images", label)
            )
        ).requires_grad_()
        for label in range(real.classes)
    ]
    image_optimiser = torch.optim.SGD(images, lr=recipe.settings.image_lr, momentum=recipe.settings.image_momentum)
    for k in range(recipe.settings.iterations):
        network = build(recipe.network, real.channels, real.size, real.classes)
        drawn, _ = initial_state(network, generator(recipe.seed, "network", k))
        network.load_state_dict(drawn, strict=False)
        network.train()
        weights = list(network.parameters())
        network_optimiser = torch.optim.SGD(weights, lr=recipe.settings.network_lr)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for t in range(recipe.settings.inner_steps):
            if norms:
                network.train()
                with torch.no_grad():
                    sources = [generator(recipe.seed, "batch-norm", k, t, label) for label in range(real.classes)]
                    network(torch.cat([real.draw(label, 16, source) for label, source in enumerate(sources)]))
                for norm in norms:
                    norm.eval()
            image_optimiser.zero_grad()
            for label in range(real.classes):
                batch = real.draw(label, recipe.settings.batch_real, generator(recipe.seed, "real-batch", k, t, label))
                source = generator(recipe.seed, "transformation", k, t, label)
                if recipe.settings.scheme == "siamese":
                    omega = own_omega = draw(recipe.strategy, 1, real.size, source)
                else:  # the rows C, D and F of Table 4, and A and B, which augment nothing while condensing
                    on_real, on_synthetic = (
                        recipe.settings.scheme in ("real", "both"),
                        recipe.settings.scheme in ("synthetic", "both"),
                    )
                    omega = draw(recipe.strategy, len(batch), real.size, source) if on_real else None
                    own_omega = draw(recipe.strategy, recipe.ipc, real.size, source) if on_synthetic else None
                loss_real = F.cross_entropy(network(augment(batch, omega)), torch.full((len(batch),), label))
                gradient_real = [g.detach() for g in torch.autograd.grad(loss_real, weights)]
                loss = F.cross_entropy(network(augment(images[label], own_omega)), torch.full((recipe.ipc,), label))
                gradient = torch.autograd.grad(loss, weights, create_graph=True)
                slow_distance(list(gradient), gradient_real, recipe.settings.distance).backward(inputs=[images[label]])
            image_optimiser.step()
            yield torch.stack([image.detach().clone() for image in images])
            if t == recipe.settings.inner_steps - 1:
                break
            network.train()
            source = generator(recipe.seed, "network-training", k, t)
            inputs = torch.cat([image.detach() for image in images])
            labels = torch.arange(real.classes).repeat_interleave(recipe.ipc)
            for _ in range(recipe.settings.network_epochs):
                for chosen in torch.split(torch.randperm(len(inputs), generator=source), recipe.settings.batch_train):
                    inputs_now = inputs[chosen]
                    if recipe.settings.scheme in ("siamese", "synthetic", "both"):
                        inputs_now = augment(inputs_now, draw(recipe.strategy, len(chosen), real.size, source))
                    loss = F.cross_entropy(network(inputs_now), labels[chosen])
                    network_optimiser.zero_grad()
                    loss.backward()
                    network_optimiser.step()


def small_dataset(classes: int = 3, per_class: int = 20, channels: int = 1, side: int = 8) -> Dataset:
    """A data set of the tests' own: each class a different pattern under noise, which a network can learn."""
    source = torch.Generator().manual_seed(0)
    patterns = torch.rand(classes, channels, side, side, generator=source)

    def split(count: int) -> ImageSet:
        labels = torch.arange(classes).repeat_interleave(count)
        noise = torch.rand(classes * count, channels, side, side, generator=source)
        return ImageSet.from_tensors(((0.7 * patterns[labels] + 0.3 * noise) * 255).byte(), labels, classes)

    names = tuple(f"class {label}" for label in range(classes))
    return Dataset("small", names, (0.5,) * channels, (0.25,) * channels, True, split(per_class), split(10))


def write_folder(root: Path, per_class: int = 10, side: int = 8) -> Path:
    """An image folder of two classes, bright and dark noise."""
    source = torch.Generator().manual_seed(0)
    for label, name in enumerate(("dark", "bright")):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = torch.rand(side, side, generator=source) * 100 + 120 * label
            Image.fromarray(pixels.byte().numpy()).save(root / name / f"{index}.png")
    return root
