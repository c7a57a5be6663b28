"""The `wetread` command: a thin door, which imports what a command needs when it is called."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from console import (
    audit_commands,
    findings,
    look,
    model_commands,
    quarantine_commands,
    result_commands,
    retention,
    rules_commands,
    series_commands,
    settings_command,
)
from console.shared import Home, answer, say

app = typer.Typer(
    name="wetread", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="The fast preliminary reading of every new imaging study and clinical note.",
    epilog="Exit codes: 0 ok, 1 the thing asked about is bad, 2 wrong usage.",
)  # fmt: skip
app.add_typer(quarantine_commands.quarantine, name="quarantine")
app.add_typer(audit_commands.audit, name="audit")
app.add_typer(model_commands.models, name="models")
app.add_typer(rules_commands.rules, name="rules")
COMMANDS: tuple[Callable[..., None], ...] = (
    look.status, findings.results, findings.case, look.requeue, series_commands.complete,
    settings_command.settings, look.doctor, result_commands.explain, result_commands.replay,
    retention.retention,
)  # fmt: skip
Name = Annotated[
    str | None, typer.Option("--name", help="Name among the services.", show_default="with the host")
]


def main() -> None:
    """Runs the command; wetread's own errors and the system's become a sentence and exit code 1."""
    from db.errors import WetreadError

    for stream in (sys.stdout, sys.stderr):  # a file's name may be no text in the terminal's encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except WetreadError as error:
        say(f"wetread: {error}")
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        say(f"wetread: {_of_system(error)}")
        sys.exit(1)


def _of_system(error: OSError) -> str:
    """What the system refused. A path is shown only where it was typed: a file's name may be a patient's."""
    from db.logs import place

    typed = error.filename is not None and str(error.filename) in [os.path.normpath(a) for a in sys.argv]
    return f"{error.filename if typed else place(error)}: {error.strerror or 'the system refused'}"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        answer(f"wetread {version('wetread')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The fast preliminary reading of every new imaging study and clinical note."""


@app.command()
def up(
    home: Home = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes.")] = 1,
) -> None:
    """Start everything on this machine: Valkey, ingest, workers, web. Ctrl-C stops it; a re-run resumes."""
    import time

    from console.up import Up, welcome
    from db.settings import Settings, load
    from db.spelling import strange

    start = time.monotonic()
    supervisor = Up(load(home), workers, say)
    for line in strange(os.environ, Settings.model_fields):
        say(line)
    supervisor.handle_signals()
    try:
        supervisor.start()
        supervisor.wait_ready()
        if not supervisor.stopping:
            answer(welcome(supervisor, time.monotonic() - start))
        supervisor.run()
    finally:
        if supervisor.children:
            say("stopping: work in hand is finished first")
        supervisor.stop()


@app.command()
def demo(
    samples: Annotated[
        Path | None,
        typer.Option("--samples", help="Only write the samples to this folder, to drop in yourself."),
    ] = None,
) -> None:
    """Start in a folder of its own, drop sample cases in, print their findings, stop."""
    if samples is not None:
        from console.samples import write

        answer(f"{write(samples)} files in {samples}")
        return
    from console.demo import run

    run(say, answer)


@app.command()
def ingest(home: Home = None, name: Name = None) -> None:
    """Run the ingest service alone."""
    from console.services import run_ingest
    from db.settings import load

    run_ingest(load(home), name or service_name("ingest"))


@app.command()
def worker(
    home: Home = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda:N.")] = None,
    lane: Annotated[list[str] | None, typer.Option("--lane", help="Lanes to serve; all by default.")] = None,
    name: Name = None,
) -> None:
    """Run one worker: one process, one device."""
    from console.services import run_worker
    from db.settings import load

    run_worker(load(home), device, lane, name or service_name("worker"))


@app.command()
def web(home: Home = None, name: Name = None) -> None:
    """Run the web service alone: page, /healthz, /readyz, /metrics."""
    from console.services import run_web
    from db.settings import load

    run_web(load(home), name or service_name("web"))


for _command in COMMANDS:
    app.command()(_command)


def service_name(kind: str) -> str:
    """A lone service's name among those of other hosts."""
    import socket

    return f"{kind}-{socket.gethostname()}-{os.getpid()}"


if __name__ == "__main__":
    main()
