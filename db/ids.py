"""Opaque ids: 80 random bits, short enough to type."""

import secrets

PATTERN = "[0-9a-f]{20}"


def new_id() -> str:
    """A fresh id of a file, an input or a job; it says nothing about what it names."""
    return secrets.token_hex(10)
