"""GDCM decodes in its own process: damaged JPEG aborts it, which must cost an image and not a worker."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import struct
import subprocess
import sys
import threading
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SECONDS = 30.0  #: time for one frame; the slowest of 100 megapixels takes a third of it
MEMORY = 4 * 2**30  #: address space of the process

_SIZES = struct.Struct("<QQ")
_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None
_owner = 0


class Undecodable(Exception):  # noqa: N818 - caught by the one caller
    """The frame could not be decoded, or the decoder died of it."""


def decode(frame: bytes, description: dict[str, str | int]) -> NDArray[Any]:
    """One compressed frame's values, shape (rows, columns) or (rows, columns, samples).

    description: `transfer_syntax_uid` and the Image Pixel module's values by the names that
        pydicom's decoders give them. Raises Undecodable.
    """
    with _lock:
        process = _running()
        try:
            _send(process.stdin, description, frame)
            header, data = _receive(process.stdout)
        except (OSError, EOFError, ValueError):
            _stop()
            raise Undecodable from None
    if "shape" not in header:
        raise Undecodable
    return np.frombuffer(data, dtype=np.dtype(header["dtype"])).reshape(header["shape"]).copy()


def _running() -> subprocess.Popen[bytes]:
    global _process, _owner  # noqa: PLW0603 - one decoder a process, kept warm
    if _process is None or _owner != os.getpid() or _process.poll() is not None:
        if _owner == os.getpid():
            _stop()
        _owner = os.getpid()
        _process = subprocess.Popen(
            [sys.executable, "-m", "ingest.shelter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the codec's own words about a patient's file
        )
    return _process


def _stop() -> None:
    global _process  # noqa: PLW0603
    if _process is not None and _owner == os.getpid():
        _process.kill()
        for pipe in (_process.stdin, _process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # it died while it was being written to
        _process.wait()
    _process = None


def _send(pipe: IO[bytes] | None, header: dict[str, Any], data: bytes) -> None:
    if pipe is None:
        raise EOFError
    words = json.dumps(header).encode()
    pipe.write(_SIZES.pack(len(words), len(data)) + words)
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes] | None, seconds: float | None = SECONDS) -> tuple[dict[str, Any], bytes]:
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


def _decoded(header: dict[str, Any], frame: bytes) -> NDArray[Any]:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(header.pop("transfer_syntax_uid")))
    return decoder.as_array(encapsulate([frame]), index=0, decoding_plugin="gdcm", **header)[0]


def serve() -> None:
    """Decodes what comes on standard input until it ends."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's picture
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a codec prints must not mix with the answers
    while True:
        try:
            header, frame = _receive(sys.stdin.buffer, None)
        except EOFError:
            return
        try:
            values = np.ascontiguousarray(_decoded(header, frame))
        except Exception:  # noqa: BLE001 - codecs raise anything; the asker only needs to know that
            _send(out, {}, b"")
        else:
            _send(out, {"dtype": values.dtype.str, "shape": values.shape}, values.tobytes())


if __name__ == "__main__":
    serve()
else:
    atexit.register(_stop)
