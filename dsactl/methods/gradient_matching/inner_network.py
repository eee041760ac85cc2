"""The network of an outer iteration of Algorithm 1: newly drawn, and trained on the synthetic images.

    θ_0 ~ P(θ_0);  θ_{t+1} ← SGD on L(A(S)), ς_θ epochs

IDC trains it on real images instead.

Shapes: K classes, I images per class, C, H, W, N images, B images of a batch. Stacked tensors (`_M`) have one network.
"""

import torch
from torch import Generator, Tensor, nn

from dsactl.augmentation.composed import ComposedAugmenter
from dsactl.augmentation.packed import Augmenter
from dsactl.augmentation.strategy import SCHEMES, Strategy
from dsactl.data.dataset import Dataset, sample_without_replacement
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.networks.build import Buffers, Parameters, initial_state
from dsactl.paper import MOMENTUM, WEIGHT_DECAY
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe
from dsactl.training.cuda_graph import CapturedTraining
from dsactl.training.sgd import PlainTraining, Plan, SgdTraining, Training, stack, unstack


class InnerNetwork:
    """The networks of a run, drawn and trained by their positions in it.

    Args:
        real: the dataset, on the device to compute on.
        recipe: of Algorithm 1.
        network: the structure; may be fused.
        captured: whether steps on synthetic images are replayed as CUDA graphs.
    """

    def __init__(self, real: Dataset, recipe: Recipe, network: nn.Module, *, captured: bool = False) -> None:
        self._recipe, self._network, self._device = recipe, network, real.train.images_NCHW.device
        self._decode = parametrisation(recipe.formation).decode
        self._labels_N = real.labels(recipe.decoded)
        on_real = recipe.settings_as(GradientMatching).variant.network_data == "real"
        self._training: RealTraining | Training = (
            RealTraining(real, recipe, network)
            if on_real
            else training_of(network, recipe, real.size, captured=captured)
        )

    def fresh(self, k: int) -> tuple[Parameters, Buffers]:
        """Return parameters and buffers of outer iteration k before its first inner step."""
        return initial_state(self._network, generator(self._recipe.seed, "network", k), self._device)

    def train(
        self, parameters: Parameters, buffers: Buffers, velocity: Parameters, images_KICHW: Tensor, k: int, t: int
    ) -> tuple[Parameters, Buffers, Parameters]:
        """Return parameters, buffers and velocity after the training that follows inner step t.

        Args:
            parameters, buffers: of the network.
            velocity: its momentum; empty for zero, and always if it is trained on the synthetic images.
            images_KICHW: the synthetic images.
            k, t: outer iteration and inner step, the position of the draws.
        """
        source = generator(self._recipe.seed, "network-training", k, t)
        if isinstance(self._training, RealTraining):
            return self._training(parameters, buffers, velocity, source)
        parameters_M, buffers_M = self._training(
            stack([parameters]),
            stack([buffers]),
            self._decode(images_KICHW.flatten(0, 1)),
            self._labels_N,
            [source],
        )
        return unstack(parameters_M, 0), unstack(buffers_M, 0), {}


class RealTraining:
    """Training on real images, with a momentum that continues from call to call (IDC).

    Args:
        real: the dataset, on the device to compute on.
        recipe: of Algorithm 1.
        network: the structure; may be fused.
    """

    def __init__(self, real: Dataset, recipe: Recipe, network: nn.Module) -> None:
        self._real, self._network, self._count = real, network, real_images(recipe, real)
        self._plan = _plan(recipe, MOMENTUM, WEIGHT_DECAY)
        scheme = SCHEMES[recipe.settings_as(GradientMatching).scheme]
        self._augment = _augmenter(recipe, real.size, augments=scheme.real)

    def __call__(
        self, parameters: Parameters, buffers: Buffers, velocity: Parameters, source: Generator
    ) -> tuple[Parameters, Buffers, Parameters]:
        """Return parameters, buffers and velocity after the epochs, each of other real images.

        Args:
            parameters, buffers: of the network; not changed.
            velocity: its momentum; empty for zero.
            source: a CPU generator.
        """
        split, plan = self._real.train, self._plan
        states_M = stack([parameters]), stack([buffers]), stack([velocity]) if velocity else None
        descent = SgdTraining(self._network, plan, self._augment, *states_M)
        for _ in range(plan.epochs):
            chosen_N = sample_without_replacement(len(split), self._count, source).to(split.labels_N.device)
            for chosen_B in torch.split(chosen_N, plan.batch):
                descent.step(self._real.at, split.labels_N, chosen_B[None], [source], plan.lr)
        trained = {name: tensor.detach() for name, tensor in descent.parameters_M.items()}
        return unstack(trained, 0), unstack(descent.buffers_M, 0), unstack(descent.velocity_M, 0)


def real_images(recipe: Recipe, real: Dataset) -> int:
    """Return the number of real images per epoch of a network's training: whole batches, or all if there are fewer."""
    settings = recipe.settings_as(GradientMatching)
    batches = -(-settings.variant.network_images // settings.batch_train)
    return min(batches * settings.batch_train, len(real.train))


def training_of(network: nn.Module, recipe: Recipe, size: tuple[int, int], *, captured: bool) -> Training:
    """Return the function that trains networks on synthetic images by a recipe of Algorithm 1."""
    plan = _plan(recipe)
    # They are augmented if the matching augments the synthetic images.
    augment = _augmenter(recipe, size, augments=SCHEMES[recipe.settings_as(GradientMatching).scheme].synthetic)
    if captured and not plan.cutmix and isinstance(augment, Augmenter):
        return CapturedTraining(network, plan, augment)
    return PlainTraining(network, plan, augment)


def _plan(recipe: Recipe, momentum: float = 0.0, weight_decay: float = 0.0) -> Plan:
    settings = recipe.settings_as(GradientMatching)
    return Plan(
        settings.network_epochs,
        settings.network_lr,
        momentum,
        weight_decay,
        settings.batch_train,
        cutmix=settings.variant.cutmix,
        precision=recipe.precision,
    )


def _augmenter(recipe: Recipe, size: tuple[int, int], *, augments: bool) -> Augmenter | ComposedAugmenter:
    """Return the augmentation of training batches, which has no cutout where there is CutMix."""
    variant = recipe.settings_as(GradientMatching).variant
    strategy = variant.kinds(recipe.strategy) if augments else Strategy()
    if variant.cutmix:
        strategy = Strategy(kind for kind in strategy if kind != "cutout")
    return (ComposedAugmenter if variant.combination == "composed" else Augmenter)(strategy, size)
