"""Greedy k-centre: real images far from each other (Gonzalez, 1985; Sener and Savarese, 2018).

Shapes: N images of a class, D features.
"""

import torch
from torch import Tensor

from dsactl.methods.coresets.features import centred, check_features, class_features
from dsactl.methods.coresets.reference_network import train_on_whole
from dsactl.methods.coresets.selection import coreset
from dsactl.methods.work import CondensedSet, MethodContext


def kcenter(work: MethodContext) -> CondensedSet:
    """Choose `ipc` images of every class by `farthest_points`, on features of the trained reference network."""
    check_features(work)
    trained, real = train_on_whole(work), work.dataset
    return coreset(work, lambda label, count: farthest_points(class_features(trained, real, label), count))


def farthest_points(features_ND: Tensor, count: int) -> Tensor:
    """Choose the image nearest to the mean, then repeatedly the one farthest from all chosen images:

        p_k = argmax_x min_{j<k} ‖φ(x) − φ(p_j)‖

    The choice of the first is ours; the others follow Sener and Savarese (2018), Algorithm 1. The first of several wins
    a tie.

    Args:
        features_ND: φ of every image.
        count: number of images to choose, at most N.

    Returns:
        Indices in the order of choice: the first n are the choice of n.
    """
    features_ND = centred(features_ND)
    squares_N = features_ND.square().sum(1)
    chosen = [int(squares_N.argmin())]
    nearest_N = torch.full_like(squares_N, torch.inf)
    while len(chosen) < count:
        last = chosen[-1]
        distances_N = squares_N + squares_N[last] - 2 * (features_ND @ features_ND[last])
        nearest_N = torch.minimum(nearest_N, distances_N.clamp_min(0))
        nearest_N[last] = -1  # among duplicates, prefer one that is not chosen yet
        chosen.append(int(nearest_N.argmax()))
    return torch.tensor(chosen)
