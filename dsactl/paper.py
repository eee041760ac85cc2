"""The paper's own figures, to stand beside ours.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021: test accuracy in percent,
mean and standard deviation over 5 sets × 20 networks. Tables 1 and 2 condense and test on the ConvNet; Table 3
condenses MNIST to one image per class on one network and tests on another.
"""

Figure = tuple[float, float]

EPOCHS_AUGMENTED, EPOCHS_PLAIN = 1000, 300
"""Epochs of the networks that are trained on a set, with and without augmentation (Section 4.1)."""
EVALUATION_EPOCHS = (EPOCHS_AUGMENTED, EPOCHS_PLAIN)

ACCURACY: dict[tuple[str, int], dict[str, Figure]] = {
    ("mnist", 1): {"random": (64.9, 3.5), "dc": (91.7, 0.5), "dsa": (88.7, 0.6)},
    ("mnist", 10): {"random": (95.1, 0.9), "dc": (97.4, 0.2), "dsa": (97.8, 0.1)},
    ("mnist", 50): {"random": (97.9, 0.2), "dc": (98.8, 0.2), "dsa": (99.2, 0.1)},
    ("fashionmnist", 1): {"random": (51.4, 3.8), "dc": (70.5, 0.6), "dsa": (70.6, 0.6)},
    ("fashionmnist", 10): {"random": (73.8, 0.7), "dc": (82.3, 0.4), "dsa": (84.6, 0.3)},
    ("fashionmnist", 50): {"random": (82.5, 0.7), "dc": (83.6, 0.4), "dsa": (88.7, 0.2)},
    ("svhn", 1): {"random": (14.6, 1.6), "dc": (31.2, 1.4), "dsa": (27.5, 1.4)},
    ("svhn", 10): {"random": (35.1, 4.1), "dc": (76.1, 0.6), "dsa": (79.2, 0.5)},
    ("svhn", 50): {"random": (70.9, 0.9), "dc": (82.3, 0.3), "dsa": (84.4, 0.4)},
    ("cifar10", 1): {"random": (14.4, 2.0), "dc": (28.3, 0.5), "dsa": (28.8, 0.7)},
    ("cifar10", 10): {"random": (26.0, 1.2), "dc": (44.9, 0.5), "dsa": (52.1, 0.5)},
    ("cifar10", 50): {"random": (43.4, 1.0), "dc": (53.9, 0.5), "dsa": (60.6, 0.5)},
    ("cifar100", 1): {"random": (4.2, 0.3), "dc": (12.8, 0.3), "dsa": (13.9, 0.3)},
    ("cifar100", 10): {"random": (14.6, 0.5), "dc": (25.2, 0.3), "dsa": (32.3, 0.3)},
}


TRANSFER_TESTED_ON = ("mlp", "convnet", "lenet", "alexnet", "vgg11", "resnet18")
TRANSFER: dict[str, tuple[Figure, ...]] = {
    "mlp": ((76.5, 1.2), (73.1, 3.6), (80.4, 2.9), (78.2, 6.4), (58.7, 6.5), (78.7, 3.9)),
    "convnet": ((75.6, 1.1), (88.8, 0.8), (84.8, 1.5), (84.7, 1.5), (83.5, 1.7), (89.3, 0.8)),
    "lenet": ((76.5, 0.9), (86.6, 1.5), (83.9, 1.6), (83.9, 1.2), (81.1, 2.3), (88.2, 0.9)),
    "alexnet": ((76.1, 0.8), (87.6, 0.8), (84.2, 1.6), (84.6, 1.7), (82.0, 2.1), (88.8, 0.8)),
    "vgg11": ((75.8, 1.0), (88.9, 0.7), (84.5, 1.6), (85.0, 1.4), (83.2, 1.9), (88.9, 1.0)),
    "resnet18": ((75.8, 1.0), (88.6, 0.8), (84.8, 1.7), (84.8, 1.2), (82.4, 1.9), (89.5, 1.0)),
}


def paper_accuracy(dataset: str, ipc: int, method: str, condensed_on: str | None, tested_on: str) -> Figure | None:
    """The paper's accuracy for the same cell, or None where it has none.

    Args:
        dataset, ipc, method: of the set.
        condensed_on: label of its network; None for real images.
        tested_on: label of the network that is trained on it.
    """
    if tested_on == "convnet" and condensed_on in (None, "convnet"):
        return ACCURACY.get((dataset, ipc), {}).get(method)
    if (dataset, ipc, method) == ("mnist", 1, "dsa") and condensed_on in TRANSFER and tested_on in TRANSFER_TESTED_ON:
        return TRANSFER[condensed_on][TRANSFER_TESTED_ON.index(tested_on)]
    return None
