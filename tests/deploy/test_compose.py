"""The compose file, the image and the unit are whole, pinned, hardened and free of secrets and host paths."""

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy_queries import ROOT

DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("ingest", "worker", "worker-gpu", "web")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
UNIT = DEPLOY / "systemd/wetread.service"

every_service = pytest.mark.parametrize("name", SERVICES)


def test_yaml_is_clean() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "--config-file", "deploy/.yamllint", "deploy"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout


def test_the_whole_system_is_there() -> None:
    assert set(SERVICES) == {*OURS, "valkey", "postgres", "prometheus", "grafana"}


@every_service
def test_service_is_restarted_checked_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@every_service
def test_image_is_pinned_to_a_patch_release(name: str) -> None:
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-alpine)?$", SERVICES[name]["image"])


@every_service
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@every_service
def test_volumes_are_named_and_no_host_path(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = re.sub(r"^\$\{WETREAD_INBOX:-(\w+)\}", r"\1", volume).split(":")[0]
        assert source in COMPOSE["volumes"]


@every_service
def test_what_a_service_names_is_declared(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert {config["source"] for config in service.get("configs", [])} <= set(COMPOSE["configs"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)


@every_service
def test_no_secret_stands_in_the_environment(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL", key):
            assert str(value).startswith("/run/secrets/"), key
        assert not re.search(r"://[^/]*:[^/]*@", str(value)), key


def test_secrets_are_files_that_git_ignores() -> None:
    paths = [secret["file"] for secret in COMPOSE["secrets"].values()]
    assert all(path.startswith("./secrets/") for path in paths)
    run = subprocess.run(["git", "check-ignore", *paths], cwd=DEPLOY, capture_output=True, check=False)
    if run.returncode == 128:
        pytest.skip("not a git checkout")
    assert len(run.stdout.splitlines()) == len(paths)


def test_mounted_configurations_exist() -> None:
    for config in COMPOSE["configs"].values():
        assert (DEPLOY / config["file"]).is_file()


def test_queue_and_database_are_on_the_inside_network_alone() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("valkey", "postgres"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_prometheus_scrapes_the_ports_that_our_services_serve() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/compose.yml").read_text("utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    metrics_port = {name: SERVICES[name]["environment"].get("WETREAD_METRICS_PORT") for name in OURS}
    assert jobs["wetread"]["static_configs"][0]["targets"] == ["web:8642"]
    assert jobs["wetread-ingest"]["static_configs"][0]["targets"] == [f"ingest:{metrics_port['ingest']}"]
    workers = jobs["wetread-worker"]["dns_sd_configs"][0]
    assert workers["names"] == ["worker", "worker-gpu"]
    assert str(workers["port"]) == metrics_port["worker"] == metrics_port["worker-gpu"]


def test_gpu_worker_starts_only_when_asked_for() -> None:
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert "cuda:0" in SERVICES["worker-gpu"]["command"]


def test_image_runs_as_its_own_user_with_torch_first_and_everything_pinned() -> None:
    lines = DOCKERFILE.splitlines()
    assert all(re.search(r":\d+\.\d+\.\d+-slim", line) for line in lines if line.startswith("FROM"))
    assert lines.index("USER wetread") < lines.index('ENTRYPOINT ["wetread-entrypoint"]')
    assert DOCKERFILE.index("^torch==") < DOCKERFILE.index("--constraint constraints.txt .")
    assert re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)


def test_dockerfile_copies_only_what_exists_and_the_ignore_file_lets_through() -> None:
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for copy in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", DOCKERFILE, re.MULTILINE):
        for source in copy.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in allowed, source


def test_entrypoint_hands_secret_files_to_wetread_as_settings(tmp_path: Path) -> None:
    secrets, programs = tmp_path / "secrets", tmp_path / "bin"
    secrets.mkdir()
    programs.mkdir()
    (secrets / "WETREAD_DATABASE_URL").write_text("postgresql+psycopg://wetread:a b$c@postgres/wetread\n")
    (secrets / "other").write_text("no setting")
    (programs / "wetread").write_text('#!/bin/sh\necho "$WETREAD_DATABASE_URL|$*|${other-unset}"\n')
    (programs / "wetread").chmod(0o755)
    run = subprocess.run(
        [DEPLOY / "entrypoint.sh", "worker", "--device", "cuda:0"],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "SECRETS": str(secrets)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout == "postgresql+psycopg://wetread:a b$c@postgres/wetread|worker --device cuda:0|unset\n"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_alive_is_so_only_on_200() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = str(server.server_port)

        def alive(path: str) -> int:
            return subprocess.run([sys.executable, DEPLOY / "alive.py", port, path], check=False).returncode

        try:
            assert (alive("/healthz"), alive("/readyz")) == (0, 1)
        finally:
            server.shutdown()
            thread.join()
    assert alive("/healthz") == 1


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd
def test_unit_is_hardened() -> None:
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-200:]


@needs_systemd
def test_unit_is_valid(tmp_path: Path) -> None:
    text = UNIT.read_text("utf-8").replace("/opt/wetread/bin/wetread", "/bin/true")
    copy = tmp_path / "wetread.service"
    copy.write_text(re.sub(r"^(User|Group)=wetread$", r"\1=root", text, flags=re.MULTILINE), "utf-8")
    run = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
