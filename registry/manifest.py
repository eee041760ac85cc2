"""Manifest of a set or of a pool of experts, validated whenever it is read from a file."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from registry.errors import CorruptError, StoreError
from registry.pool import Pool, check_pool

SCHEMA = 1
"""Version of the layout of stores, and of sets that dsactl 0.1 can read."""
NEWEST_SCHEMA = 2
"""Version of the layout of what dsactl 0.1 would misread, and refuses as too new for it; see `schema_of`."""

SET: Literal["set"] = "set"
EXPERTS: Literal["experts"] = "experts"
"""The kinds of artifacts."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=1000)]
Model = TypeVar("Model", bound=BaseModel)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class DatasetInfo(_Model):
    """Dataset that a set was condensed from, or that experts were trained on.

    Attributes:
        name, split, checksum: the original images; the checksum is their SHA-256.
        class_names: K names, in the order of the labels.
        mean, std: per channel, of images in 0 … 1; they define normalised space.
        counts: number of images of each class.
    """

    name: Text
    split: Text
    checksum: Digest
    class_names: list[Text]
    mean: list[Annotated[float, Field(allow_inf_nan=False)]]
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    counts: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if len(self.mean) != len(self.std) or len(self.class_names) != len(self.counts):
            raise ValueError("mean and std, or class_names and counts, are of different lengths")
        return self


class TensorInfo(_Model):
    """Type (as safetensors names it), shape, and SHA-256 of the little-endian bytes of a tensor."""

    dtype: Text
    shape: list[Annotated[int, Field(ge=0)]]
    sha256: Digest


def schema_of(kind: str, recipe: Mapping[str, JsonValue]) -> int:
    """Return the version of the layout of an artifact.

    Version 2 is that of pools of experts; and of sets whose stored images have to be decoded, or whose labels replace
    those of the method, which a program that does not know of this would misread.

    Args:
        kind: "set" or "experts".
        recipe: of the set; of a pool it does not matter.
    """
    return NEWEST_SCHEMA if kind == EXPERTS or "formation" in recipe or "labels" in recipe else SCHEMA


class Manifest(_Model):
    """Description of a set or of a pool of experts.

    Attributes:
        kind: "set" or "experts". The JSON of a set has neither `kind` nor `pool`, so that digests stay what they were.
        schema_version: version of this layout, see `schema_of`.
        dataset: the original dataset.
        method: name of the condensation method; "experts" for a pool.
        recipe: all hyper-parameters, as the program that made the set or pool wrote them.
        network: the network that the set was made on, None if there was none; of a pool, the network of its experts.
        seed: the random seed.
        tensors: of a set `images` and `labels`, and `soft_labels` if the labels are soft; of a pool the parameters
            and buffers of its networks (see `registry.pool`).
        provenance: program, versions, device and time, which do not affect the digest.
        pool: the networks and epochs of a pool; None for a set.
    """

    kind: Literal["set", "experts"] = SET
    schema_version: int = SCHEMA
    dataset: DatasetInfo
    method: Text
    recipe: dict[str, JsonValue]
    network: Text | None
    seed: int
    tensors: dict[str, TensorInfo]
    provenance: dict[str, JsonValue]
    pool: Pool | None = None

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if self.kind == SET:
            del values["kind"], values["pool"]
        return values

    @model_validator(mode="after")
    def _kind(self) -> Self:
        if (self.kind == EXPERTS) != (self.pool is not None):
            raise ValueError("experts have a pool of networks, and sets have none")
        if self.kind == EXPERTS and self.schema_version != NEWEST_SCHEMA:
            raise ValueError("schema_version is not that of the kind")
        return self

    @model_validator(mode="after")
    def _tensors(self) -> Self:
        if self.pool is not None:
            check_pool(self.pool, {name: (info.dtype, info.shape) for name, info in self.tensors.items()})
            return self
        if not is_set(self.tensors):
            raise ValueError("a set has the tensors images and labels")
        check_shapes({name: info.shape for name, info in self.tensors.items()})
        if self.tensors["images"].shape[1] != len(self.dataset.mean):
            raise ValueError("images must have a mean for every channel")
        if self.has_soft_labels and self.tensors["soft_labels"].shape[1] != len(self.dataset.class_names):
            raise ValueError("soft labels must have a number for every class")
        return self

    @model_validator(mode="after")
    def _printable(self) -> Self:
        if has_control_characters(self.model_dump(mode="json")):
            raise ValueError("a text has control characters")
        return self

    @property
    def has_soft_labels(self) -> bool:
        """Return whether the images have distributions over the classes as labels."""
        return "soft_labels" in self.tensors

    @property
    def formation(self) -> int:
        """Return F of a recipe with formation, by which each stored image is decoded into F² images; else 1."""
        found = self.recipe.get("formation")
        return found if isinstance(found, int) and found > 1 else 1

    @property
    def digest(self) -> str:
        """Return the digest of the content: SHA-256 of the canonical JSON of all fields but the provenance."""
        return hashlib.sha256(canonical(self.model_dump(mode="json", exclude={"provenance"}))).hexdigest()


def is_set(names: Iterable[str]) -> bool:
    """Return whether these are the tensor names of a set: images, labels and, optionally, soft labels."""
    return set(names) | {"soft_labels"} == {"images", "labels", "soft_labels"}


def check_shapes(shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that the shapes of a set's tensors agree.

    Raises:
        ValueError: images are not N×C×H×W, or there is not one label, or soft label, for each.
    """
    images, labels = list(shapes["images"]), list(shapes["labels"])
    if len(images) != 4 or labels != images[:1]:
        raise ValueError("images must be N×C×H×W with one label each")
    soft = shapes.get("soft_labels")
    if soft is not None and (len(soft) != 2 or soft[0] != images[0] or soft[1] < 1):
        raise ValueError("soft labels must be N×K")


def canonical(value: Any) -> bytes:
    """Return canonical JSON, UTF-8 with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def key_of(conditions: Any) -> str:
    """Return a cache key of conditions: the first 32 hex digits of the SHA-256 of their canonical JSON."""
    return hashlib.sha256(canonical(conditions)).hexdigest()[:32]


def has_control_characters(value: JsonValue) -> bool:
    """Return whether a string or key in a JSON value has control characters, which could affect a terminal."""
    match value:
        case str():
            return any(unicodedata.category(letter) == "Cc" for letter in value)
        case list():
            return any(map(has_control_characters, value))
        case dict():
            return any(has_control_characters(key) or has_control_characters(item) for key, item in value.items())
    return False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_json(model: type[Model], data: bytes | str, where: str) -> Model:
    """Parse and validate untrusted JSON.

    Args:
        model: the pydantic model to validate it with.
        data: the text.
        where: name of the file, for error messages.

    Raises:
        StoreError: its schema is newer than this version of the registry.
        CorruptError: it is not a JSON object, or not a valid `model`.
    """
    try:
        version = json.loads(data, parse_constant=_no_constant).get("schema_version", SCHEMA)
    except (ValueError, AttributeError, RecursionError):
        raise CorruptError(f"{where} is not a JSON object.") from None
    if isinstance(version, int) and version > NEWEST_SCHEMA:
        raise StoreError(f"{where} was written by a newer program (schema {version}).", "Update dsactl.")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise CorruptError(f"{where} is damaged: {place}: {fault['msg']}.") from None
