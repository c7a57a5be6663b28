"""Names that are no setting: what is misspelt is refused with the one that was meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches

PREFIX = "WETREAD_"
#: of difflib's ratio: `setle_seconds` has .96 of `settle_seconds`; other programs' names have less
ALIKE = 0.75
OTHERS = frozenset(("DATA", "PROMETHEUS_URL"))  #: what the tests and Grafana read
# what Kubernetes tells every container of a service whose name begins with wetread (service links)
_LINK = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)")


def misspelt(environment: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """A sentence for each variable that was meant to be a setting.

    It would otherwise leave a default in force that somebody meant to change.
    """
    alike = ((name, _nearest(_bare(name), settings)) for name in _unknown(environment, settings))
    return [f"{name} is no setting; did you mean {PREFIX}{near.upper()}?" for name, near in alike if near]


def strange(environment: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """A sentence for each variable that begins as ours do and is like no setting: another program's."""
    return [
        f"{name} is no setting and is passed over; docs/settings.md lists what there is"
        for name in _unknown(environment, settings)
        if not _nearest(_bare(name), settings)
    ]


def in_file(names: Iterable[str], settings: Collection[str]) -> list[str]:
    """A sentence for each name of the file that is no setting."""
    alike = ((name, _nearest(_bare(name), settings)) for name in sorted(names) if name not in settings)
    listed = "docs/settings.md lists what there is"
    return [f"{name} is no setting; {f'did you mean {near}?' if near else listed}" for name, near in alike]


def _unknown(environment: Mapping[str, str], settings: Collection[str]) -> Iterator[str]:
    for name, value in sorted(environment.items()):
        if name.upper().startswith(PREFIX) and _bare(name) not in settings:
            rest = name[len(PREFIX) :].upper()
            is_link = rest.endswith("PORT") and "://" in value  # WETREAD_WEB_PORT=tcp://10.0.0.7:8642
            if rest not in OTHERS and not is_link and not _LINK.fullmatch(rest):
                yield name


def _bare(name: str) -> str:
    return name.lower().removeprefix(PREFIX.lower())


def _nearest(name: str, settings: Collection[str]) -> str:
    return next(iter(get_close_matches(name, settings, 1, ALIKE)), "")
