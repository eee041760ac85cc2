"""What can go wrong in a registry, as exceptions whose message is meant for the person at the keyboard."""


class Error(Exception):
    """Base of every error that is raised on purpose, here and in the program around the registry.

    Args:
        message: what is wrong, where.
        hint: what to do next; empty where the message already says it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class RegistryError(Error):
    """Base of every error of the registry."""


class BadNameError(RegistryError):
    """A name or reference that is not well formed."""


class NotFoundError(RegistryError):
    """A set, version or tag that is not in the store."""


class ConflictError(RegistryError):
    """A version that exists already, with other content."""


class CorruptError(RegistryError):
    """A file that is damaged, was changed, or is not what it says it is."""


class StoreError(RegistryError):
    """A store that cannot be used: not writable, full, or of a newer schema."""


class MissingPackageError(Error):
    """A package that only some work needs, and that is not installed (`extras.require`)."""


class HubError(RegistryError):
    """The Hub refused, could not be reached, or holds what is no set."""
