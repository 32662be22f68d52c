"""The `Store` port on etcd: reads from memory, commits with a deadline, news of what others wrote.

    PREFIX/k/KEY          an entry; its version is etcd's modification revision
    PREFIX/s/schema       what this layout is called
    PREFIX/s/mark/ID      moved by every commit of replica ID (see `writer`)
    PREFIX/s/alive/ID     what replica ID says of itself, while it lives
    PREFIX/s/leader       who leads, while it lives

While etcd is away everything that was known is read on, and commits are `Unavailable` at once. The caller is held up
for at most DEADLINE, by the first commit of an outage. Must not know what values mean.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from gossamer.kit.backoff import pauses
from gossamer.kit.etcd.client import Client, Place
from gossamer.kit.etcd.wire import Compacted, Compare, Failed, Heard, Item, Put, Unanswered
from gossamer.ports import Conflict, Entry, Store, Unavailable, Write
from gossamer.standalone.etcd.mirror import Mirror, News
from gossamer.standalone.etcd.session import SILENCE, Session
from gossamer.standalone.etcd.writer import Change, Done, Job, NotLeading, Writer

SCHEMA = 1
# Seconds.
DEADLINE = 1.0
PATIENCE = 1.0
OPEN_PATIENCE = 3.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
# etcd's defaults: 128 operations and 1.5 MiB a request, which base64 does not count into.
MOST_WRITES = 120
LARGEST_COMMIT = 1_400_000

Listener = Callable[[Sequence[News]], None]
_log = logging.getLogger("gossamer.store")


class _Thread(Protocol):
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class EtcdStore:
    """Made at start, by one thread that also commits; listeners are called on another one."""

    def __init__(self, place: Place, prefix: str, replica: str, label: str) -> None:
        """Reads everything, then keeps listening. `label` is how errors name it. Raises `Unavailable` in one line."""
        self._root = prefix.strip("/").encode() + b"/"
        self._label = label
        self._lock = threading.Lock()
        self._entries, self._system = Mirror(), Mirror()
        self._listeners: list[Listener] = []
        self._died: Exception | None = None
        self.on_death: Callable[[], None] = lambda: None
        """Called, on some thread, when this store cannot go on: `check` says why."""
        self._mark = self._system_key(f"mark/{replica}")
        self._writer = Writer(Client(place, PATIENCE), self._mark, os.urandom, random.random)
        self._writer.stays = self._stays
        keys = (self._system_key(f"alive/{replica}"), self._system_key("leader"))
        self._session = Session(Client(place, PATIENCE), replica, keys, boottime, self._leadership_changed)
        self._watch = _Watch(Client(place, OPEN_PATIENCE), self._root, self._replaced, self._heard)
        self.on_leadership: Callable[[], None] = lambda: None
        """Called, on some thread, when leadership was won or lost."""
        try:
            self._check_schema(Client(place, OPEN_PATIENCE))
            self._writer.open()
            self._watch.read()
        except (Failed, Unanswered) as error:
            raise Unavailable(f"{label}: {error}") from error
        except Compacted as error:
            raise Unavailable(f"{label}: it changes faster than it can be read") from error
        finally:
            # Each belongs to the thread that uses it from here on.
            self._writer.close()
            self._watch.close()
        self._threads = [self._start(one) for one in (self._writer, self._session, self._watch)]

    def close(self) -> None:
        """Ends the threads; another replica may lead at once."""
        for part in (self._watch, self._session, self._writer):
            part.stop()
        for thread in self._threads:
            thread.join(5.0)

    def read(self, key: str) -> Entry | None:
        with self._lock:
            return self._entries.read(key)

    def scan(self, prefix: str) -> list[Entry]:
        with self._lock:
            return self._entries.scan(prefix)

    def commit(self, writes: Sequence[Write]) -> None:
        self.commit_while(writes, ())

    def commit_while(self, writes: Sequence[Write], guards: Sequence[Compare]) -> None:
        """As `commit`, if the guards hold. Raises `NotLeading` when they do not."""
        if not writes:
            return
        changes = [Change(self._key(one.key), one.value, one.expected) for one in folded(writes)]
        self._check_size(changes)
        if self._writer.busy or not self._session.well:
            raise self._away()
        done = self._writer.perform(Job(changes, guards), DEADLINE)
        if done is None:
            raise self._away()
        if isinstance(done, Exception):
            raise type(done)(f"{self._label}: {done}") from done
        self._took(changes, done)
        if done.conflict is not None:
            raise Conflict(self._name(done.conflict))

    def subscribe(self, listener: Listener) -> None:
        """Tells of what others wrote, on a thread of the store's own, and not of what this process commits."""
        self._listeners.append(listener)

    def announce(self, about: Mapping[str, Any], *, candidate: bool) -> None:
        """What other replicas learn of this one by `alive`; a candidate may lead."""
        self._session.announce(about, candidate=candidate)

    def alive(self) -> dict[str, dict[str, Any]]:
        """The replicas that live, by id, with what they say of themselves."""
        with self._lock:
            found = self._system.scan("alive/")
        return {one.key.removeprefix("alive/"): json.loads(one.value or b"{}") for one in found}

    def leader(self) -> str | None:
        """The id of the replica that leads, as far as is known here."""
        with self._lock:
            found = self._system.read("leader")
        return found.value.decode().partition(" ")[0] if found is not None else None

    def leads(self) -> bool:
        return self._session.leads()

    def guard(self) -> Compare:
        """What holds while this replica leads. Raises `NotLeading`."""
        found = self._session.guard()
        if found is None:
            raise NotLeading(f"{self._label}: another replica leads, or none can now")
        return found

    def problem(self) -> str | None:
        """Why nothing can be changed now, in one line; None when it can."""
        return None if self._session.well and not self._writer.busy else str(self._away())

    def check(self) -> None:
        """Raises what ended a thread of this store."""
        if self._died is not None:
            raise self._died

    # --- news ---

    def _replaced(self, items: Iterable[Item], revision: int) -> None:
        entries = [self._entry(item) for item in items]
        with self._lock:
            if revision < self._entries.revision:
                raise Unavailable(
                    f"{self._label}: went back from revision {self._entries.revision} to {revision}, as when it was "
                    "restored from a snapshot; start the control plane again"
                )
            news = self._entries.replaced([one for system, one in entries if not system], revision)
            self._system.replaced([one for system, one in entries if system], revision)
        self._tell(news)

    def _heard(self, heard: Heard) -> None:
        news: tuple[list[News], list[News]] = ([], [])
        # A commit moves its replica's mark: whoever made it knows.
        own = {change.revision for change in heard.changes if change.key == self._mark}
        for change in heard.changes:
            system, key = self._split(change.key)
            news[system].append(News(key, change.item.value if change.item else None, change.revision))
        with self._lock:
            new = self._entries.heard(news[False], heard.revision)
            self._system.heard(news[True], heard.revision)
        if any(one.key == "leader" and one.value is None for one in news[True]):
            self._session.look()
        self._tell([one for one in new if one.version not in own])

    def _stays(self, keys: Sequence[bytes]) -> None:
        """Listeners were not told of it, as it was this replica's own."""
        news = []
        with self._lock:
            for name in map(self._name, keys):
                entry = self._entries.read(name)
                revision = self._entries.revision
                news.append(News(name, entry.value if entry else None, entry.version if entry else revision))
        self._tell(news)

    def _tell(self, news: Sequence[News]) -> None:
        if news:
            for listener in self._listeners:
                listener(news)

    def _took(self, changes: Sequence[Change], done: Done) -> None:
        """What a commit taught about keys: its own, or those it found otherwise than expected."""
        if done.conflict is None:
            news = [News(self._name(one.key), one.value, done.revision) for one in changes]
        else:
            found = {item.key: item for item in done.found}
            compared = [one.key for one in changes if one.expected is not None]
            news = [
                News(self._name(key), item.value if item else None, item.revision if item else done.revision)
                for key in compared
                for item in [found.get(key)]
            ]
        with self._lock:
            if done.conflict is None:
                self._entries.wrote(news)
                return
            new = self._entries.heard(news, 0)
        self._tell(new)

    def _leadership_changed(self) -> None:
        self.on_leadership()

    # --- start ---

    def _check_schema(self, client: Client) -> None:
        key = self._system_key("schema")
        try:
            client.transact([Compare(key, "CREATE", 0)], [Put(key, str(SCHEMA).encode())])
            found = int(client.range(key).items[0].value)
        except ValueError as error:
            raise Unavailable(f"{self._label}: {key.decode()} is not Gossamer's; use another prefix") from error
        finally:
            client.close()
        if found > SCHEMA:
            raise Unavailable(
                f"{self._label}: written by a newer Gossamer (schema {found}, this one knows {SCHEMA}); "
                "upgrade, or use another prefix"
            )

    def _start(self, part: _Thread) -> threading.Thread:
        def run() -> None:
            try:
                part.run()
            except Exception as error:  # noqa: BLE001 - a thread that ends must end the process, not be missed
                self._died = error
                self.on_death()
            finally:
                part.close()

        thread = threading.Thread(target=run, name=f"etcd {type(part).__name__}", daemon=True)
        thread.start()
        return thread

    # --- words ---

    def _away(self) -> Unavailable:
        said = self._writer.problem or self._session.problem or "no answer in time"
        return Unavailable(f"{self._label} does not take changes now ({said}); what is known goes on being served")

    def _check_size(self, changes: Sequence[Change]) -> None:
        if len(changes) > MOST_WRITES:
            raise Unavailable(f"{self._label}: {len(changes)} changes at once; at most {MOST_WRITES} are taken")
        size = sum(len(one.key) + len(one.value or b"") for one in changes)
        if size > LARGEST_COMMIT:
            raise Unavailable(f"{self._label}: {size} bytes at once; at most {LARGEST_COMMIT} are taken")

    def _key(self, key: str) -> bytes:
        return self._root + b"k/" + key.encode()

    def _system_key(self, key: str) -> bytes:
        return self._root + b"s/" + key.encode()

    def _split(self, key: bytes) -> tuple[bool, str]:
        """Whether it is of the store's own, and its name."""
        place, _, name = key.removeprefix(self._root).partition(b"/")
        return place == b"s", name.decode(errors="surrogateescape")

    def _name(self, key: bytes) -> str:
        return self._split(key)[1]

    def _entry(self, item: Item) -> tuple[bool, Entry]:
        system, name = self._split(item.key)
        return system, Entry(name, item.value, item.revision)


class EtcdLeadership:
    """The `Leadership` port: one replica at a time."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self.store: Store = _Fenced(store)

    def held(self) -> bool:
        return self._store.leads()


class _Fenced:
    """The store as its leader may write it."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self.read = store.read
        self.scan = store.scan

    def commit(self, writes: Sequence[Write]) -> None:
        self._store.commit_while(writes, (self._store.guard(),))


class _Watch:
    """Reads everything, then listens from there; reads everything again when that part of the history is gone."""

    def __init__(
        self,
        client: Client,
        prefix: bytes,
        replaced: Callable[[Iterable[Item], int], None],
        heard: Callable[[Heard], None],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._replaced = replaced
        self._heard = heard
        self._revision = 0
        self._stopping = threading.Event()

    def close(self) -> None:
        """By the thread that used it."""
        self._client.close()

    def read(self) -> None:
        page = self._client.all(self._prefix)
        self._replaced(page.items, page.revision)
        self._revision = page.revision

    def run(self) -> None:
        delays = pauses(FIRST_PAUSE, LONGEST_PAUSE, random.random)
        stale = False
        while not self._stopping.is_set():
            try:
                # An etcd that is behind what is known has lost something, and would never tell of it.
                if stale or self._client.range(self._prefix).revision < self._revision:
                    self.read()
                    stale = False
                for heard in self._client.watch(self._prefix, self._revision + 1, SILENCE):
                    self._heard(heard)
                    self._revision = max(self._revision, heard.revision)
                    if heard.changes:
                        delays = pauses(FIRST_PAUSE, LONGEST_PAUSE, random.random)
            except Compacted:
                _log.info("etcd has forgotten what happened since revision %d: reading everything", self._revision)
                stale = True
            except (Failed, Unanswered) as error:
                _log.debug("the watch ended: %s", error)
                self._stopping.wait(next(delays))

    def stop(self) -> None:
        self._stopping.set()
        self._client.abort()


def entries_of(place: Place, prefix: str, label: str) -> list[Entry]:
    """Everything that is stored, as it was at one moment, without becoming a replica. Raises `Unavailable`."""
    root = prefix.strip("/").encode() + b"/k/"
    client = Client(place, OPEN_PATIENCE)
    try:
        items = client.all(root).items
    except (Failed, Unanswered, Compacted) as error:
        raise Unavailable(f"{label}: {error}") from error
    finally:
        client.close()
    return [Entry(item.key.removeprefix(root).decode(), item.value, item.revision) for item in items]


def folded(writes: Sequence[Write]) -> list[Write]:
    """Each key once, as etcd wants it: its last value, under what its first write expected.

    Raises `Conflict` where a later one expects what an earlier one of the same commit has made untrue.
    """
    found: dict[str, Write] = {}
    for write in writes:
        before = found.get(write.key)
        if before is None:
            found[write.key] = write
            continue
        if write.expected is not None and (write.expected != 0 or before.value is not None):
            raise Conflict(write.key)
        found[write.key] = Write(write.key, write.value, before.expected)
    return list(found.values())


def boottime() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
