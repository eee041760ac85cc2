"""Expert calibration: the cross-entropy of a trained network on the synthetic images, and its gradient.

    L_c = mean over s of ℓ(f_θ(A_ω(s)), c)

Shapes: K classes, k of them at once, I stored images per class, J of them decoded, C, H, W.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from dsactl.augmentation.transforms import augment
from dsactl.engine.device import at_least_float32, autocast
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.random import generator
from dsactl.methods.distribution_matching.step import DrawShared
from dsactl.methods.in_chunks import some_of, sum_over_classes
from dsactl.networks.build import Buffers, Parameters
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe


class Calibration:
    """Cross-entropies of all classes, chunk by chunk, and their gradient.

    Args:
        recipe: has formation, seed and precision.
        network: the caller sets its mode.
        draw: the transformation of a class.
        weight: of the cross-entropies.
        batch_synthetic: largest number of decoded images per class.
        chunk: number of classes whose images pass through the network together.
        processes: that share the classes.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        draw: DrawShared,
        *,
        weight: float = 1.0,
        batch_synthetic: int,
        chunk: int = 1,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self._recipe, self._network, self._draw, self._weight = recipe, network, draw, weight
        self._batch_synthetic, self._chunk, self._processes = batch_synthetic, chunk, processes
        self._decode = parametrisation(recipe.formation).decode

    def __call__(self, parameters: Parameters, buffers: Buffers, images_KICHW: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return loss_K, weighted, and the gradient of their sum with respect to the stored images, K×I×C×H×W.

        Args:
            parameters, buffers: of the network.
            images_KICHW: the stored images.
            k: the iteration, the position of the draws.

        Raises:
            ProcessError: another process died.
        """

        def calibrate(images_kICHW: Tensor, labels: range) -> tuple[Tensor, Tensor]:
            return self._calibrate(parameters, buffers, images_kICHW, labels, k)

        return sum_over_classes(calibrate, images_KICHW, self._chunk, self._processes)

    def _calibrate(
        self, parameters: Parameters, buffers: Buffers, images_kICHW: Tensor, labels: range, k: int
    ) -> tuple[Tensor, Tensor]:
        images_kICHW = images_kICHW.detach().requires_grad_()
        seed, augmented = self._recipe.seed, []
        for index, label in enumerate(labels):
            source = generator(seed, "calibration-batch", k, label)
            chosen_JCHW = some_of(self._decode(images_kICHW[index]), self._batch_synthetic, source)
            omega = self._draw(generator(seed, "calibration-transformation", k, label))
            augmented.append(augment(chosen_JCHW, omega))
        batch_XCHW = torch.cat(augmented)
        with autocast(batch_XCHW.device, self._recipe.precision):
            logits_XK = functional_call(self._network, (parameters, buffers), (batch_XCHW,))
        each = len(batch_XCHW) // len(labels)
        labels_X = torch.arange(labels.start, labels.stop, device=batch_XCHW.device).repeat_interleave(each)
        losses_X = functional.cross_entropy(at_least_float32(logits_XK), labels_X, reduction="none")
        loss_k = self._weight * losses_X.view(len(labels), each).mean(1)
        (gradient_kICHW,) = torch.autograd.grad(loss_k.sum(), images_kICHW)
        return loss_k.detach(), gradient_kICHW
