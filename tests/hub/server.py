"""The server: a thread that answers on 127.0.0.1, and what a test sees of it."""

import contextlib
import re
import socket
import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from hub.repositories import Refused, Repositories
from hub.routes import ROUTES, Answer, Request
from hub.trouble import Trouble

TOKEN = "hf_secretsecretsecretsecretsecretse"
READER = "hf_readerreaderreaderreaderreaderre"


@dataclass(frozen=True)
class Seen:
    """A request that was received."""

    method: str
    path: str
    headers: Message
    body: bytes


class LoopbackHub:
    """A Hub on a free port of 127.0.0.1, running inside its `with` block.

    Attributes:
        repositories: its state.
        large_files: whether binary files must be uploaded as large files and are kept at an address of their own.
        troubles: what goes wrong; see `Trouble`.
        seen: the requests that were received.
    """

    def __init__(self) -> None:
        self.reset()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def reset(self) -> None:
        """Forget everything."""
        self.repositories = Repositories({TOKEN: {"user", "User.X"}, READER: {"reader"}})
        self.large_files = False
        self.uploads: dict[str, bytes] = {}
        self.troubles: list[Trouble] = []
        self.seen: list[Seen] = []

    @property
    def endpoint(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def trouble(self, pattern: str, **what: Any) -> Trouble:
        """Let something go wrong; see `Trouble`."""
        made = Trouble(pattern, **what)
        self.troubles.append(made)
        return made

    def writes(self) -> list[str]:
        """The requests that change repositories, as `METHOD /path`."""
        words = ("/repos/create", "/commit/", "/tag/")
        return [f"{each.method} {each.path}" for each in self.seen if any(word in each.path for word in words)]

    def answer(self, seen: Seen) -> Answer:
        """What is right to answer to a request."""
        url = urlsplit(seen.path)
        of_old = re.match(r"(?:/api)?/datasets/([^/]+/[^/?]+)", seen.path)
        if of_old and of_old[1] in self.repositories.renamed:
            location = seen.path.replace(of_old[1], self.repositories.renamed[of_old[1]], 1)
            return Answer(307, b"", {"Location": location})
        kind, _, token = seen.headers.get("Authorization", "").partition(" ")
        request = Request(
            self, url.path, parse_qs(url.query), seen.headers, seen.body, token if kind == "Bearer" else None
        )
        try:
            for method, pattern, route in ROUTES:
                if method == ("GET" if seen.method == "HEAD" else seen.method) and (
                    found := pattern.fullmatch(url.path)
                ):
                    return route(request, *found.groups())
            raise Refused(404, f"No such route: {seen.method} {url.path}")
        except Refused as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message, "X-Repo-Commit": error.commit}
            sent = {name: value for name, value in headers.items() if value}
            return Answer.of_json({"error": error.message}, status=error.status, headers=sent)


def _handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    """The class that the server makes for each connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        wbufsize = -1  # one packet for head and body, lest each answer waits for an acknowledgement

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen = Seen(self.command, self.path, self.headers, body)
            hub.seen.append(seen)
            trouble = next((each for each in hub.troubles if each.meets(f"{self.command} {self.path}")), None)
            if trouble is None:
                self._send(hub.answer(seen))
                return
            if trouble.status is None:
                answer = hub.answer(seen)
            else:
                answer = Answer(trouble.status, b"", {"Content-Type": "application/json", **trouble.headers})
            self._send(answer if trouble.body is None else answer.with_body(trouble.body), trouble.cut_after)

        do_GET = do_HEAD = do_POST = do_PUT = _serve

        def _send(self, answer: Answer, cut_after: int | None = None) -> None:
            if cut_after == -1:
                self._cut()
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[:cut_after])
            if cut_after is not None:
                self._cut()

        def _cut(self) -> None:
            self.wfile.flush()
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            """Say nothing."""

    return Handler
