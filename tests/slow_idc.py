"""IDC as its paper has it: modules, hooks and loops over classes and parameters, from dsactl's draws."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsactl.augmentation.composed import draw_composed
from dsactl.augmentation.cutmix import CutMix
from dsactl.augmentation.strategy import Strategy
from dsactl.augmentation.transforms import augment
from dsactl.data.dataset import Dataset, sample_without_replacement
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.methods.gradient_matching.idc import IdcMatching
from dsactl.networks.build import build, initial_state
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe


def kinds_of(recipe: Recipe) -> Strategy:
    return Strategy(recipe.settings_as(IdcMatching).matching_strategy.split("_"))


def slow_distance(synthetic: dict[str, Tensor], real: dict[str, Tensor], settings: IdcMatching) -> Tensor:
    total = torch.zeros(())
    for name, own in synthetic.items():
        if settings.match == "all" or own.ndim == 4:
            difference = own - real[name]
            total = total + (difference.abs() if settings.distance == "l1" else difference**2).sum()
    return total


def gradients(network: nn.Module, images: Tensor, label: int, *, twice: bool) -> dict[str, Tensor]:
    loss = F.cross_entropy(network(images), torch.full((len(images),), label))
    found = torch.autograd.grad(loss, list(network.parameters()), create_graph=twice)
    return {name: each for (name, _), each in zip(network.named_parameters(), found, strict=True)}


def slow_training(
    network: nn.Module, optimiser: torch.optim.Optimizer, real: Dataset, recipe: Recipe, source: torch.Generator
) -> None:
    """Epochs on real images with torch's SGD."""
    settings = recipe.settings_as(IdcMatching)
    kinds = Strategy(kind for kind in kinds_of(recipe) if kind != "cutout" or not settings.cutmix)
    kinds = kinds if settings.scheme == "siamese" else Strategy()
    whole = -(-settings.network_images // settings.batch_train) * settings.batch_train
    for _ in range(settings.network_epochs):
        chosen = sample_without_replacement(len(real.train), whole, source)
        for first in range(0, len(chosen), settings.batch_train):
            batch = chosen[first : first + settings.batch_train]
            images = augment(real.at(batch), draw_composed(kinds, len(batch), real.size, source))
            targets = F.one_hot(real.train.labels_N[batch], real.classes).to(images)
            if settings.cutmix:
                mix = CutMix.draw(settings.cutmix, len(batch), real.size, source)
                images, targets = mix.images(images), mix.targets(targets)
            optimiser.zero_grad()
            F.cross_entropy(network(images), targets).backward()
            optimiser.step()


def slow_condense(real: Dataset, recipe: Recipe) -> Iterator[Tensor]:
    """IDC on pixels in 0 … 1, with modules, one class after the other and torch's SGD, from dsactl's draws.

    Yields:
        The images K×I×C×H×W in 0 … 1 after every inner step.
    """
    settings, stored = recipe.settings_as(IdcMatching), parametrisation(recipe.formation)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (real.mean, real.std))
    pixels = (initial_images(real, recipe, settings.init) * std + mean).requires_grad_()
    image_optimiser = torch.optim.SGD([pixels], lr=settings.image_lr, momentum=settings.image_momentum)
    for k in range(settings.iterations):
        if settings.clamp == "on":
            pixels.data.clamp_(0, 1)
        network = build(recipe.network, real.channels, real.size, real.classes)
        network.load_state_dict(initial_state(network, generator(recipe.seed, "network", k))[0], strict=False)
        optimiser = torch.optim.SGD(network.parameters(), settings.network_lr, momentum=0.9, weight_decay=5e-4)
        for t in range(settings.inner_steps):
            image_optimiser.zero_grad()
            for label in range(real.classes):
                batch = real.draw(label, settings.batch_real, generator(recipe.seed, "real-batch", k, t, label))
                source = generator(recipe.seed, "transformation", k, t, label)
                omega = draw_composed(kinds_of(recipe), 1, real.size, source)
                decoded = stored.decode((pixels[label] - mean) / std)
                if settings.batch_synthetic < len(decoded):
                    source = generator(recipe.seed, "synthetic-batch", k, t, label)
                    decoded = decoded[sample_without_replacement(len(decoded), settings.batch_synthetic, source)]
                theirs = gradients(network, augment(batch, omega), label, twice=False)
                ours = gradients(network, augment(decoded, omega), label, twice=True)
                slow_distance(ours, theirs, settings).backward(inputs=[pixels])
            image_optimiser.step()
            if t == settings.inner_steps - 1 and settings.clamp == "on":
                pixels.data.clamp_(0, 1)
            yield pixels.detach().clone()
            if t < settings.inner_steps - 1:
                slow_training(network, optimiser, real, recipe, generator(recipe.seed, "network-training", k, t))
