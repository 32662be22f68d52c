"""Resources in directories, watched: a `ResourceSource` named "files".

A file counts as a whole: when anything in it cannot be used, its last good contents stay and the problem is reported.
Nothing a person does to one file ever takes another file's objects away. Files are looked at every quarter second
(an edit must take effect within a second, and a poll of a few hundred names costs less than a watcher's edge cases:
editors that rename, network file systems, directories that appear later).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gossamer.model.change import Put, Remove, Replace
from gossamer.model.kinds import Object
from gossamer.model.names import Key, Kind, Origin
from gossamer.ports import Deliver, StatusSink, Unavailable
from gossamer.resources.documents import load
from gossamer.resources.problem import InvalidResource, Where
from gossamer.standalone.addresses import Taken
from gossamer.standalone.virtual import Virtual

PERIOD = 0.25
# A file is read when nobody has written to it for this long: saving in place empties it first.
QUIET = 0.03
# Looks for which one that is written to all the time is left alone.
PATIENCE = 10
MOST_FILES = 5_000
LARGEST_FILE = 4 << 20
OWNED = "run"
SUFFIXES = frozenset({".yaml", ".yml", ".json"})

Decode = Callable[[Mapping[str, Any], Where], Object]
"""A document → its object, or `InvalidResource`."""
Holder = Callable[[Kind[Any], Key], Origin | None]
"""Who else declares an object; None when nobody does."""
Signature = tuple[int, int, int]
Place = tuple[Kind[Any], Key]

_log = logging.getLogger("gossamer.files")


@dataclass(frozen=True, slots=True)
class Read:
    """A file as last looked at: what it holds, or why it cannot be read."""

    signature: Signature
    objects: tuple[Object, ...] = ()
    problems: tuple[str, ...] = ()


class Directory:
    name = "files"

    def __init__(
        self,
        roots: Sequence[Path],
        decode: Decode,
        holder: Holder,
        virtual: Virtual,
        status: StatusSink,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises nothing: a root that does not exist yet is a problem that is reported until it does. `clock` is the
        one that files are dated by."""
        self._clock = clock
        self._roots = tuple(roots)
        self._decode = decode
        self._holder = holder
        self._virtual = virtual
        self._status = status
        self._read: dict[Path, Read] = {}
        # What counts of each file: its last good contents.
        self._good: dict[Path, tuple[Object, ...]] = {}
        self._delivered: dict[Place, Object] = {}
        # Files found missing in the last look, and how often fresh ones were left for later.
        self._missing: set[Path] = set()
        self._fresh: dict[Path, int] = {}
        self._said: dict[str, tuple[str, ...]] = {}

    async def run(self, deliver: Deliver) -> None:
        self.look()
        while self._fresh:
            await asyncio.sleep(QUIET)
            self.look()
        self._delivered = self._objects()
        deliver(Replace(tuple(self._delivered.values())))
        while self._roots:
            await asyncio.sleep(QUIET if self._fresh else PERIOD)
            if self.look():
                self._say(deliver)

    def look(self) -> bool:
        """Looks at every file once; True when something may have changed."""
        problems: dict[str, tuple[str, ...]] = {}
        changed = self._changed(problems)
        if not changed and not self._said and not problems:
            return False
        before = dict(self._good)
        self._settle(problems)
        for path, read in self._read.items():
            if read.problems:
                problems[str(path)] = read.problems
        self._report(problems)
        return changed or before != self._good

    def _say(self, deliver: Deliver) -> None:
        objects = self._objects()
        for kind, key in self._delivered:
            if (kind, key) not in objects:
                deliver(Remove(kind, key))
        for place, resource in objects.items():
            old = self._delivered.get(place)
            if old is None or old != resource or old.origin != resource.origin:
                deliver(Put(resource))
        self._delivered = objects

    def _objects(self) -> dict[Place, Object]:
        return {(one.kind, one.key): one for objects in self._good.values() for one in objects}

    def _changed(self, problems: dict[str, tuple[str, ...]]) -> bool:
        """Reads what is new; forgets what is gone. True when anything was."""
        seen: dict[Path, Signature] = {}
        lost = []
        for root in self._roots:
            try:
                seen.update(_files(root))
            except OSError as error:
                problems[str(root)] = (f"{root}: {error.strerror or error}; what was read from it stays",)
                lost.append(root)
        gone = {path for path in self._read if path not in seen and not any(path.is_relative_to(one) for one in lost)}
        changed = self._forget(gone)
        now = self._clock()
        for path, signature in seen.items():
            known = self._read.get(path)
            if (known is None or known.signature != signature) and not self._being_written(path, signature, now):
                self._read[path] = self._load(path, signature)
                changed = True
        return changed

    def _forget(self, gone: set[Path]) -> bool:
        """Believes that a file is gone when it is missing twice: some programs save by removing first."""
        believed = gone & self._missing
        for path in believed:
            del self._read[path]
            self._good.pop(path, None)
        new = gone - believed
        changed = bool(believed) or new != self._missing - believed
        self._missing = new
        return changed

    def _being_written(self, path: Path, signature: Signature, now: float) -> bool:
        """Whether a file changed so lately that somebody may be in the middle of it; for a while only."""
        if 0 <= now - signature[0] / 1e9 < QUIET and self._fresh.get(path, 0) < PATIENCE:
            self._fresh[path] = self._fresh.get(path, 0) + 1
            return True
        self._fresh.pop(path, None)
        return False

    def _load(self, path: Path, signature: Signature) -> Read:
        try:
            with path.open("rb") as file:
                text = file.read(LARGEST_FILE + 1)
        except OSError as error:
            return Read((0, 0, 0), problems=(f"{path}: {error.strerror or error}",))
        objects: list[Object] = []
        problems: list[str] = []
        try:
            documents = load(text, str(path))
        except InvalidResource as error:
            return Read(signature, problems=(str(error),))
        for document in documents:
            try:
                resource = self._decode(document.value, document.where)
            except InvalidResource as error:
                problems.append(str(error))
                continue
            origin = Origin(self.name, document.where.source, document.where.line)
            objects.append(replace(resource, origin=origin))
        if problems:
            return Read(signature, problems=tuple(problems))
        return Read(signature, tuple(objects))

    def _settle(self, problems: dict[str, tuple[str, ...]]) -> None:
        """Takes over every file that can be: no object twice in it, in another file, or in another source.

        A refused file falls back to its last good contents, which may stand in another's way: repeated until nothing
        changes, which is at most once per file.
        """
        present = [(path, read) for path, read in sorted(self._read.items()) if path not in self._missing]
        wanted = {path: read.objects for path, read in present if not read.problems}
        refused: dict[Path, tuple[str, ...]] = {}
        while True:
            fresh = self._refused(wanted, set(refused))
            if not fresh:
                break
            refused.update(fresh)
        problems.update({str(path): lines for path, lines in refused.items()})
        for path, objects in wanted.items():
            if path not in refused:
                try:
                    self._good[path] = tuple(self._virtual.filled(one) for one in objects)
                except (Taken, Unavailable) as error:
                    problems[str(path)] = (f"{path}: {error}",)

    def _refused(self, wanted: Mapping[Path, tuple[Object, ...]], refused: set[Path]) -> dict[Path, tuple[str, ...]]:
        """Which of the files that are left cannot be taken over, and why."""
        owners: dict[Place, Origin] = {}
        for path, objects in self._good.items():
            if path in self._missing:
                continue  # it may have been renamed
            for one in objects:
                place = (one.kind, one.key)
                still = any((new.kind, new.key) == place for new in wanted.get(path, ()))
                if path not in wanted or path in refused or still:
                    owners[place] = one.origin
        found: dict[Path, tuple[str, ...]] = {}
        for path in [path for path in wanted if path not in refused]:
            lines = tuple(self._twice(path, wanted[path], owners))
            if lines:
                found[path] = lines
            else:
                owners.update({(one.kind, one.key): one.origin for one in wanted[path]})
        return found

    def _twice(self, path: Path, objects: tuple[Object, ...], owners: Mapping[Place, Origin]) -> Iterator[str]:
        seen: dict[Place, Origin] = {}
        for one in objects:
            place = (one.kind, one.key)
            other = seen.get(place)
            if other is None and place in owners and owners[place].place != str(path):
                other = owners[place]
            if other is None:
                other = self._holder(*place)
                if other is not None and other.source == OWNED:
                    other = None  # what `run` made yields to what a person declares (seams §23)
            if other is not None:
                yield f"{one.origin}: {one.kind.name} {one.key} is declared here and in {other}; remove one of them"
            seen[place] = one.origin

    def _report(self, problems: dict[str, tuple[str, ...]]) -> None:
        for subject in [subject for subject in self._said if subject not in problems]:
            del self._said[subject]
            self._status.report(subject, ())
            _log.info("%s is in order again", subject)
        for subject, lines in problems.items():
            if self._said.get(subject) != lines:
                self._said[subject] = lines
                self._status.report(subject, lines)
                for line in lines:
                    _log.warning("%s", line)


def _files(root: Path) -> dict[Path, Signature]:
    """Documents below a root, or the root itself when it is a file. Hidden names and links out of reach are skipped."""
    stat = root.stat()
    if root.is_file():
        return {root: (stat.st_mtime_ns, stat.st_size, stat.st_ino)}
    found: dict[Path, Signature] = {}
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif Path(entry.name).suffix in SUFFIXES:
                    try:
                        stat = entry.stat()
                    except FileNotFoundError:
                        continue
                    found[Path(entry.path)] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if len(found) > MOST_FILES:
                    raise OSError(f"more than {MOST_FILES} files; give a smaller directory")
    return found
