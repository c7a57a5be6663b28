"""Child processes for what a hostile input may crash, hang or fill: warm, limited, restarted."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SECONDS = 30.0  #: time for one frame; the slowest of 100 megapixels takes a third of it
#: glibc's: a freed picture's memory serves the next one. Given back to the system each time, every page of
#: it would fault again, which took as long as decoding a film
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
PIPE = 1 << 20  #: bytes that a pipe holds, where the system allows it
MEMORY = 4 * 2**30  #: address space that the decoder may add to its own

Answer = tuple[dict[str, Any], bytes]  #: JSON-able header, bytes
_SIZES = struct.Struct("<QQ")


class Undecodable(Exception):  # noqa: N818 - caught by the one caller
    """The frame could not be decoded, or the decoder died of it."""


class Died(Exception):  # noqa: N818
    """The child ended, or was ended for want of an answer in time."""

    def __init__(self, *, late: bool) -> None:
        super().__init__()
        self.late = late


class Shelter:
    """One child process that runs `python -m MODULE` and answers one question at a time."""

    def __init__(self, module: str, seconds: float) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._module = module
        self._seconds = seconds
        self._owner = 0
        self._lock = threading.Lock()
        atexit.register(self.stop)

    def ask(self, header: Mapping[str, Any], data: bytes = b"", seconds: float | None = None) -> Answer:
        """The child's answer. Raises Died when it gave none, OSError when none could be started.

        seconds: to wait for it, where that is not the usual time.
        """
        limit = seconds or self._seconds
        with self._lock:
            process = self._running()
            start = time.monotonic()
            try:
                _send(process.stdin, {**header, "seconds": limit}, data)
                return _receive(process.stdout, limit)
            except (OSError, EOFError, ValueError):
                late = time.monotonic() - start >= limit
                self.stop()
                raise Died(late=late) from None

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self._owner != os.getpid() or self.process.poll() is not None:
            if self._owner == os.getpid():
                self.stop()
            self._owner = os.getpid()
            env = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
            env.update(ALLOCATOR)
            self.process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a library's own words about a patient's file
                env=env,
            )
            for pipe in (self.process.stdin, self.process.stdout):
                _widen(pipe)
            _receive(self.process.stdout, 60)  # its imports are done: they count against no input
        return self.process

    def stop(self) -> None:
        """Ends the child; the next question starts another."""
        if self.process is not None and self._owner == os.getpid():
            self.process.kill()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # it died while it was being written to
                        pipe.close()
            self.process.wait()
        self.process = None


class Shelters:
    """As many such children as are asked at once, `most` at most; who comes beyond that waits."""

    def __init__(self, module: str, seconds: float, most: int = 1) -> None:
        self._module, self._seconds = module, seconds
        self.children: list[Shelter] = []
        self._idle: SimpleQueue[Shelter] = SimpleQueue()
        self.allow(most)

    def allow(self, most: int) -> None:
        """So many at most from now on; never fewer than there were."""
        while len(self.children) < most:
            self.children.append(Shelter(self._module, self._seconds))
            self._idle.put(self.children[-1])

    def ask(self, header: Mapping[str, Any], data: bytes = b"", seconds: float | None = None) -> Answer:
        """The answer of whichever is idle. Raises as `Shelter.ask` does."""
        child = self._idle.get()
        try:
            return child.ask(header, data, seconds)
        finally:
            self._idle.put(child)


def serve(answer: Callable[[dict[str, Any], bytes], Answer], *, memory: int, seconds: float) -> None:
    """The child's side: answers what comes on standard input until it ends, within limits.

    memory: bytes of address space beyond what the process has when it begins to serve.
    seconds: for one answer; a child whose parent was killed ends itself then.
    """
    import resource

    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's picture
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then stops us
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a codec prints must not mix with the answers
    _send(out, {}, b"")
    while True:
        try:
            header, data = _receive(sys.stdin.buffer, None)
        except EOFError:
            return
        # SIGALRM ends us where nobody else does
        signal.setitimer(signal.ITIMER_REAL, header.pop("seconds", seconds) + 5)
        _send(out, *answer(header, data))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _widen(pipe: IO[bytes] | None) -> None:
    """Has a pipe hold a film, so that neither side waits for the other's every 64 KiB."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # beyond what the system allows a user: it stays as it is
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE)


def _send(pipe: IO[bytes] | None, header: Mapping[str, Any], data: bytes) -> None:
    if pipe is None:
        raise EOFError
    words = json.dumps(header).encode()
    pipe.write(_SIZES.pack(len(words), len(data)) + words)
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes] | None, seconds: float | None) -> Answer:
    """The header and data of one message. Raises EOFError when the other side is gone or late."""
    if pipe is None:
        raise EOFError
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if not selector.select(seconds):
            raise EOFError
    words, size = _SIZES.unpack(_exactly(pipe, _SIZES.size))
    return json.loads(_exactly(pipe, words)), _exactly(pipe, size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


# ── GDCM: damaged JPEG aborts it, which must cost an image and not a worker ────────────────────────

decoder = Shelter("ingest.shelter", SECONDS)


def decode(frame: bytes, description: dict[str, str | int]) -> NDArray[Any]:
    """One compressed frame's values, shape (rows, columns) or (rows, columns, samples).

    description: `transfer_syntax_uid` and the Image Pixel module's values by the names that
        pydicom's decoders give them. Raises Undecodable.
    """
    try:
        header, data = decoder.ask(description, frame)
    except (Died, OSError):
        raise Undecodable from None
    if "shape" not in header:
        raise Undecodable
    return np.frombuffer(data, dtype=np.dtype(header["dtype"])).reshape(header["shape"]).copy()


def _decoded(header: dict[str, Any], frame: bytes) -> Answer:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        codec = get_decoder(UID(header.pop("transfer_syntax_uid")))
        found = codec.as_array(encapsulate([frame]), index=0, decoding_plugin="gdcm", **header)[0]
        values = np.ascontiguousarray(found)
    except Exception:  # noqa: BLE001 - codecs raise anything; the asker only needs to know that
        return {}, b""
    return {"dtype": values.dtype.str, "shape": values.shape}, values.tobytes()


if __name__ == "__main__":
    serve(_decoded, memory=MEMORY, seconds=SECONDS)
