"""One step of distribution matching: the distances of all classes, and their gradient.

    L_c = ‖ (1/R) Σ ψ_θ(A_ω(x)) − (1/J) Σ ψ_θ(A_ω(s)) ‖²

ψ_θ are the inputs of the network's last linear layer, and ω is shared by the real images x and the synthetic ones s of
a class (Zhao and Bilen, WACV 2023, eq. 5).

Shapes: K classes, k of them at once, I stored images per class, J of them decoded, C, H, W, R real images per class, D
features.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from dsactl.augmentation.transforms import Omega, augment
from dsactl.data.dataset import Dataset
from dsactl.engine.device import at_least_float32, autocast
from dsactl.engine.graphs import send
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.random import generator
from dsactl.methods.in_chunks import some_of, sum_over_classes
from dsactl.networks.build import Buffers, Parameters
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe

Features = Callable[[Parameters, Buffers, Tensor], Tensor]
DrawShared = Callable[[Generator], Omega | None]
"""Draws, with a CPU generator, a transformation whose parameters all images share; None for no augmentation."""
REAL_IMAGES_AT_ONCE = 64  # on a CPU: activations that stay in its cache


def feature_function(extractor: nn.Module, precision: str = "float32") -> Features:
    """Return ψ(parameters, buffers, images): the features of a batch, N×D in float32 or more, as a pure function.

    Args:
        extractor: a network without its last linear layer; the caller sets its mode.
        precision: "float32" or "bfloat16".
    """
    names = {name for name, _ in extractor.named_parameters()}

    def features(parameters: Parameters, buffers: Buffers, images_NCHW: Tensor) -> Tensor:
        own = {name: tensor for name, tensor in parameters.items() if name in names}
        with autocast(images_NCHW.device, precision):
            found: Tensor = functional_call(extractor, (own, buffers), (images_NCHW,))
        return at_least_float32(found.flatten(1))

    return features


class FeatureMatching:
    """Distances between mean features for all classes, chunk by chunk, and their gradient.

    Args:
        real: the dataset, on the device.
        recipe: has formation and seed.
        draw: the transformation of a class, which its real and synthetic images share.
        features: see `feature_function`.
        batch_real: largest number of real images per class.
        batch_synthetic: largest number of decoded images per class; None for all.
        chunk: number of classes whose synthetic images pass through the network together.
        processes: that share the classes.
    """

    def __init__(
        self,
        real: Dataset,
        recipe: Recipe,
        draw: DrawShared,
        features: Features,
        *,
        batch_real: int,
        batch_synthetic: int | None = None,
        chunk: int = 1,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self._real, self._recipe, self._draw, self._features = real, recipe, draw, features
        self._batch_real, self._batch_synthetic = batch_real, batch_synthetic or recipe.decoded
        self._processes, self._chunk = processes, chunk
        self._decode = parametrisation(recipe.formation).decode
        on_cpu = real.train.images_NCHW.device.type == "cpu"
        self._at_once = REAL_IMAGES_AT_ONCE if on_cpu else batch_real

    def __call__(self, parameters: Parameters, buffers: Buffers, images_KICHW: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return distance_K, and the gradient of their sum with respect to the stored images, K×I×C×H×W.

        Args:
            parameters, buffers: of the network.
            images_KICHW: the stored images.
            k: the iteration, the position of the draws.

        Raises:
            ProcessError: another process died.
        """

        def match(images_kICHW: Tensor, labels: range) -> tuple[Tensor, Tensor]:
            return self._match(parameters, buffers, images_kICHW, labels, k)

        return sum_over_classes(match, images_KICHW, self._chunk, self._processes)

    def _match(
        self, parameters: Parameters, buffers: Buffers, images_kICHW: Tensor, labels: range, k: int
    ) -> tuple[Tensor, Tensor]:
        images_kICHW = images_kICHW.detach().requires_grad_()
        seed, device = self._recipe.seed, images_kICHW.device
        goals, augmented = [], []
        for index, label in enumerate(labels):
            decoded_JCHW = self._decode(images_kICHW[index])
            chosen_JCHW = some_of(decoded_JCHW, self._batch_synthetic, generator(seed, "synthetic-batch", k, label))
            indices_R = self._real.choose(label, self._batch_real, generator(seed, "real-batch", k, label))
            omega = self._draw(generator(seed, "transformation", k, label))
            batch_RCHW = augment(self._real.at(send(indices_R, device)), omega)
            goals.append(self._mean_features(parameters, buffers, batch_RCHW))
            augmented.append(augment(chosen_JCHW, omega))
        features_XD = self._features(parameters, buffers, torch.cat(augmented))
        features_kJD = features_XD.view(len(labels), -1, features_XD.shape[1])
        distance_k = (features_kJD.mean(1) - torch.stack(goals)).square().sum(1)
        (gradient_kICHW,) = torch.autograd.grad(distance_k.sum(), images_kICHW)
        return distance_k.detach(), gradient_kICHW

    @torch.no_grad()
    def _mean_features(self, parameters: Parameters, buffers: Buffers, images_RCHW: Tensor) -> Tensor:
        parts = (self._features(parameters, buffers, part).sum(0) for part in torch.split(images_RCHW, self._at_once))
        return torch.stack(list(parts)).sum(0) / len(images_RCHW)
