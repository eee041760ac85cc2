"""The random coreset: real images of each class, drawn without replacement (Section 4.2)."""

from dsactl.methods.coresets.selection import coreset
from dsactl.methods.work import CondensedSet, MethodContext


def random(work: MethodContext) -> CondensedSet:
    """Draw real images of every class: `ipc`, or F² times as many of them for formation F, shrunk to tiles."""
    real = work.dataset
    starts = real.train.starts
    return coreset(
        work, lambda label, count: real.choose(label, count, work.generator("coreset", label)) - starts[label]
    )
