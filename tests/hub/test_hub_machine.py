"""Settings and files of the machine itself that keep the Hub's client from working: each is named in one line."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from hub.machine import NAME, Machine
from registry.errors import HubError
from registry.hub.remote import Remote
from registry.hub.waits import asked_seconds

pytest_plugins = ["hub.fixtures"]

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "message", "hint"),
    [
        ({"HF_ENDPOINT": "127.0.0.1:9"}, "HF_ENDPOINT is '127.0.0.1:9'", "https://"),
        ({"HF_ENDPOINT": NOWHERE}, f"There is no connection to {NOWHERE}.", "Check the network and HF_ENDPOINT."),
        (
            {"HF_ENDPOINT": NOWHERE, "http_proxy": NOWHERE, "NO_PROXY": "", "no_proxy": ""},
            "There is no connection",
            "the proxy of http_proxy",
        ),
        ({"ALL_PROXY": "socks4://127.0.0.1:9"}, "The proxy of ALL_PROXY cannot be used", None),
        (
            {"HF_ENDPOINT": "https://127.0.0.1:9", "SSL_CERT_FILE": "/no/file"},
            "certificates cannot be",
            "SSL_CERT_FILE",
        ),
        ({"HF_TOKEN": "hf_größe"}, "The token has characters that no token has.", "Copy it again"),
        ({"HF_HUB_DOWNLOAD_TIMEOUT": "soon"}, "The Hub's client does not start: invalid literal", "HF_…"),
    ],
)
def test_a_wrong_setting_is_named(
    machine: Machine, environment: dict[str, str], message: str, hint: str | None
) -> None:
    said = machine.run("pull", "user/nothing", code=1, **environment).stderr.splitlines()
    line = next(line for line in said if line.startswith("Error: "))
    assert message in line
    assert hint is None or hint in said[-1]
    assert "Internal error" not in line


@pytest.mark.parametrize("token", ["\n", " ", "hf_secretsecretsecretsecretsecretse\n"])
def test_spaces_around_a_token_are_no_part_of_it(machine: Machine, other: Machine, repo: str, token: str) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    assert other.json("pull", repo, HF_TOKEN=token)["reference"] == f"{repo}:1"


def test_a_cache_that_cannot_be_written_to(machine: Machine, other: Machine, repo: str, tmp_path: Path) -> None:
    machine.add()
    machine.run("push", NAME, repo)
    (tmp_path / "file").touch()
    said = other.run("pull", repo, code=1, HF_HOME=str(tmp_path / "file")).stderr
    assert str(tmp_path / "file") in said.splitlines()[0]
    assert "HF_HOME" in said.splitlines()[1]
    assert other.files() == {}


def test_without_a_home_folder_the_client_gets_no_cache_called_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", "~/.cache/huggingface/hub")
    with pytest.raises(HubError, match="no home folder") as caught:
        Remote("user/set")
    assert "HF_HOME" in caught.value.hint


def test_upper_and_lower_case_offline(machine: Machine, other: Machine) -> None:
    machine.add()
    machine.run("push", NAME, "user/Digits-Of-Mine")
    other.run("pull", "user/Digits-Of-Mine", "--name", "first", HF_HUB_OFFLINE="0")
    for spelling in ("user/digits-of-mine", "User/Digits-Of-Mine", "user/Digits-Of-Mine"):
        pulled = other.json("pull", spelling, "--name", "second", HF_HUB_OFFLINE="1")
        assert pulled["from_cache"]
    assert "not in the cache" in other.run("pull", "user/digits-of-min", code=1, HF_HUB_OFFLINE="1").stderr


@pytest.mark.parametrize(("header", "seconds"), [("5", 5), ("", None), ("soon", None), ("-1", None)])
def test_retry_after_in_seconds(header: str, seconds: int | None) -> None:
    assert asked_seconds({"Retry-After": header}) == seconds


def test_retry_after_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    found = asked_seconds({"Retry-After": date})
    assert found is not None
    assert 6000 < found <= 7200


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """The address of a server with a certificate that it has signed itself."""
    import shutil

    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_a_certificate_that_is_not_trusted(machine: Machine, untrusted: str) -> None:
    """As of a proxy that looks into connections."""
    said = machine.run("pull", "user/set", code=1, HF_ENDPOINT=untrusted).stderr
    assert f"The certificate of {untrusted} is not trusted." in said
    assert "SSL_CERT_FILE" in said
