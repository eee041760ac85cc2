"""One step of distribution matching: the distances of all classes, and their gradient.

    L_c = ‖ (1/R) Σ ψ_θ(A_ω(x)) − (1/J) Σ ψ_θ(A_ω(s)) ‖²

ψ_θ are the inputs of the network's last linear layer, and ω is shared by the real images x and the synthetic ones s of
a class (Zhao and Bilen, WACV 2023, eq. 5).

Shapes: K classes, k of them at once, I stored images per class, J of them decoded, C, H, W, R real images per class, D
features.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dsactl.augmentation.strategy import SCHEMES, SIAMESE, Strategy
from dsactl.augmentation.transforms import Pair, augment, draw_pair
from dsactl.data.dataset import Dataset, sample_without_replacement
from dsactl.engine.device import at_least_float32, autocast
from dsactl.engine.graphs import send
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.random import generator
from dsactl.networks.build import Buffers, Parameters
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe

Features = Callable[[Parameters, Buffers, Tensor], Tensor]
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
        strategy: kinds of augmentation.
        batch_real: largest number of real images per class.
        batch_synthetic: largest number of decoded images per class; None for all.
        features: see `feature_function`.
        chunk: number of classes whose synthetic images pass through the network together.
        processes: that share the classes.
    """

    def __init__(
        self,
        real: Dataset,
        recipe: Recipe,
        strategy: Strategy,
        features: Features,
        *,
        batch_real: int,
        batch_synthetic: int | None = None,
        chunk: int = 1,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self._real, self._recipe, self._strategy, self._features = real, recipe, strategy, features
        self._batch_real, self._batch_synthetic = batch_real, batch_synthetic or recipe.decoded
        self._own, self._processes = processes.share(real.classes), processes
        self._chunk = max(1, min(chunk, len(self._own)))
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
        rows = []
        for first in range(0, len(self._own), self._chunk):
            labels = self._own[first : first + self._chunk]
            part_kICHW = images_KICHW[labels.start : labels.stop]
            distance_k, gradient_kICHW = self._match(parameters, buffers, part_kICHW, labels, k)
            rows.append(torch.cat([distance_k[:, None], gradient_kICHW.flatten(1)], dim=1))
        own_kX = torch.cat(rows) if rows else images_KICHW.new_empty(0, 1 + images_KICHW[0].numel())
        all_KX = self._processes.gather(own_kX, self._real.classes)
        return all_KX[:, 0], all_KX[:, 1:].view_as(images_KICHW)

    def _match(
        self, parameters: Parameters, buffers: Buffers, images_kICHW: Tensor, labels: range, k: int
    ) -> tuple[Tensor, Tensor]:
        images_kICHW = images_kICHW.detach().requires_grad_()
        goals, augmented = [], []
        for index, label in enumerate(labels):
            decoded_JCHW = self._sample(self._decode(images_kICHW[index]), label, k)
            indices_R, (on_real, on_synthetic) = self._draw(label, len(decoded_JCHW), k)
            batch_RCHW = augment(self._real.at(send(indices_R, images_kICHW.device)), on_real)
            goals.append(self._mean_features(parameters, buffers, batch_RCHW))
            augmented.append(augment(decoded_JCHW, on_synthetic))
        features_XD = self._features(parameters, buffers, torch.cat(augmented))
        features_kJD = features_XD.view(len(labels), -1, features_XD.shape[1])
        distance_k = (features_kJD.mean(1) - torch.stack(goals)).square().sum(1)
        (gradient_kICHW,) = torch.autograd.grad(distance_k.sum(), images_kICHW)
        return distance_k.detach(), gradient_kICHW

    def _sample(self, decoded_JCHW: Tensor, label: int, k: int) -> Tensor:
        """Return the synthetic images of a class, or some of them if there are too many."""
        if self._batch_synthetic >= len(decoded_JCHW):
            return decoded_JCHW
        source = generator(self._recipe.seed, "synthetic-batch", k, label)
        chosen = sample_without_replacement(len(decoded_JCHW), self._batch_synthetic, source)
        return decoded_JCHW[chosen.to(decoded_JCHW.device)]

    def _draw(self, label: int, synthetic: int, k: int) -> tuple[Tensor, Pair]:
        """Draw the real images and the transformations of a class."""
        seed, size = self._recipe.seed, self._real.size
        indices_R = self._real.choose(label, self._batch_real, generator(seed, "real-batch", k, label))
        counts, source = (len(indices_R), synthetic), generator(seed, "transformation", k, label)
        return indices_R, draw_pair(SCHEMES[SIAMESE], self._strategy, counts, size, source)

    @torch.no_grad()
    def _mean_features(self, parameters: Parameters, buffers: Buffers, images_RCHW: Tensor) -> Tensor:
        parts = (self._features(parameters, buffers, part).sum(0) for part in torch.split(images_RCHW, self._at_once))
        return torch.stack(list(parts)).sum(0) / len(images_RCHW)
