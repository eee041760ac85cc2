"""Dataset repository on the Hub for `push` and `pull`: the client's calls, with our errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import CorruptError, HubError
from registry.hub.client import mask_client_logs
from registry.hub.errors import hub_errors, masked
from registry.hub.repository import LIMITS, parse_repo_id, tag_of

_KIND = "dataset"


@dataclass(frozen=True)
class Commit:
    """Created commit.

    Attributes:
        oid: its hash, 40 digits.
        pull_request: URL of its pull request, or None.
    """

    oid: str
    pull_request: str | None


class Remote:
    """Remote repository. Constructing the object sends no request.

    Args:
        repo_id: `user/repo`; the attribute becomes the new name if the Hub's answers are about a renamed repository.

    Raises:
        HubError: the client has no cache folder, or reads a wrong value from its environment variables.
    """

    def __init__(self, repo_id: str) -> None:
        try:
            from huggingface_hub import HfApi, constants
        except ValueError as error:  # it reads its variables when it is imported
            raise HubError(
                f"The Hub's client does not start: {error}.", "Check the environment variables HF_…."
            ) from error
        if constants.HF_HUB_CACHE.startswith("~"):
            raise HubError("There is no home folder for the cache of the Hub's client.", "Set HF_HOME to a folder.")
        mask_client_logs()
        self.repo_id = self._cached_id = repo_id
        self._api = HfApi()

    @property
    def address(self) -> str:
        """Return the URL for a browser, without the password that an endpoint may have."""
        return masked(f"{self._api.endpoint}/datasets/{self.repo_id}")

    def look_up(self) -> bool | None:
        """Ask the Hub for the repository's name, and return whether it is private; None if it is not visible.

        The Hub redirects from a former name to the present one, and ignores upper and lower case.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        with hub_errors(self.repo_id):
            try:
                info = self._api.dataset_info(self.repo_id)
            except RepositoryNotFoundError:
                return None
            if info.id.lower() != self.repo_id.lower():
                self.repo_id = parse_repo_id(info.id)
            return bool(info.private)

    def create(self, *, private: bool) -> None:
        """Create the repository; without `private`, its visibility is the namespace's default."""
        with hub_errors(self.repo_id):
            self._api.create_repo(self.repo_id, repo_type=_KIND, private=private or None)

    def refs(self) -> tuple[dict[str, str], str | None]:
        """Return the commit of each tag, and the head of main or None."""
        with hub_errors(self.repo_id):
            refs = self._api.list_repo_refs(self.repo_id, repo_type=_KIND)
            heads = {branch.name: branch.target_commit for branch in refs.branches}
            return {tag.name: tag.target_commit for tag in refs.tags}, heads.get("main")

    def cached_revisions(self) -> dict[str, str]:
        """Return the tags and branches in the client's cache, with the commit of each; `read` uses the cache then.

        The cache has repositories under the names that they were asked for by, while the Hub ignores upper and lower
        case.
        """
        from huggingface_hub import CacheNotFound, scan_cache_dir

        try:
            repositories = [each for each in scan_cache_dir().repos if each.repo_type == _KIND]
        except CacheNotFound:
            return {}
        named = {each.repo_id: each for each in repositories if each.repo_id.lower() == self.repo_id.lower()}
        if not named:
            return {}
        found = named.get(self.repo_id) or max(named.values(), key=lambda each: each.last_modified)
        self._cached_id = found.repo_id
        return {name: revision.commit_hash for name, revision in found.refs.items()}

    def sizes(self, revision: str) -> dict[str, int]:
        """Return the sizes in bytes of a set's files at a revision; missing files are left out.

        Raises:
            CorruptError: a file exceeds its limit.
        """
        with hub_errors(self.repo_id):
            found = self._api.get_paths_info(self.repo_id, list(LIMITS), revision=revision, repo_type=_KIND)
            sizes = {entry.path: int(entry.size) for entry in found if hasattr(entry, "size")}
        for name, size in sizes.items():
            self._check(name, size)
        return sizes

    def read(self, name: str, revision: str, *, again: bool = False) -> tuple[bytes, str]:
        """Read a file through the client's cache; also return its commit.

        Args:
            name: one of `LIMITS`.
            revision: tag, branch or commit.
            again: download the file even if it is cached.

        Raises:
            CorruptError: the file exceeds its limit.
        """
        with hub_errors(self.repo_id):
            downloaded = self._api.hf_hub_download(
                self._cached_id, name, revision=revision, repo_type=_KIND, force_download=again
            )
        path = Path(downloaded)
        self._check(name, path.stat().st_size)
        return path.read_bytes(), path.parent.name

    def _check(self, name: str, size: int) -> None:
        if name in LIMITS and size > LIMITS[name]:
            raise CorruptError(f"{name} of {self.repo_id} has {size:,} bytes; the limit is {LIMITS[name]:,}.")

    def commit(
        self, files: Mapping[str, bytes], unwanted: Sequence[str], message: str, parent: str | None, *, create_pr: bool
    ) -> Commit:
        """Write files in one commit.

        Args:
            files: contents by path.
            unwanted: paths to delete.
            message: commit message.
            parent: the expected head of main; None for any.
            create_pr: open a pull request.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in files.items()),
            *(CommitOperationDelete(path_in_repo=path) for path in unwanted),
        ]
        with hub_errors(self.repo_id):
            made = self._api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                repo_type=_KIND,
                create_pr=create_pr,
                parent_commit=parent,
            )
            return Commit(made.oid, None if made.pr_url is None else masked(made.pr_url))

    def tag(self, version: int, commit: str) -> None:
        """Tag a commit as a version."""
        with hub_errors(self.repo_id):
            self._api.create_tag(self.repo_id, tag=tag_of(version), revision=commit, repo_type=_KIND)
