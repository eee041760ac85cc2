"""The bundled 8×8 digits: real data without a download.

They are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, doi 10.24432/C50P49, CC BY 4.0), in the order in which scikit-learn distributes them.
"""

from pathlib import Path

import numpy as np
import torch

from dsactl.data.catalogue import CATALOGUE
from dsactl.data.dataset import Dataset, ImageSet, channel_statistics

_FILE = Path(__file__).with_suffix(".npz")
"""`pixels` N×H×W of 0 … 16, `labels` N, and `test`: indices of the test images, a stratified fifth drawn once."""


def load_digits() -> Dataset:
    """Read 1,797 images in a fixed stratified split, 1,437 to train and 360 to test.

    Pixels of 0 … 16 become uint8 0 … 255, rounded.
    """
    with np.load(_FILE) as file:
        pixels, labels, test = (torch.from_numpy(file[name]) for name in ("pixels", "labels", "test"))
    images_NCHW = pixels[:, None].double().mul(255 / 16).round().to(torch.uint8)
    is_test = torch.zeros(len(labels), dtype=torch.bool).index_fill(0, test.long(), True)
    first, last = (ImageSet.from_tensors(images_NCHW[part], labels[part].long(), 10) for part in (~is_test, is_test))
    mean, std = channel_statistics(first.images_NCHW)
    return Dataset("digits", tuple("0123456789"), mean, std, CATALOGUE["digits"].mirrored, first, last)
