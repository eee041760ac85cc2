"""What the Hub answers to which request: the part of its interface that the client and `datasets` use."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from hub.repositories import Files, Refused, Repository, git_oid

if TYPE_CHECKING:
    from hub.server import LoopbackHub

_LARGE = (".parquet", ".safetensors", ".png")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Request:
    """A request, taken apart.

    Attributes:
        hub: that received it.
        path, query, headers, body: of the request.
        token: the bearer's, or None.
    """

    hub: "LoopbackHub"
    path: str
    query: dict[str, list[str]]
    headers: Message
    body: bytes
    token: str | None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def readable(self, name: str) -> Repository:
        """The repository, if the token may read it."""
        return self.hub.repositories.readable(unquote(name), self.token)

    @property
    def creates_pr(self) -> bool:
        """Whether a pull request is asked for."""
        return self.query.get("create_pr") == ["1"]


@dataclass(frozen=True)
class Answer:
    """An answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> "Answer":
        """An answer in JSON."""
        return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def with_body(self, body: bytes) -> "Answer":
        """The same with another body."""
        return replace(self, body=body)


def _create(request: Request) -> Answer:
    values = request.json()
    name = f"{values['organization']}/{values['name']}" if values.get("organization") else values["name"]
    private = values.get("visibility") == "private" or bool(values.get("private"))
    request.hub.repositories.create(name, request.token, private=private)
    return Answer.of_json({"url": f"{request.hub.endpoint}/datasets/{name}", "name": name})


def _validate_yaml(request: Request) -> Answer:
    ok = request.json()["content"].startswith("---\n")
    return Answer.of_json({"errors": [], "warnings": []} if ok else {"errors": [{"message": "no metadata"}]})


def _agents(_request: Request) -> Answer:
    return Answer.of_json({"harnesses": []})


def _info(request: Request, name: str, revision: str = "main") -> Answer:
    repository = request.readable(name)
    oid = repository.resolve(unquote(revision))
    siblings = [{"rfilename": path} for path in sorted(repository.commits[oid])]
    values = {"id": unquote(name), "sha": oid, "private": repository.private, "siblings": siblings, "tags": []}
    return Answer.of_json({**values, "gated": False, "disabled": False, "downloads": 0, "likes": 0})


def _refs(request: Request, name: str) -> Answer:
    repository = request.readable(name)
    values: dict[str, Any] = {"branches": repository.listed("refs/heads/"), "converts": []}
    return Answer.of_json({**values, "tags": repository.listed("refs/tags/")})


def _preupload(request: Request, name: str, revision: str) -> Answer:
    repository = request.hub.repositories.writable(unquote(name), request.token, pull_request=request.creates_pr)
    there = repository.files(unquote(revision))
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if request.hub.large_files and file["path"].endswith(_LARGE) else "regular",
            "shouldIgnore": False,
            **({"oid": git_oid(there[file["path"]])} if file["path"] in there else {}),
        }
        for file in request.json()["files"]
    ]
    return Answer.of_json({"files": files, "commitOid": repository.resolve(unquote(revision))})


def _commit(request: Request, name: str, revision: str) -> Answer:
    repository = request.hub.repositories.writable(unquote(name), request.token, pull_request=request.creates_pr)
    lines = [json.loads(line) for line in request.body.splitlines()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    files: Files = {}
    deleted: list[str] = []
    for line in lines:
        key, value = line["key"], line["value"]
        if key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in request.hub.uploads:
                raise Refused(400, f"{value['path']} was not uploaded")
            files[value["path"]] = request.hub.uploads[value["oid"]]
        elif key == "deletedFile":
            deleted.append(value["path"])
    oid, number = repository.commit(
        unquote(revision),
        files,
        deleted,
        message=header["summary"],
        parent=header.get("parentCommit", ""),
        pull_request=request.creates_pr,
    )
    address = f"{request.hub.endpoint}/datasets/{unquote(name)}"
    made = {"success": True, "commitOid": oid, "commitUrl": f"{address}/commit/{oid}", "hookOutput": ""}
    return Answer.of_json(made | ({"pullRequestUrl": f"{address}/discussions/{number}"} if number else {}))


def _tag(request: Request, name: str, revision: str) -> Answer:
    repository = request.hub.repositories.writable(unquote(name), request.token)
    repository.tag(request.json()["tag"], unquote(revision))
    return Answer.of_json({})


def _entry(request: Request, path: str, data: bytes) -> dict[str, Any]:
    """A file in a listing."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
    if request.hub.large_files and path.endswith(_LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def _folders(files: Files) -> set[str]:
    return {path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)}


def _paths_info(request: Request, name: str, revision: str) -> Answer:
    files = request.readable(name).files(unquote(revision))
    form = request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
    wanted = parse_qs(request.body.decode())["paths"] if form else request.json()["paths"]
    found = [_entry(request, path, files[path]) for path in wanted if path in files]
    folders = [{"type": "directory", "path": path, "oid": "0" * 40} for path in wanted if path in _folders(files)]
    return Answer.of_json(found + folders)


def _tree(request: Request, name: str, revision: str, folder: str | None = None) -> Answer:
    files = request.readable(name).files(unquote(revision))
    prefix = f"{unquote(folder)}/" if folder else ""
    recursive = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    under = {path for path in [*files, *_folders(files)] if path.startswith(prefix)}
    shown = sorted(path for path in under if recursive or "/" not in path.removeprefix(prefix))
    if prefix and not under:
        raise Refused(404, "Entry not found", "EntryNotFound")
    directory = {"type": "directory", "size": 0, "oid": "0" * 40}
    return Answer.of_json(
        [_entry(request, path, files[path]) if path in files else {**directory, "path": path} for path in shown]
    )


def _resolve(request: Request, name: str, revision: str, path: str) -> Answer:
    repository = request.readable(name)
    oid, path = repository.resolve(unquote(revision)), unquote(path)
    if path not in repository.commits[oid]:
        raise Refused(404, "Entry not found", "EntryNotFound", oid)
    data = repository.commits[oid][path]
    headers = {"X-Repo-Commit": oid, "ETag": f'"{git_oid(data)}"', "Accept-Ranges": "bytes"}
    if not (request.hub.large_files and path.endswith(_LARGE)):
        return _ranged(request, data, headers)
    digest = hashlib.sha256(data).hexdigest()
    request.hub.uploads[digest] = data
    linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{digest}"'}
    # Another host for the client, as the Hub's store of large files is: it must not be sent the token.
    elsewhere = request.hub.endpoint.replace("127.0.0.1", "localhost")
    return Answer(302, b"", {**headers, **linked, "Location": f"{elsewhere}/large/{digest}"})


def _ranged(request: Request, data: bytes, headers: dict[str, str]) -> Answer:
    """The part of a file that is asked for."""
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if not found:
        return Answer(200, data, headers)
    first, last = int(found[1]), int(found[2] or len(data) - 1)
    if first >= len(data):
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    part = data[first : last + 1]
    shown = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
    return Answer(206, part, {**headers, "Content-Range": shown})


def _lfs_batch(request: Request, name: str) -> Answer:
    request.hub.repositories.writable(unquote(name), request.token, pull_request=True)
    objects = []
    for each in request.json()["objects"]:
        made: dict[str, Any] = {"oid": each["oid"], "size": each["size"]}
        if each["oid"] not in request.hub.uploads:
            made["actions"] = {"upload": {"href": f"{request.hub.endpoint}/large/{each['oid']}", "header": {}}}
        objects.append(made)
    return Answer.of_json({"transfer": "basic", "objects": objects})


def _upload(request: Request, digest: str) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != digest:
        raise Refused(400, "The upload is not what was announced")
    request.hub.uploads[digest] = request.body
    return Answer(200, b"")


def _download(request: Request, digest: str) -> Answer:
    if digest not in request.hub.uploads:
        raise Refused(404, "No such object")
    return _ranged(request, request.hub.uploads[digest], {"ETag": f'"{digest}"'})


_API = r"/api/datasets/([^/]+/[^/]+)"
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
    (method, re.compile(pattern), route)
    for method, pattern, route in (
        ("POST", r"/api/repos/create", _create),
        ("POST", r"/api/validate-yaml", _validate_yaml),
        ("GET", r"/api/agent-harnesses", _agents),
        ("GET", _API, _info),
        ("GET", _API + r"/revision/([^/]+)", _info),
        ("GET", _API + r"/refs", _refs),
        ("POST", _API + r"/preupload/([^/]+)", _preupload),
        ("POST", _API + r"/commit/([^/]+)", _commit),
        ("POST", _API + r"/tag/([^/]+)", _tag),
        ("POST", _API + r"/paths-info/([^/]+)", _paths_info),
        ("GET", _API + r"/tree/([^/]+)", _tree),
        ("GET", _API + r"/tree/([^/]+)/(.+)", _tree),
        ("GET", r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _resolve),
        ("POST", r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", _lfs_batch),
        ("PUT", r"/large/([0-9a-f]{64})", _upload),
        ("GET", r"/large/([0-9a-f]{64})", _download),
    )
]
