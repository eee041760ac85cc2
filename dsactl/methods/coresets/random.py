"""The random coreset: real images of each class, drawn without replacement (Section 4.2)."""

from dsactl.methods.coresets.selection import coreset
from dsactl.methods.work import CondensedSet, MethodContext


def random(work: MethodContext) -> CondensedSet:
    """Draw `ipc` real images of every class."""
    real = work.dataset
    starts = real.train.starts
    return coreset(
        work, lambda label, count: real.choose(label, count, work.generator("coreset", label)) - starts[label]
    )
