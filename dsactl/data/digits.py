"""The 8×8 digits that come with scikit-learn: real data with nothing to download."""

import torch
from sklearn.datasets import load_digits as sklearn_digits
from sklearn.model_selection import train_test_split

from dsactl.data.catalogue import CATALOGUE
from dsactl.data.dataset import Dataset, ImageSet, measure

_SPLIT_SEED = 0


def load_digits() -> Dataset:
    """1,797 images in a fixed stratified split, 1,437 to train and 360 to test.

    Pixels of 0 … 16 become uint8 0 … 255, rounded.
    """
    pixels, labels = sklearn_digits(return_X_y=True)
    train, test = train_test_split(
        range(len(labels)), test_size=CATALOGUE["digits"].test, stratify=labels, random_state=_SPLIT_SEED
    )
    images = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    targets = torch.from_numpy(labels)
    first, last = (ImageSet.from_tensors(images[sorted(part)], targets[sorted(part)], 10) for part in (train, test))
    mean, std = measure(first.images_NCHW)
    return Dataset("digits", tuple("0123456789"), mean, std, CATALOGUE["digits"].mirrored, first, last)
