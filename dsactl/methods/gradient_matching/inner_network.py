"""The network of an outer iteration of Algorithm 1: newly drawn, and trained on the synthetic images.

    θ_0 ~ P(θ_0);  θ_{t+1} ← SGD on L(A(S)), ς_θ epochs

Shapes: K classes, I images per class, C, H, W, N images. Stacked tensors (`_M`) have one network.
"""

from torch import Tensor, nn

from dsactl.augmentation.packed import Augmenter
from dsactl.augmentation.strategy import SCHEMES, Strategy
from dsactl.data.dataset import Dataset
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.networks.build import Buffers, Parameters, initial_state
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe
from dsactl.training.cuda_graph import CapturedTraining
from dsactl.training.sgd import PlainTraining, Plan, Training, stack, unstack


class InnerNetwork:
    """The networks of a run, drawn and trained by their positions in it.

    Args:
        real: the dataset, on the device to compute on.
        recipe: of method "dsa" or "dc".
        network: the structure; may be fused.
        captured: whether steps are replayed as CUDA graphs.
    """

    def __init__(self, real: Dataset, recipe: Recipe, network: nn.Module, *, captured: bool = False) -> None:
        self._recipe, self._network, self._device = recipe, network, real.train.images_NCHW.device
        self._training = training_of(network, recipe, real.size, captured=captured)
        self._decode = parametrisation(recipe.formation).decode
        self._labels_N = real.labels(recipe.decoded)

    def fresh(self, k: int) -> tuple[Parameters, Buffers]:
        """Return parameters and buffers of outer iteration k before its first inner step."""
        return initial_state(self._network, generator(self._recipe.seed, "network", k), self._device)

    def train(
        self, parameters: Parameters, buffers: Buffers, images_KICHW: Tensor, k: int, t: int
    ) -> tuple[Parameters, Buffers]:
        """Return parameters and buffers after the training that follows inner step t."""
        parameters_M, buffers_M = self._training(
            stack([parameters]),
            stack([buffers]),
            self._decode(images_KICHW.flatten(0, 1)),
            self._labels_N,
            [generator(self._recipe.seed, "network-training", k, t)],
        )
        return unstack(parameters_M, 0), unstack(buffers_M, 0)


def training_of(network: nn.Module, recipe: Recipe, size: tuple[int, int], *, captured: bool) -> Training:
    """Return the function that trains networks on synthetic images by a recipe of Algorithm 1."""
    settings = recipe.settings_as(GradientMatching)
    plan = Plan(settings.network_epochs, settings.network_lr, batch=settings.batch_train, precision=recipe.precision)
    # They are augmented if the matching augments the synthetic images.
    augment = Augmenter(recipe.strategy if SCHEMES[settings.scheme].synthetic else Strategy(), size)
    return (CapturedTraining if captured else PlainTraining)(network, plan, augment)
