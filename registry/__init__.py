"""A registry of labelled image sets: named, versioned, content-addressed, checked.

It knows safetensors, manifests and disks, and nothing of how a set was made.
"""

from pydantic import JsonValue

from registry.errors import (
    BadNameError,
    CorruptError,
    NotFoundError,
    RegistryError,
    StoreError,
)
from registry.manifest import DatasetInfo, Manifest, TensorInfo
from registry.names import Reference, SetName, parse_name, parse_reference
from registry.store import Store, StoredSet, default_home

__all__ = [
    "BadNameError",
    "CorruptError",
    "DatasetInfo",
    "JsonValue",
    "Manifest",
    "NotFoundError",
    "Reference",
    "RegistryError",
    "SetName",
    "Store",
    "StoreError",
    "StoredSet",
    "TensorInfo",
    "default_home",
    "parse_name",
    "parse_reference",
]
