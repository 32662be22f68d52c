"""This replica's life as etcd sees it: a lease kept alive, a pulse that the watch must bring back, and who leads.

The leader is whoever made the leader's key, which lives as long as its maker's lease. A leader counts itself out before
etcd does; and whatever only a leader may write names the very key it made, so that one who was stopped and goes on
later writes nothing.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from gossamer.kit.etcd.client import Client
from gossamer.kit.etcd.wire import Compare, Failed, Put, Unanswered

# Seconds. A dead leader is followed after its lease, half a second in which etcd looks, and a beat; where etcd loses
# its own leader at the same time, leases begin anew: twice this and an election stay below 15 s.
LEASE = 6
BEAT = 1.5
RETRY = 0.25
# Shorter than this it is no outage: a member of etcd ended, another is asked.
BLIP = 1.0
# A leader stops writing this long before its lease can have ended elsewhere: clocks run apart, and calls take time.
MARGIN = 1.0
# The watch brings a pulse back this often; without one for SILENCE it is taken for dead.
PULSE = 4.0
SILENCE = 10.0

_log = logging.getLogger("gossamer.store")


class Session:
    def __init__(
        self,
        client: Client,
        replica: str,
        keys: tuple[bytes, bytes],
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        """`keys`: of this replica's pulse, and the leader's. `clock`: seconds that go on while the machine sleeps.

        `changed` is called, on this thread, when leadership was won or lost.
        """
        self._client = client
        self._replica = replica
        self._pulse, self._leader = keys
        self._clock = clock
        self._changed = changed
        self._lease = 0
        # Until when the lease holds for sure.
        self._until = 0.0
        # The revision in which this replica made the leader's key; 0 while it does not lead.
        self._tenure = 0
        self._next_pulse = 0.0
        self._about: Mapping[str, Any] = {}
        self._stopping = threading.Event()
        self._look = threading.Event()
        self._candidate = threading.Event()
        self.well = True
        """Whether etcd answers."""
        self.problem = ""
        self.since = 0.0
        """When it stopped answering, by `clock`; 0 while it answers."""

    def announce(self, about: Mapping[str, Any], *, candidate: bool) -> None:
        """What others are told of this replica, and whether it may lead."""
        self._about = about
        self._next_pulse = 0.0
        if candidate:
            self._candidate.set()
        self._look.set()

    def leads(self) -> bool:
        return bool(self._tenure) and self._clock() < self._until

    def guard(self) -> Compare | None:
        """What is true of the store exactly while this replica leads; None when it knows that it does not."""
        tenure = self._tenure
        return Compare(self._leader, "CREATE", tenure) if tenure and self.leads() else None

    def look(self) -> None:
        """The leader's key has gone, or may have: looks at once."""
        self._look.set()

    def run(self) -> None:
        """The thread. Ends after `stop`, and gives the lease back so that another may lead at once."""
        led = False
        while not self._stopping.is_set():
            try:
                self._beat()
                if not self.well:
                    _log.info("the store answers again after %.0f s", self._clock() - self.since)
                self.well, self.since = True, 0.0
            except (Failed, Unanswered) as error:
                self.since = self.since or self._clock()
                if self.well and self._clock() - self.since >= BLIP:
                    _log.warning("the store does not answer: %s; what is known goes on being served", error)
                    self.well = False
                self.problem = str(error)
            # As it was after the last beat: a lease also runs out between two.
            if self.leads() != led:
                led = not led
                _log.info("this replica %s", "leads" if led else "leads no longer")
                self._changed()
            self._look.wait(RETRY if self.since else BEAT)
            self._look.clear()
        self._give_back()

    def close(self) -> None:
        """By the thread that used it."""
        self._client.close()

    def stop(self) -> None:
        self._stopping.set()
        self._look.set()

    def _beat(self) -> None:
        asked = self._clock()
        if not self._lease or not (left := self._client.keep_alive(self._lease)):
            self._tenure = 0
            asked = self._clock()
            self._lease, left = self._client.grant(LEASE), LEASE
            self._next_pulse = 0.0
        self._until = asked + left - MARGIN
        if asked >= self._next_pulse:
            self._client.put(self._pulse, json.dumps(self._about).encode(), self._lease)
            self._next_pulse = asked + PULSE
        if self._candidate.is_set():
            self._campaign()

    def _campaign(self) -> None:
        """Leads where nobody does; knows where another does."""
        me = f"{self._replica} {self._lease:x}".encode()
        items = self._client.range(self._leader).items
        if items:
            # Its own where the answer to an earlier try was lost.
            self._tenure = items[0].created if items[0].value == me else 0
            return
        self._tenure = 0
        put = Put(self._leader, me, self._lease)
        won = self._client.transact([Compare(self._leader, "CREATE", 0)], [put])
        if won.succeeded:
            self._tenure = won.revision

    def _give_back(self) -> None:
        if not self._lease:
            return
        try:
            self._client.revoke(self._lease)
        except (Failed, Unanswered) as error:
            _log.info("the lease ends by itself: %s", error)
