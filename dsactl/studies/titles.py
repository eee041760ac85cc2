"""The tables and figures of the paper that `reproduce` knows. No torch here."""

TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "table1": ("Coresets and training set synthesis, ten classes (Table 1)", ("data set", "ipc", "method")),
    "table2": ("Coresets and training set synthesis, CIFAR-100 (Table 2)", ("data set", "ipc", "method")),
    "table3": ("Cross-architecture transfer, MNIST, one image per class (Table 3)", ("condensed on", "tested on")),
    "table4": ("Schemes of augmentation, CIFAR-10, ten images per class (Table 4)", ("scheme", "kind")),
    "table5": ("Strategies of augmentation, ten images per class (Table 5)", ("data set", "strategy")),
}
"""Their titles, and what names their cells."""

FIGURES = {
    "figure2": "Synthetic sets of ten images per class (Figure 2)",
    "figure5": "Gradient norms of real and synthetic batches, CIFAR-10, ten images per class (Figure 5)",
    "figure6": "Images while they are learned, CIFAR-10 (Figure 6)",
}
"""Their titles."""

PARTS = {
    "figure2": ("mnist", "fashionmnist", "svhn", "cifar10"),
    "figure5": ("cifar10",),
    "figure6": ("noise", "real"),
}
"""The parts of each figure, by the names that users select them by."""
