"""A Hub on loopback for tests: it speaks what `huggingface_hub` and `datasets` call, and can be told to refuse."""

from hub.repositories import Repositories, Repository
from hub.server import LoopbackHub
from hub.trouble import Trouble

__all__ = ["LoopbackHub", "Repositories", "Repository", "Trouble"]
