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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SECONDS = 30.0  #: of processor time for one frame; the slowest of 100 megapixels takes a third of it
#: times its processor time that an answer may take on the clock: a busy machine gives a process little, and a
#: busy disk makes it wait; neither says anything of the input
PATIENCE = 6
START_SECONDS = 60.0  #: on the clock, for a child's imports; they take it less than one of processor time
END_SECONDS = 5.0  #: for a child that was killed to be gone; one that the disk holds is not waited for longer
#: glibc's: a freed picture's memory serves the next one. Given back to the system each time, every page of
#: it would fault again, which took as long as decoding a film
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
PIPE = 1 << 20  #: bytes that a pipe holds, where the system allows it
MEMORY = 4 * 2**30  #: address space that the decoder may add to its own
#: what ends a child and no input does: a system out of memory, a terminal that goes; our own alarm
OUTSIDE = frozenset((-signal.SIGKILL, -signal.SIGHUP, -signal.SIGALRM))

Answer = tuple[dict[str, Any], bytes]  #: JSON-able header, bytes
_SIZES = struct.Struct("<QQ")


class Undecodable(Exception):  # noqa: N818 - caught by the one caller
    """The frame could not be decoded, or the decoder died of it."""


class Died(Exception):  # noqa: N818
    """The child ended, or was ended, before it answered.

    spent: it had used up its processor time. excused: it had not, and did not fall over the input either: it
        was ended from outside, or had no answer within `PATIENCE`.
    """

    def __init__(self, *, spent: bool, excused: bool) -> None:
        super().__init__()
        self.spent, self.excused = spent, excused


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

        seconds: of processor time for it, where that is not the usual.
        """
        seconds = seconds or self._seconds
        clock = PATIENCE * max(seconds, self._seconds)
        with self._lock:
            process = self._running()
            try:
                _send(process.stdin, {**header, "seconds": seconds, "clock": clock}, data)
                return _receive(process.stdout, clock)
            except (OSError, EOFError, ValueError) as error:
                raise self._death(process, late=isinstance(error, TimeoutError)) from None
            except BaseException:  # what it still answers would be taken for the answer to the next question
                self.stop()
                raise

    def warm(self) -> None:
        """Has the child started before it is asked. Raises OSError."""
        with self._lock:
            self._running()

    def _death(self, process: subprocess.Popen[bytes], *, late: bool) -> Died:
        """Ends the child, and says what it died of."""
        code = None
        if not late:  # it is all but gone
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(END_SECONDS)
        self.stop()
        return Died(spent=code == -signal.SIGPROF, excused=late or code in OUTSIDE)

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
            self._await_greeting(self.process)
        return self.process

    def _await_greeting(self, process: subprocess.Popen[bytes]) -> None:
        """Returns once its imports are done: they count against no input."""
        try:
            _receive(process.stdout, START_SECONDS)
        except BaseException as error:  # a greeting still to come would be taken for an answer
            self.stop()
            if isinstance(error, EOFError):
                raise ChildProcessError("it ended before it began") from None
            raise

    def stop(self) -> None:
        """Ends the child; the next question starts another."""
        if self.process is not None and self._owner == os.getpid():
            self.process.kill()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # it died while it was being written to
                        pipe.close()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
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
    seconds: of processor time for one answer, where the question names none.
    """
    import resource

    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's picture
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to us all: they are for the parent, which stops us
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a codec prints must not mix with the answers
    _send(out, {}, b"")
    while True:
        try:
            header, data = _receive(sys.stdin.buffer, None)
        except EOFError:
            return
        limit = header.pop("seconds", seconds)
        signal.setitimer(signal.ITIMER_PROF, limit)  # SIGPROF ends us, whatever we are at
        # SIGALRM does where nobody is left who would
        signal.setitimer(signal.ITIMER_REAL, header.pop("clock", PATIENCE * limit) + END_SECONDS)
        found = answer(header, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(out, *found)
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
    """A message's header and data. Raises EOFError when the other side is gone, TimeoutError when late."""
    if pipe is None:
        raise EOFError
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        # once more: whoever was stopped meanwhile (a paused container) wakes up after the time
        if not selector.select(seconds) and not selector.select(0):
            raise TimeoutError
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
        try:
            header, data = decoder.ask(description, frame)
        except Died as death:
            if not death.excused:
                raise
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
