"""Which workers consume nothing although their process lives: told from the record, not from a pid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from db import services
from db.errors import WetreadError
from db.settings import Settings
from db.store import Store


class Liveness:
    """The supervisor's look at its workers' proofs of life."""

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._since: dict[str, float] = {}  #: worker -> when it was first found without proof
        self._next = 0.0

    def deaf(self, pids: Mapping[str, int]) -> list[str]:
        """Workers, given by name and pid, to be started anew.

        Found without proof once is not enough: after the database was away, every proof is old.
        """
        now = self._clock()
        if now < self._next:
            return []
        self._next = now + self._settings.heartbeat_seconds
        try:
            found = self._without_proof(pids)
        except WetreadError:  # nothing is known of anyone
            self._since.clear()
            return []
        self._since = {name: self._since.get(name, now) for name in found}
        patience = 3 * self._settings.heartbeat_seconds
        ended = [name for name, since in self._since.items() if now - since >= patience]
        for name in ended:
            del self._since[name]
        return ended

    def _without_proof(self, pids: Mapping[str, int]) -> list[str]:
        longest = self._settings.canary_seconds_max
        with self._store.read() as connection:
            alive = services.alive(self._store, connection, longest)
            ages = services.canary_ages(self._store, connection)
        # a process that has not said a word yet is not known by its pid: it is starting
        known = [name for name, pid in pids.items() if alive.get(name, {}).get("pid") == pid]
        return [n for n in known if alive[n]["state"] == "lost" or ages.get(n, 0.0) > longest]
