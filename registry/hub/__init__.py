"""Sets and pools of experts on the Hugging Face Hub: one dataset repository for each, one tag per version."""

from registry.card import Notes
from registry.hub.client import configure_client_logging
from registry.hub.folder import repository_files, require_packages, write_folder
from registry.hub.pull import Pulled, pull
from registry.hub.push import Pushed, push
from registry.hub.repository import parse_address, parse_repo_id

__all__ = [
    "Notes",
    "Pulled",
    "Pushed",
    "configure_client_logging",
    "parse_address",
    "parse_repo_id",
    "pull",
    "push",
    "repository_files",
    "require_packages",
    "write_folder",
]
