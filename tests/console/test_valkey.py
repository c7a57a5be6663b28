"""The embedded Valkey: loopback, a password, and the same endpoint after a restart."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from console import valkey
from db import queue
from db.settings import Settings, load


class Server:
    """A Valkey in a home, which can be killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.start()

    def start(self) -> None:
        with (self.settings.folder("logs") / "valkey.log").open("ab") as log:
            self.process = valkey.start(self.settings, log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(settings: Settings) -> Iterator[Server]:
    """A home's Valkey, up."""
    found = Server(settings)
    yield found
    found.kill()


@pytest.mark.acceptance
def test_who_lacks_the_password_is_refused(server: Server) -> None:
    port = int(server.settings.redis.rpartition(":")[2].partition("/")[0])
    with Redis(port=port) as client, pytest.raises(AuthenticationError):
        client.ping()


@pytest.mark.acceptance
def test_its_files_are_the_owner_s_alone(server: Server) -> None:
    for name in ("valkey.conf", "endpoint.json"):
        assert (server.settings.folder("valkey") / name).stat().st_mode & 0o077 == 0


@pytest.mark.acceptance
def test_a_hint_outlives_a_killed_server_at_the_same_endpoint(server: Server) -> None:
    before = server.settings.redis
    with Redis.from_url(before) as client:  # one that waits for as long as the disk takes
        client.lpush("wetread.routine", "x")
        assert client.execute_command("WAITAOF", 1, 0, 0)[0] == 1  # the sync of every second has been
    server.kill()
    server.start()
    again = queue.connect(server.settings.redis)
    assert (server.settings.redis, queue.depth(again)["routine"]) == (before, 1)
    again.close()


@pytest.mark.acceptance
def test_a_home_of_any_name_will_do(tmp_path: Path) -> None:
    settings = load(tmp_path / 'Prüfung "7" \\ été')
    settings.make_folders()
    server = Server(settings)
    assert queue.is_up(queue.connect(settings.redis))
    server.kill()


def test_a_damaged_endpoint_is_made_anew(settings: Settings) -> None:
    path = settings.folder("valkey") / "endpoint.json"
    path.write_text('{"port": ')  # the disk was full, once
    port = valkey.prepare(settings)
    assert json.loads(path.read_text())["port"] == port


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert valkey.free_port(port) not in (0, port)


def test_a_free_port_is_kept() -> None:
    ports = [valkey.free_port() for _ in range(5)]  # another program may take one meanwhile, not all
    assert any(valkey.free_port(port) == port for port in ports)


def test_the_password_is_on_no_command_line(settings: Settings) -> None:
    valkey.prepare(settings)
    password = settings.redis.split(":")[2].partition("@")[0]
    assert password not in " ".join(valkey.command(settings))
