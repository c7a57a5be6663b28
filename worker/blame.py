"""Whose fault a failure is: the world's is tried again, our own bug stays visible at once."""

from __future__ import annotations

import errno
import gc
import sys

from db.errors import Unavailable

WORLD = frozenset((
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN,
    errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.ETIMEDOUT, errno.ESTALE,
))  # fmt: skip
# torch's CPU allocator, CUDA's and ONNX's say it in a RuntimeError
MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


def is_memory(error: BaseException) -> bool:
    """The machine or the device had no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in MEMORY_WORDS)


def is_world(error: BaseException) -> bool:
    """Redis, database, disk, network or memory: trying again later can help."""
    if isinstance(error, Unavailable) or is_memory(error):
        return True
    return isinstance(error, OSError) and error.errno in WORLD


def free_memory() -> None:
    """Gives back what a failed forward still holds, on the host and on the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
