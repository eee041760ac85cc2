"""Card of a dataset repository: YAML for the Hub and `datasets`, and Markdown for people."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from registry.cost import Cost
from registry.errors import BadNameError
from registry.names import parse_name
from registry.records import StoredSet

_LICENCE_WORDS = (
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc "
    "cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 "
    "cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 "
    "gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by "
    "ofl-1.1 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib"
)
_LICENCES = frozenset(_LICENCE_WORDS.split())
"""Licence identifiers of the Hub; any other licence is `other` with a name."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (math.inf, "n>100K"))
_MAX_SHOWN = 1e9  # of a mean or deviation
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|])")


@dataclass(frozen=True)
class Notes:
    """Statements about a set or pool by the person who pushes it.

    Attributes:
        command: the command that made the set; None if there was none.
        licence: licence of the images or networks; None if not stated.
        tags: tags for finding the set on the Hub.
    """

    command: str | None = None
    licence: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """Facts about the 8-bit pictures of a set.

    Attributes:
        count: number of pictures, which is that of the images after decoding.
        path: path of the parquet file in the repository.
        size, uncompressed: bytes of the file, and of its columns before compression.
        clipped, values: number of clipped pixel values, and of all.
    """

    count: int
    path: str
    size: int
    uncompressed: int
    clipped: int
    values: int


def write_card(
    stored: StoredSet,
    repo_id: str,
    notes: Notes,
    evaluations: Sequence[Mapping[str, JsonValue]],
    pictures: Pictures,
    picture: str | None,
) -> str:
    """Return the README.md of a set's repository.

    Args:
        stored: the set.
        repo_id: `user/repo`.
        notes: statements by the person who pushes the set.
        evaluations: records with `network`, `mean`, `std`, `n` and perhaps `paper` [mean, std], `epochs`,
            `augmentation` and `protocol` with `name` and `cutmix`; a value that is missing or of another type is left
            blank.
        pictures: facts about the parquet file.
        picture: path in the repository of the picture of the whole set, or None.
    """
    return f"---\n{_metadata(stored, notes, pictures)}\n---\n\n" + "\n\n".join(
        [
            f"# {_text(stored.name.name)}",
            _about(stored, pictures),
            *([f"![All images of the set]({picture})"] if picture else []),
            f"## Accuracy\n\n{_accuracies(evaluations)}",
            f"## How it was made\n\n{_origin(stored, notes)}",
            f"## Load it\n\n{_loading(stored, repo_id)}",
            f"## What the 8-bit pictures lose\n\n{_losses(stored, pictures)}",
            f"## Licence\n\n{_licence(stored, notes)}\n",
        ]
    )


def write_experts_card(stored: StoredSet, repo_id: str, notes: Notes) -> str:
    """Return the README.md of the repository of a pool of experts.

    Args:
        stored: the pool.
        repo_id: `user/repo`.
        notes: statements by the person who pushes the pool.
    """
    from huggingface_hub import DatasetCardData

    info, pool = stored.manifest.dataset, stored.manifest.pool
    assert pool is not None
    name, own = local_name(repo_id), f', name=registry.parse_name("{stored.name}")'
    code = (
        f"import dsactl, registry\nfrom registry import hub\n"
        f'hub.pull(registry.Store(), "{repo_id}", "v{stored.version}"{"" if name else own})\n'
        f'pool = dsactl.load_experts("{name or stored.name}:{stored.version}")\n'
        f"parameters, buffers = pool.network(0, {pool.epochs[-1]})"
    )
    fields: dict[str, Any] = {
        **_licence_fields(notes),
        "pretty_name": f"{stored.name.name} v{stored.version}",
        "tags": ["dataset-condensation", "dsactl", "experts", *notes.tags],
        "viewer": False,
    }
    return f"---\n{DatasetCardData(**fields).to_yaml()}\n---\n\n" + "\n\n".join(
        [
            f"# {_text(stored.name.name)}",
            f"{pool.networks} networks ({_text(stored.manifest.network)}), trained on the {sum(info.counts):,} images "
            f"of {_text(info.name)} ({_text(info.split)}) in {len(info.class_names)} classes, and kept after epochs "
            f"{', '.join(map(str, pool.epochs))}. This is version {stored.version}, tagged `v{stored.version}`.",
            f"## How they were trained\n\n{_origin(stored, notes)}",
            f"## Load them\n\n{_code(code)}\n\nIn `set.safetensors`, "
            "`NETWORK.EPOCH.NAME` is the tensor `NAME` of a network after an epoch.",
            f"## Licence\n\n{_licence(stored, notes)}\n",
        ]
    )


def known_licence(licence: str) -> str | None:
    """Return the Hub's identifier of a licence, e.g. "mit" for "MIT License"; None if it has none."""
    word = _licence_word(licence)
    return word if word in _LICENCES else None


def similar_licences(licence: str) -> list[str]:
    """Return the identifiers of the Hub that are closest to the name of a licence; at most three."""
    return difflib.get_close_matches(_licence_word(licence), sorted(_LICENCES), n=3, cutoff=0.5)


def _licence_word(licence: str) -> str:
    return "-".join(each for each in licence.lower().split() if each not in ("licence", "license"))


def _licence_fields(notes: Notes) -> dict[str, str]:
    """Return the fields of the YAML metadata that state the licence."""
    if not notes.licence:
        return {}
    known = known_licence(notes.licence)
    return {"license": known} if known else {"license": "other", "license_name": notes.licence}


def _metadata(stored: StoredSet, notes: Notes, pictures: Pictures) -> str:
    """Return the YAML metadata: data files, columns, and the fields by which the Hub lists the repository."""
    from huggingface_hub import DatasetCardData

    names = {str(index): name for index, name in enumerate(stored.manifest.dataset.class_names)}
    fields: dict[str, Any] = {
        **_licence_fields(notes),
        "pretty_name": f"{stored.name.name} v{stored.version}",
        "annotations_creators": ["machine-generated"],
        "task_categories": ["image-classification"],
        "size_categories": [next(word for limit, word in _SIZES if pictures.count < limit)],
        "tags": ["dataset-condensation", "dsactl", *notes.tags],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": pictures.path}]}],
        "dataset_info": {
            "features": [
                {"name": "image", "dtype": "image"},
                {"name": "label", "dtype": {"class_label": {"names": names}}},
                *([{"name": "soft_label", "sequence": "float32"}] if stored.manifest.has_soft_labels else []),
            ],
            "splits": [{"name": "train", "num_bytes": pictures.uncompressed, "num_examples": pictures.count}],
            "download_size": pictures.size,
            "dataset_size": pictures.uncompressed,
        },
    }
    return DatasetCardData(**fields).to_yaml()


def _about(stored: StoredSet, pictures: Pictures) -> str:
    info = stored.manifest.dataset
    count, channels, height, width = stored.manifest.tensors["images"].shape
    cost = Cost.of_manifest(stored.manifest)
    soft = ", and soft labels, a distribution over the classes for each image ({:,} bytes)"
    labels = soft.format(cost.soft_label_bytes) if cost.soft_label_bytes else ""
    colour = "grey" if channels == 1 else "colour"
    on = f" on {_text(stored.manifest.network)}" if stored.manifest.network else ""
    tiled = f" (stored as {count:,}, of several tiles each)" if count != pictures.count else ""
    return (
        f"{pictures.count:,} labelled {colour} images of {height}×{width} pixels{tiled} in {len(info.class_names)} "
        f"classes, which stand for the {sum(info.counts):,} images of {_text(info.name)} ({_text(info.split)}). "
        f"Method: {_text(stored.manifest.method)}{on}. "
        f"It stores {cost.numbers:,} numbers of float32 ({cost.image_bytes:,} bytes){labels}. "
        f"This is version {stored.version}, tagged `v{stored.version}`."
    )


def _accuracies(evaluations: Sequence[Mapping[str, JsonValue]]) -> str:
    if not evaluations:
        return "Not measured yet."
    rows = [
        "| network | accuracy % | n | paper % | epochs | augmentation |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in evaluations:
        paper = record.get("paper")
        cells = (
            _text(record.get("network", "")),
            _mean(record.get("mean"), record.get("std")),
            _text(record.get("n", "")),
            _mean(*paper) if isinstance(paper, list) and len(paper) == 2 else "",
            _text(record.get("epochs", "")),
            _augmentation(record),
        )
        rows.append(f"| {' | '.join(cells)} |")
    table = "\n".join(rows)
    return (
        "Test accuracy on real images of n networks trained from scratch on this set alone, mean ± population standard "
        f"deviation:\n\n{table}\n\nThe whole records are in `evaluations.json`."
    )


def _augmentation(record: Mapping[str, JsonValue]) -> str:
    """Return the augmentation of a result, and the name of its protocol and its CutMix if it has them."""
    protocol = record.get("protocol")
    known = protocol if isinstance(protocol, dict) else {}
    named = f", protocol {_text(known['name'])}" if known.get("name") else ""
    mixed = f", CutMix {_text(known['cutmix'])}" if known.get("cutmix") else ""
    return f"{_text(record.get('augmentation', ''))}{named}{mixed}"


def _origin(stored: StoredSet, notes: Notes) -> str:
    made = f"{_code(notes.command)}\n\n" if notes.command else ""
    facts = [
        f"{_text(key)}: {_text(value)}" for key, value in stored.manifest.provenance.items() if not _is_nested(value)
    ]
    return (
        f"{made}{'; '.join([f'seed: {stored.manifest.seed}', *facts])}.\n\nThe whole recipe is in `manifest.json`. "
        f"Digest of the content: `sha256:{stored.digest}`."
    )


def _loading(stored: StoredSet, repo_id: str) -> str:
    address, name = f"{repo_id}:{stored.version}", local_name(repo_id)
    call = f'"{address}"' if name else f'"{address}", name="{stored.name}"'
    labels, column = ("soft_labels", "soft_label") if stored.manifest.has_soft_labels else ("labels", "label")
    exact = f"import dsactl\ncondensed = dsactl.pull({call})\nimages, labels = condensed.images, condensed.{labels}"
    pictures = (
        f'from datasets import load_dataset\ndataset = load_dataset("{repo_id}", revision="v{stored.version}", '
        f'split="train")\nimage, label = dataset[0]["image"], dataset[0]["{column}"]'
    )
    return f"The exact tensors, normalised:\n\n{_code(exact)}\n\nThe images as 8-bit pictures:\n\n{_code(pictures)}"


def local_name(repo_id: str) -> str | None:
    """Return the default name of a pulled set, the repository in lower case; None if that is not a valid name."""
    try:
        return str(parse_name(repo_id.lower()))
    except BadNameError:
        return None


def _losses(stored: StoredSet, pictures: Pictures) -> str:
    info = stored.manifest.dataset
    return (
        f"`{pictures.path}` holds image·std + mean, with mean {info.mean} and std {info.std}, clipped to 0…1 and "
        f"rounded to 1/255. {pictures.clipped:,} of {pictures.values:,} pixel values "
        f"({pictures.clipped / pictures.values:.1%}) were outside and are clipped. The accuracies "
        "are those of the exact tensors, which are in `set.safetensors`."
    )


def _licence(stored: StoredSet, notes: Notes) -> str:
    if notes.licence:
        return f"As stated by who pushed the set: {_text(notes.licence)}."
    source = _text(stored.manifest.dataset.name)
    return f"Not stated by who pushed the set. It was made from {source}, whose terms may apply."


def _mean(mean: JsonValue, deviation: JsonValue) -> str:
    """Format a mean and deviation as "88.7 ± 0.6"; empty if they are not numbers of reasonable size."""
    values = [value for value in (mean, deviation) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) < 2 or not all(-_MAX_SHOWN <= value <= _MAX_SHOWN for value in values):
        return ""
    return f"{values[0]:.1f} ± {values[1]:.1f}"


def _is_nested(value: JsonValue) -> bool:
    return isinstance(value, list | dict)


def _code(text: str) -> str:
    """Format a code block, indented so that no line can end it."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _text(value: object) -> str:
    """Format a value as one line, escaped for Markdown."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))
