"""The supervisor's answers before anything runs: where it is reached, and why a port will not do."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from console.ports import require_free
from console.up import Up, news, probe, reached_at, shared_metrics, welcome
from console.valkey import free_port
from db.errors import Misconfigured, Unavailable
from db.settings import Settings
from tests.asking import Wetread


def refused(settings: Settings, **changed: object) -> str:
    with pytest.raises(Misconfigured) as why:
        Up(settings.model_copy(update=changed), 1, print)._http_port()
    return str(why.value)


@pytest.mark.parametrize(
    ("host", "at"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("::", "[::1]"),  # noqa: S104
     ("fe80::7", "[fe80::7]"), ("ward-7.example.org", "ward-7.example.org")],
)  # fmt: skip
def test_the_web_is_asked_where_it_listens(settings: Settings, host: str, at: str) -> None:
    assert reached_at(host) == at
    assert Up(settings.model_copy(update={"http_host": host}), 1, print).url == f"http://{at}:0"


def test_a_taken_port_is_told_from_an_address_that_is_not_ours(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port} is taken" in refused(settings, http_port=port)
    # TEST-NET-1 (RFC 5737): no machine's own
    assert "192.0.2.1 is no address of this machine" in refused(
        settings, http_host="192.0.2.1", http_port=port
    )


def test_a_lone_service_names_the_port_that_is_taken(
    empty: Settings, wetread: Wetread, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("WETREAD_HTTP_PORT", str(port))
        said = wetread("web")
        assert (said.code, f"port {port} is taken; set WETREAD_HTTP_PORT" in said.err) == (1, True)
        with pytest.raises(Misconfigured, match=f"port {port} is taken; set WETREAD_METRICS_PORT"):
            require_free("127.0.0.1", port, "WETREAD_METRICS_PORT")


def test_a_free_port_is_taken_as_it_is(settings: Settings) -> None:
    ports = [free_port() for _ in range(5)]  # another program may take one meanwhile, not all

    def taken(port: int) -> int:
        with suppress(Misconfigured):
            return Up(settings.model_copy(update={"http_port": port}), 1, print)._http_port()
        return 0

    assert any(taken(port) == port for port in ports)


def test_a_machine_s_proxy_is_not_asked_for_the_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody listens there
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.handle_request).start()
        assert probe(f"http://127.0.0.1:{server.server_port}") == (True, "ready")


class Ready(BaseHTTPRequestHandler):
    """A web service that is ready, whatever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_what_to_wait_for_is_news_once_however_long_it_lasts() -> None:
    assert news("canary: none answered for 91 s") == news("canary: none answered for 92 s")
    assert news("worker: warming 7/20") != news("worker: warming 8/20")


def test_a_full_disk_keeps_files_waiting_and_not_the_services_from_starting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.up.READY_SECONDS", 1)
    said: list[str] = []
    monkeypatch.setattr("console.up.probe", lambda _: (False, "ingest: waiting: disk"))
    Up(settings, 1, said.append).wait_ready()
    assert "files wait in the inbox" in said[0]
    monkeypatch.setattr("console.up.probe", lambda _: (False, "ingest: waiting: disk; worker: lost"))
    with pytest.raises(Unavailable, match="worker: lost"):
        Up(settings, 1, said.append).wait_ready()


def test_counters_are_shared_in_memory_where_a_full_disk_ends_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    folder = shared_metrics(settings, tmp_path)
    assert (folder.parent, folder.stat().st_mode & 0o077) == (tmp_path, 0)
    (folder / "counter_1.db").write_bytes(b"old")
    assert [p.name for p in shared_metrics(settings, tmp_path).iterdir()] == ["home"]


def test_counters_of_a_home_that_has_gone_go_too(settings: Settings, tmp_path: Path) -> None:
    gone = settings.model_copy(update={"home": tmp_path / "gone"})
    left, kept = shared_metrics(gone, tmp_path), shared_metrics(settings, tmp_path)
    shared_metrics(settings.model_copy(update={"home": tmp_path}), tmp_path)
    assert (left.exists(), kept.exists()) == (False, True)


def test_without_such_memory_or_in_another_s_folder_the_home_serves(
    settings: Settings, tmp_path: Path
) -> None:
    assert shared_metrics(settings, tmp_path / "none") == settings.folder("metrics")
    taken = shared_metrics(settings, tmp_path)
    taken.rename(tmp_path / "elsewhere")
    taken.symlink_to(tmp_path / "elsewhere")  # rmtree follows no link
    assert shared_metrics(settings, tmp_path) == settings.folder("metrics")


def test_what_is_shown_can_be_typed(settings: Settings, tmp_path: Path) -> None:
    up = Up(settings.model_copy(update={"home": tmp_path / "Ward 7"}), 1, print)
    assert f"status --home '{tmp_path}/Ward 7'" in welcome(up, 1.0)
