"""Titles of the paper's tables and figures that can be reproduced. Importing this loads no torch."""

TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "table1": ("Coresets and training set synthesis, ten classes (Table 1)", ("data set", "ipc", "method")),
    "table2": ("Coresets and training set synthesis, CIFAR-100 (Table 2)", ("data set", "ipc", "method")),
    "table3": ("Cross-architecture transfer, MNIST, one image per class (Table 3)", ("condensed on", "tested on")),
    "table4": ("Schemes of augmentation, CIFAR-10, ten images per class (Table 4)", ("scheme", "kind")),
    "table5": ("Strategies of augmentation, ten images per class (Table 5)", ("data set", "strategy")),
}
"""The tables' titles, and the names of the parts of their cells' keys."""

FIGURES = {
    "figure2": "Synthetic sets of ten images per class (Figure 2)",
    "figure5": "Gradient norms of real and synthetic batches, CIFAR-10, ten images per class (Figure 5)",
    "figure6": "Images while they are learned, CIFAR-10 (Figure 6)",
}
"""The figures' titles."""

PARTS = {
    "figure2": ("mnist", "fashionmnist", "svhn", "cifar10"),
    "figure5": ("cifar10",),
    "figure6": ("noise", "real"),
}
"""The names of each figure's parts, by which users select them."""
