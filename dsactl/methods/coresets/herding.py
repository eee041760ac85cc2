"""Herding: real images whose mean is near the class mean (Welling, 2009; Rebuffi et al., 2017; Section 4.2).

Shapes: N images of a class, D features.
"""

import torch
from torch import Tensor

from dsactl.methods.coresets.features import centred, check_features, class_features
from dsactl.methods.coresets.reference_network import train_on_whole
from dsactl.methods.coresets.selection import coreset
from dsactl.methods.work import CondensedSet, MethodContext


def herding(work: MethodContext) -> CondensedSet:
    """Choose `ipc` images of every class by `herd`, on features of a network trained on the whole training split."""
    check_features(work)
    trained, real = train_on_whole(work), work.dataset
    return coreset(work, lambda label, count: herd(class_features(trained, real, label), count))


def herd(features_ND: Tensor, count: int) -> Tensor:
    """Choose images greedily, without replacement, so that their mean is near the mean μ of all:

        p_k = argmin_x ‖μ − (φ(x) + Σ_{j<k} φ(p_j)) / k‖

    (Rebuffi et al., 2017, Algorithm 4, except that features are not normalised). The first of several wins a tie.

    Args:
        features_ND: φ of every image.
        count: number of images to choose, at most N.

    Returns:
        Indices in the order of choice: the first n are the choice of n.
    """
    features_ND = centred(features_ND)
    squares_N = features_ND.square().sum(1)
    total_D = torch.zeros_like(features_ND[0])
    chosen: list[int] = []
    for _ in range(count):
        # With μ = 0: ‖φ(x) + Σ‖² up to ‖Σ‖² and 1/k², which are the same for every x.
        distances_N = squares_N + 2 * (features_ND @ total_D)
        distances_N[chosen] = torch.inf
        chosen.append(int(distances_N.argmin()))
        total_D += features_ND[chosen[-1]]
    return torch.tensor(chosen)
