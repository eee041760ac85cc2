"""Repositories in memory: commits as snapshots, branches, tags and pull requests as references to them."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Files = dict[str, bytes]


class Refused(Exception):  # noqa: N818
    """An answer with an error status.

    Attributes:
        status: of the answer.
        message: for people.
        code: the Hub's word for it, for the header X-Error-Code.
        commit: which has no such file, for the header X-Repo-Commit.
    """

    def __init__(self, status: int, message: str, code: str = "", commit: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.commit = status, message, code, commit


def git_oid(data: bytes) -> str:
    """What git calls a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repository:
    """One data set repository.

    Attributes:
        private: whether only its owner sees it.
        commits: files by the commit's 40 digits.
        refs: commits by `refs/heads/NAME`, `refs/tags/NAME` and `refs/pr/NUMBER`.
    """

    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refs["refs/heads/main"] = self._add({".gitattributes": b"*.parquet filter=lfs\n"}, "", "initial commit")

    def _add(self, files: Files, parent: str, message: str) -> str:
        tree = {path: git_oid(data) for path, data in files.items()}
        oid = hashlib.sha1(json.dumps([tree, parent, message, len(self.commits)]).encode()).hexdigest()
        self.commits[oid] = files
        return oid

    def resolve(self, revision: str) -> str:
        """The commit that a branch, tag, pull request or commit means.

        Raises:
            Refused: 404.
        """
        if revision in self.commits:
            return revision
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.refs[ref]
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, revision: str) -> Files:
        """The files of a revision."""
        return self.commits[self.resolve(revision)]

    def commit(
        self,
        branch: str,
        files: Files,
        deleted: Iterable[str] = (),
        *,
        message: str = "",
        parent: str = "",
        pull_request: bool = False,
    ) -> tuple[str, int | None]:
        """Commit to a branch, or as a new pull request.

        Returns:
            The commit, and the pull request's number or None.

        Raises:
            Refused: 412 where the branch is not at `parent` any more.
        """
        head = self.resolve(branch)
        if parent and not pull_request and parent != head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        kept = {path: data for path, data in self.commits[head].items() if path not in deleted}
        oid = self._add(kept | files, head, message)
        if not pull_request:
            self.refs[f"refs/heads/{branch}"] = oid
            return oid, None
        number = 1 + sum(ref.startswith("refs/pr/") for ref in self.refs)
        self.refs[f"refs/pr/{number}"] = oid
        return oid, number

    def tag(self, name: str, revision: str) -> None:
        """Tag a revision.

        Raises:
            Refused: 409 where the tag is there.
        """
        if f"refs/tags/{name}" in self.refs:
            raise Refused(409, f"Tag reference exists already: {name}")
        self.refs[f"refs/tags/{name}"] = self.resolve(revision)

    def tags(self) -> dict[str, str]:
        """The commit of each tag."""
        return self._under("refs/tags/")

    def listed(self, prefix: str) -> list[dict[str, str]]:
        """References under a prefix, in the Hub's words."""
        return [{"name": name, "ref": prefix + name, "targetCommit": oid} for name, oid in self._under(prefix).items()]

    def _under(self, prefix: str) -> dict[str, str]:
        return {ref.removeprefix(prefix): oid for ref, oid in self.refs.items() if ref.startswith(prefix)}


class Repositories:
    """All repositories by `user/name`, and who may do what.

    Args:
        tokens: namespaces that each token may write to.

    Attributes:
        renamed: present names by former ones.
    """

    def __init__(self, tokens: dict[str, set[str]]) -> None:
        self.tokens = tokens
        self.all: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}

    def rename(self, old: str, new: str) -> None:
        """Give a repository another name; requests for the former one are redirected."""
        self.all[new] = self.all.pop(old)
        self.renamed[old] = new

    def snapshot(self) -> Any:
        """The whole state, for comparing."""
        return {
            name: (repository.private, dict(repository.refs), dict(repository.commits))
            for name, repository in self.all.items()
        }

    def _namespaces(self, token: str | None) -> set[str]:
        if token is not None and token not in self.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.tokens.get(token or "", set())

    def create(self, name: str, token: str | None, *, private: bool) -> Repository:
        """Make a repository.

        Raises:
            Refused: 401 without a token, 403 in another's namespace, 409 where it exists.
        """
        if token is None:
            raise Refused(401, "Invalid username or password.")
        if name.split("/")[0] not in self._namespaces(token):
            raise Refused(403, "You don't have the rights to create a dataset under this namespace")
        if name in self.all:
            raise Refused(409, "You already created this dataset repo")
        self.all[name] = Repository(private)
        return self.all[name]

    def readable(self, name: str, token: str | None) -> Repository:
        """A repository to read.

        Raises:
            Refused: 401 for a bad token; 404 where it is not there or hidden.
        """
        owned = name.split("/")[0] in self._namespaces(token)
        if name not in self.all or (self.all[name].private and not owned):
            raise Refused(404, "Repository not found", "RepoNotFound")
        return self.all[name]

    def writable(self, name: str, token: str | None, *, pull_request: bool = False) -> Repository:
        """A repository to write to; whoever reads it may open a pull request.

        Raises:
            Refused: as for reading; 401 without a token, 403 where the token may only read.
        """
        repository = self.readable(name, token)
        if token is None:
            raise Refused(401, "Invalid username or password.")
        if not pull_request and name.split("/")[0] not in self._namespaces(token):
            raise Refused(403, "You don't have write access to this repository")
        return repository
