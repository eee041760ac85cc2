"""What a set gains over random real images, as a table and lines."""

from dsactl.cli.flags import translate
from dsactl.cli.output import Output
from dsactl.studies.comparison import (
    HARD,
    RANDOM,
    RANDOM_BYTES,
    RANDOM_BYTES_SOFT,
    RANDOM_SOFT,
    SET,
    WHOLE,
    Comparison,
    Group,
)
from dsactl.text.formatting import accuracy, bytes_in_words, many
from dsactl.text.tables import Facts, Table

_TITLES = {
    SET: "the set",
    RANDOM: "random real images, as many",
    RANDOM_BYTES: "random real images, as many bytes",
    RANDOM_SOFT: "random real images, as many",
    RANDOM_BYTES_SOFT: "random real images, as many bytes",
    HARD: "the set",
    WHOLE: "the whole training split",
}


def show(found: Comparison, output: Output) -> None:
    """Print a comparison: its table, the scores below it, and what is left out."""
    numbers = ("per class", "trained on", "bytes", "accuracy %", "n", "sets", "gain")
    shown = Table(("group", "per class", "trained on", "bytes", "labels", *numbers[3:]), right=numbers)
    for group in found.groups:
        shown.add(
            _TITLES[group.name],
            str(group.ipc),
            str(group.trained_on),
            bytes_in_words(group.stored_bytes),
            "soft" if group.soft else "hard",
            accuracy({"mean": group.mean, "std": group.std, "n": group.n}),
            str(group.n),
            str(len(group.digests)),
            "" if group.name == SET else _gain(found, group),
        )
    value = {**found.to_dict(), "remarks": [translate(remark) for remark in found.remarks]}
    output.answer(value, [each for group in found.groups for each in group.references], [shown, _scores(found)])
    for remark in found.remarks:
        output.remark(remark)
    draws = len(found.group(RANDOM).references)
    output.remark(
        "Per class and bytes count what is stored. Gain: of the set over the group, in points ± standard error. "
        f"Random images: {many(draws, 'set')}, among which the networks are divided."
    )


def _gain(found: Comparison, group: Group) -> str:
    error = found.standard_error(group.name)
    gain = f"{found.gain(group.name):+.1f}"
    return gain if error is None else f"{gain} ± {error:.1f}"


def _scores(found: Comparison) -> Facts:
    facts = Facts()
    labels = "soft" if found.group(SET).soft else "hard"
    if found.ior is not None:
        facts.add("IOR", f"{100 * found.ior:+.1f} points: the set over as many random real images with {labels} labels")
    if found.hlr is not None:
        facts.add("HLR", f"{100 * found.hlr:+.1f} points: the whole training split over the set with hard labels")
    if found.lrs is not None:
        facts.add("LRS", f"{found.lrs:.3f}: DD-Ranking's label-robust score of IOR and HLR, 0 to 1")
    return facts
