"""Registry of labelled image sets and pools of experts: named, versioned, content-addressed and verified.

It handles safetensors files, manifests and disks, and is independent of how a set was made.
"""

from pydantic import JsonValue

from registry.errors import (
    BadNameError,
    ConflictError,
    CorruptError,
    Error,
    HubError,
    KindError,
    MissingPackageError,
    NotFoundError,
    RegistryError,
    StoreError,
)
from registry.index import Entry, shown_of
from registry.manifest import EXPERTS, SET, DatasetInfo, Manifest, TensorInfo, schema_of
from registry.names import Reference, SetName, parse_name, parse_reference
from registry.pool import Pool
from registry.reader import Reader, default_home, nearest
from registry.records import StoredSet
from registry.store import Place, Removal, Store

__all__ = [
    "EXPERTS",
    "SET",
    "BadNameError",
    "ConflictError",
    "CorruptError",
    "DatasetInfo",
    "Entry",
    "Error",
    "HubError",
    "JsonValue",
    "KindError",
    "Manifest",
    "MissingPackageError",
    "NotFoundError",
    "Place",
    "Pool",
    "Reader",
    "Reference",
    "RegistryError",
    "Removal",
    "SetName",
    "Store",
    "StoreError",
    "StoredSet",
    "TensorInfo",
    "default_home",
    "nearest",
    "parse_name",
    "parse_reference",
    "schema_of",
    "shown_of",
]
