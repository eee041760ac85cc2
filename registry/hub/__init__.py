"""Sets on the Hugging Face Hub: one data set repository per set, one tag per version."""

from registry.card import Notes
from registry.hub.client import calm_client
from registry.hub.folder import repository_files, require_packages, write_folder
from registry.hub.pull import Pulled, pull
from registry.hub.push import Pushed, push
from registry.hub.repository import parse_address, parse_repo_id

__all__ = [
    "Notes",
    "Pulled",
    "Pushed",
    "calm_client",
    "parse_address",
    "parse_repo_id",
    "pull",
    "push",
    "repository_files",
    "require_packages",
    "write_folder",
]
