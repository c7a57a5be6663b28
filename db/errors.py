"""The exceptions that decide an input's fate, in one tree.

WetreadError
├── Rejected      the input is at fault: quarantined with its reason, never retried
├── Abstained     the model was not made for this input: recorded and shown as a result
├── Unavailable   the world is at fault (Redis, database, disk, memory): retried with jitter
└── Misconfigured the operator must act (settings, keys, weights): the service refuses to start or to load

Anything else is our own bug: the job fails visibly and can be requeued. No message of these
classes ever carries a patient's name, number or words: they are logged and shown as they are.
"""

from __future__ import annotations


class WetreadError(Exception):
    """Base of every error that wetread raises on purpose."""


class Rejected(WetreadError):  # noqa: N818 - the fate, not "…Error", is the name people read
    """The input cannot be read; it goes to quarantine.

    code: short kebab-case reason, stable, used by `quarantine list --reason`.
    sentence: what was met and what was expected, free of patient data.
    advice: what a person can do about it.
    """

    def __init__(self, code: str, sentence: str, advice: str = "") -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.advice = advice


class Abstained(WetreadError):  # noqa: N818
    """A model declines to answer; code and sentence become the result's reason."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class Unavailable(WetreadError):  # noqa: N818
    """Something outside the input failed; the same work is tried again later."""


class Misconfigured(WetreadError):  # noqa: N818
    """A setting, key, migration or weights file is wrong; the message says how to mend it."""
