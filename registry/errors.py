"""Exceptions of the registry, with messages for users.

Messages and hints name parameters and calls in Python notation, in backticks.
"""


class Error(Exception):
    """Base class of all deliberate errors, of the registry and of programs that use it.

    Args:
        message: what is wrong, and where.
        hint: what to do next; empty if the message already says it.

    Examples:
        >>> import registry
        >>> try:
        ...     registry.parse_reference("Not a name")
        ... except registry.Error as error:
        ...     print(error.message)
        'Not a name' is not a name.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class RegistryError(Error):
    """Base class of the registry's errors."""


class BadNameError(RegistryError):
    """Malformed name or reference."""


class NotFoundError(RegistryError):
    """Set, version or tag that is not in the store."""


class ConflictError(RegistryError):
    """Version that already exists with different content, or name that has artifacts of another kind."""


class KindError(RegistryError):
    """Set where a pool of experts is needed, or the reverse."""


class CorruptError(RegistryError):
    """File that is damaged, was modified, or is not of the stated kind."""


class StoreError(RegistryError):
    """Store that cannot be used: not writable, full, or of a newer schema."""


class MissingPackageError(Error):
    """Optional package that is not installed (`extras.require`)."""


class HubError(RegistryError):
    """Refusal by the Hub, failed connection, or repository without a set."""
