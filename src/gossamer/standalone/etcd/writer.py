"""One replica's commits, one after another, on a thread of their own: whoever asks waits no longer than it wants.

Every transaction also moves this replica's mark from one random value to the next, and happens only while the mark is
where the last one left it. So an answer that was lost is found out: the mark tells whether the transaction happened,
and moving the mark makes sure that it never will. What was reported as not done and turns out to have happened is
undone, if nobody has built on it since.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from gossamer.kit.backoff import pauses
from gossamer.kit.etcd.client import Client
from gossamer.kit.etcd.wire import Compacted, Compare, Delete, Failed, Get, Item, Operation, Outcome, Put, Unanswered
from gossamer.ports import Unavailable

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0

_log = logging.getLogger("gossamer.store")


class NotLeading(Unavailable):
    """A commit that only the leader may make, by a replica that leads no longer: nothing was written."""


@dataclass(frozen=True, slots=True)
class Change:
    """`expected`: the revision the key must have, 0 for absent, None for whatever. `value` None deletes."""

    key: bytes
    value: bytes | None
    expected: int | None


@dataclass(frozen=True, slots=True)
class Done:
    """What etcd said: the revision of all changes, or, with `conflict`, what the keys are instead."""

    revision: int
    conflict: bytes | None = None
    found: tuple[Item, ...] = ()


@dataclass(slots=True)
class Job:
    """`guards` must hold beside what the changes expect: that this replica leads."""

    changes: Sequence[Change]
    guards: Sequence[Compare] = ()
    result: Done | Exception | None = None
    # Whoever asked was told that it is not done.
    abandoned: bool = False
    turn: threading.Condition = field(default_factory=threading.Condition)

    def finish(self, result: Done | Exception) -> bool:
        """Whether it was still waited for."""
        with self.turn:
            if self.abandoned:
                return False
            self.result = result
            self.turn.notify()
            return True

    def wait(self, seconds: float) -> Done | Exception | None:
        """None when there is no answer in time: then the job is abandoned."""
        with self.turn:
            self.turn.wait_for(lambda: self.result is not None, seconds)
            self.abandoned = self.result is None
            return self.result


class Writer:
    def __init__(
        self, client: Client, mark: bytes, random: Callable[[int], bytes], chance: Callable[[], float]
    ) -> None:
        """`mark` is the key of this replica's own. Nothing is written before `open`."""
        self._client = client
        self._mark = mark
        self._random = random
        self._chance = chance
        self._held = b""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._busy = threading.Event()
        self.stays: Callable[[Sequence[bytes]], None] = lambda keys: None
        """Told, on this thread, of changes that were reported as not done, happened, and cannot be undone."""
        self.problem = ""
        """Why etcd did not answer last."""

    def close(self) -> None:
        """By the thread that used it."""
        self._client.close()

    def open(self) -> None:
        """Takes the mark, so that nothing a predecessor sent may still happen. Raises `Failed` or `Unanswered`."""
        while True:
            page = self._client.range(self._mark)
            seen = page.items[0].revision if page.items else 0
            new = self._random(16)
            if self._client.transact([Compare(self._mark, "MOD", seen)], [Put(self._mark, new)]).succeeded:
                self._held = new
                return

    @property
    def busy(self) -> bool:
        """Whether an abandoned commit is still being found out about: until then nothing can be written."""
        return self._busy.is_set()

    def perform(self, job: Job, seconds: float) -> Done | Exception | None:
        """One at a time, and not while `busy`. None: not known in time, and to be taken as not done."""
        self._busy.set()
        self._jobs.put(job)
        result = job.wait(seconds)
        if result is not None:
            self._busy.clear()
        return result

    def run(self) -> None:
        """The thread. Ends after `stop`."""
        while (job := self._jobs.get()) is not None:
            done = self._commit(job)
            if job.finish(done):
                continue
            if isinstance(done, Done) and done.conflict is None:
                self._undo(job, done.revision)
            self._busy.clear()

    def stop(self) -> None:
        self._stopping.set()
        self._client.abort()
        self._jobs.put(None)

    def _commit(self, job: Job) -> Done | Exception:
        expected = [one for one in job.changes if one.expected is not None]
        facts = [Compare(one.key, "MOD", one.expected or 0) for one in expected]
        looked = [Get(key) for key in dict.fromkeys(one.key for one in (*job.guards, *facts))]
        try:
            outcome = self._transact((*job.guards, *facts), [_operation(one) for one in job.changes], looked)
        except Failed as error:
            return Unavailable(str(error))
        if outcome.succeeded:
            return Done(outcome.revision)
        for guard in job.guards:
            item = outcome.found.get(guard.key)
            if (item.created if item else 0) != guard.equals:
                return NotLeading("another replica leads now")
        for one in expected:
            item = outcome.found.get(one.key)
            if (item.revision if item else 0) != one.expected:
                return Done(outcome.revision, one.key, tuple(outcome.found.values()))
        return Unavailable("another process writes in this replica's name; give each a state folder of its own")

    def _undo(self, job: Job, revision: int) -> None:
        """Puts back what was there before `revision`, where nobody has changed it since."""
        try:
            before = {one.key: self._before(one.key, revision) for one in job.changes}
            facts = [Compare(one.key, "MOD", 0 if one.value is None else revision) for one in job.changes]
            back = [operation for key, item in before.items() if (operation := _back(key, item, job)) is not None]
            while not self._stopping.is_set():
                try:
                    undone = self._transact((*job.guards, *facts), back, ()).succeeded
                except Failed as error:
                    self.problem = str(error)
                    self._stopping.wait(LONGEST_PAUSE)
                    continue
                break
            else:
                return
        except Compacted:
            undone = False
        names = ", ".join(one.key.decode(errors="replace") for one in job.changes[:3])
        if undone:
            _log.info("undid a change of %s that was reported as not done", names)
        else:
            _log.warning("a change of %s was reported as not done, had happened, and can no longer be undone", names)
            self.stays([one.key for one in job.changes])

    def _before(self, key: bytes, revision: int) -> Item | None:
        for pause in pauses(FIRST_PAUSE, LONGEST_PAUSE, self._chance):
            try:
                items = self._client.range(key, revision=revision - 1).items
                return items[0] if items else None
            except (Failed, Unanswered) as error:
                self.problem = str(error)
                if self._stopping.wait(pause):
                    raise Compacted from error
        raise AssertionError("pauses do not end")

    def _transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation]
    ) -> Outcome:
        """With the mark moved along. Raises `Failed` when nothing was done, and finds out where that is not known."""
        new = self._random(16)
        mark = Compare(self._mark, "VALUE", self._held)
        try:
            outcome = self._client.transact((mark, *compares), (*then, Put(self._mark, new)), otherwise)
        except Unanswered as error:
            self.problem = str(error)
            outcome = self._settle(new)
        if outcome.succeeded:
            self._held = new
        return outcome

    def _settle(self, sent: bytes) -> Outcome:
        """Whether the transaction that moves the mark to `sent` happened; if not, it never will."""
        new = self._random(16)
        for pause in pauses(FIRST_PAUSE, LONGEST_PAUSE, self._chance):
            try:
                moved = self._client.transact(
                    [Compare(self._mark, "VALUE", self._held)], [Put(self._mark, new)], [Get(self._mark)]
                )
            except (Failed, Unanswered) as error:
                self.problem = str(error)
                if self._stopping.wait(pause):
                    raise Failed("stopped before etcd answered") from error
                continue
            mark = moved.found.get(self._mark)
            if mark is not None and mark.value == sent:
                return Outcome(True, mark.revision, {})
            if moved.succeeded or (mark is not None and mark.value == new):
                self._held = new
                raise Failed(f"{self.problem}; nothing was changed")
            raise Failed("another process writes in this replica's name; give each a state folder of its own")
        raise AssertionError("pauses do not end")


def _operation(one: Change) -> Operation:
    return Delete(one.key) if one.value is None else Put(one.key, one.value)


def _back(key: bytes, item: Item | None, job: Job) -> Operation | None:
    """What brings a key back to `item`; None where it is so already."""
    if item is not None:
        return Put(key, item.value)
    deleted = next(one.value is None for one in job.changes if one.key == key)
    return None if deleted else Delete(key)
