"""Regular expressions of routes: what the sidecars' engine takes, and nothing else (security A-33).

A sidecar refuses a whole policy for one pattern that it cannot compile (`rules::pattern`), so the language is written
down here a second time: bytes, ASCII, linear time. What is not in it is refused, also where other engines would give it
a meaning. The parser measures and matches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

MOST_BYTES = 1_024
# Groups, classes, repetitions, sequences and alternatives inside each other: the engine's 32 without its own two.
MOST_DEPTH = 30
MOST_COUNT = 1_000
# Bytes of what is compiled, by a careful guess; the engine itself ends at 256 KiB.
MOST_COST = 224 << 10

# Of one state, and of one range of bytes in a state.
_STATE, _RANGE = 56, 8
_COUNT = re.compile(r"\{([0-9]{1,4})(?:(,)([0-9]{1,4})?)?\}")
_GROUP = re.compile(r"\?(?:P?<([A-Za-z_][A-Za-z0-9_]*)>|:)")
_FLAGS = re.compile(r"\?([a-zA-Z]*)(-[a-zA-Z]+)?([:)])")
_NAMED_CLASS = re.compile(
    r"\[:\^?(alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]"
)
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|(?:x\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")
_BYTE = re.compile(r"\\x[0-9A-Fa-f]{2}")
_CONTROLS = dict(zip("aftnrv", "\a\f\t\n\r\v", strict=True))
# What stands for several characters.
_CLASSES = "dDsSwW"
_PLACES = "AzbB<>"


class InvalidPattern(ValueError):
    """What is wrong with a pattern, and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def check(text: str) -> None:
    """Raises InvalidPattern for what a sidecar could not use."""
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise InvalidPattern(f"is longer than {MOST_BYTES} bytes", "write several matches")
    parser = _Parser(text)
    found = parser.alternatives()
    if parser.at < len(text):
        parser.refuse("')' closes nothing", r"write \) for the character")
    if found.depth > MOST_DEPTH:
        parser.refuse_depth()
    if found.cost > MOST_COST:
        raise InvalidPattern("is too large with its repetitions written out", "repeat less often")


@dataclass(frozen=True, slots=True)
class _Part:
    """How deep a part is nested, and what it costs. `flags` are no part that could be repeated."""

    depth: int = 0
    cost: int = _STATE
    flags: bool = False


class _Parser:
    """Recursive descent over the text; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._open = 0
        self._names: set[str] = set()

    def refuse(self, message: str, remedy: str) -> NoReturn:
        raise InvalidPattern(f"{message} (near character {self.at + 1})", remedy)

    def refuse_depth(self) -> NoReturn:
        raise InvalidPattern("is nested too deeply", "write it flatter, or as several matches")

    def alternatives(self) -> _Part:
        """Up to the end, or to a closing parenthesis, which stays."""
        self._open += 1
        if self._open > MOST_DEPTH + 1:
            self.refuse_depth()
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        self._open -= 1
        return _together(found)

    def _sequence(self) -> _Part:
        found: list[_Part] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            found.append(self._repeated(self._one()))
        return _together(found)

    def _repeated(self, part: _Part) -> _Part:
        while self.at < len(self.text) and self.text[self.at] in "*+?{":
            if part.flags:
                self.refuse(f"{self.text[self.at]!r} repeats nothing", "put it behind what is to be repeated")
            times = self._times()
            self._take("?")
            part = _Part(part.depth + 1, (part.cost + _STATE) * times)
        return part

    def _times(self) -> int:
        """How often the part is written out."""
        if self._next() != "{":
            return 1
        found = _COUNT.match(self.text, self.at - 1)
        if found is None:
            self.refuse("'{' begins no repetition", r"write {2}, {2,} or {2,5}; or \{ for the character")
        self.at = found.end()
        least, open_, most = int(found[1]), found[2], found[3]
        if max(least, int(most or 0)) > MOST_COUNT or (most and int(most) < least):
            self.refuse(f"{found[0]} repeats nothing sensible", f"write the smaller first, both up to {MOST_COUNT}")
        return max(1, int(most) if most else least + bool(open_))

    def _one(self) -> _Part:
        character = self._next()
        if character in "*+?{":
            self.refuse(f"{character!r} repeats nothing", f"write \\{character} for the character")
        match character:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case ".":
                return _Part(cost=_STATE + 2 * _RANGE)
            case _:
                return _literal(character)

    def _group(self) -> _Part:
        if self.text.startswith(("?=", "?!", "?<=", "?<!"), self.at):
            self.refuse("looks ahead or behind, which no linear-time engine does", "write what it must match")
        named = _GROUP.match(self.text, self.at)
        if named:
            self.at = named.end()
            if named[1] in self._names:
                self.refuse(f"a second group is named {named[1]}", "leave the names out: nothing uses them")
            if named[1]:
                self._names.add(named[1])
        elif self.text.startswith("?", self.at) and self._flags() == ")":
            return _Part(cost=0, flags=True)
        inside = self.alternatives()
        if not self._take(")"):
            self.refuse("'(' is not closed", r"write \( for the character")
        return _Part(inside.depth + 1, inside.cost + 2 * _STATE)

    def _flags(self) -> str:
        """Sets none: they change neither depth nor, by much, cost."""
        found = _FLAGS.match(self.text, self.at)
        if found is None:
            self.refuse("'(?' begins no group that is known here", "write (…) or (?:…)")
        letters = found[1] + (found[2] or "-")[1:]
        if not letters or len(set(letters)) < len(letters) or not set(letters) <= set("imsU"):
            self.refuse(f"({found[0]} sets no flags that are known here", "of i, m, s and U, each once")
        self.at = found.end()
        return found[3]

    def _escape(self) -> _Part:
        character = self._next()
        if character in _CLASSES:
            return _Part(cost=_STATE + 8 * _RANGE)
        if character in _PLACES:
            if character == "b" and self.text.startswith("{", self.at):
                self.refuse(r"\b{…} is not known here", r"write \b")
            return _Part()
        return _literal(self._escaped(character))

    def _escaped(self, character: str) -> str:
        """The character that stands behind a backslash, or for which it stands."""
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character in "xuU":
            return self._hexadecimal()
        if character in "pP":
            self.refuse(rf"\{character} asks for a class of Unicode", "name the characters, as in [A-Za-z]")
        if character.isdigit():
            self.refuse(rf"\{character} refers back, which no linear-time engine does", "write what it must match")
        if not character.isascii() or character.isalpha() or character in "<>":
            self.refuse(rf"\{character} is not known here", _INSTEAD.get(character, f"write {character}"))
        return character

    def _hexadecimal(self) -> str:
        found = _HEX.match(self.text, self.at - 1)
        if found is None:
            self.refuse("no character has this number", r"write \x and two digits, as in \x2F")
        self.at = found.end()
        if found[1]:
            return chr(int(found[1], 16))
        number = int(found[2] or found[3] or found[4], 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            self.refuse("no character has this number", r"write \x and two digits, as in \x2F")
        return chr(number)

    def _class(self) -> _Part:
        self._take("^")
        items = 1
        while self._take("-"):
            items += 1
        if items == 1:
            items += self._take("]")
        while not self._take("]"):
            if self.at >= len(self.text):
                self.refuse("'[' is not closed", r"write \[ for the character")
            self._item()
            items += 1
        return _Part(1, _STATE + 5 * _RANGE * min(items, 26))

    def _item(self) -> None:
        """One character, one range or one class of characters."""
        named = _NAMED_CLASS.match(self.text, self.at)
        if named:
            self.at = named.end()
            return
        for sign in ("[", "&&", "--", "~~"):
            if self.text.startswith(sign, self.at):
                self.refuse(f"{sign!r} has a meaning of its own inside of []", f"write \\{sign[0]} for the character")
        first = self._member()
        if not self.text.startswith("-", self.at) or self.text.startswith(("-]", "--"), self.at):
            return
        self.at += 1
        if self.text.startswith("[", self.at):
            self.refuse("'[' has a meaning of its own inside of []", r"write \[ for the character")
        last = self._member()
        if first is None or last is None or first > last:
            self.refuse("is no range", r"write the lower character first, and \- for a dash")

    def _member(self) -> str | None:
        """A character of a class; None where it stands for several."""
        start = self.at
        character = self._next()
        if character == "\\":
            character = self._next()
            if character in _CLASSES:
                return None
            character = self._escaped(character)
        # A class is of bytes; \xNN is one whatever its value.
        if not character.isascii() and not _BYTE.match(self.text, start):
            self.refuse(f"{character!r} is more than one byte", f"write it outside of [], as in (?:[a-z]|{character})")
        return character

    def _take(self, wanted: str) -> bool:
        found = self.text.startswith(wanted, self.at)
        self.at += len(wanted) * found
        return found

    def _next(self) -> str:
        if self.at >= len(self.text):
            self.refuse("ends in the middle", r"close what is open; \\ is a backslash")
        self.at += 1
        return self.text[self.at - 1]


_INSTEAD = {"Z": r"write \z", "h": r"write [\t ]", "R": r"write \n"}


def _literal(character: str) -> _Part:
    return _Part(cost=_STATE * len(character.encode(errors="replace")))


def _together(parts: list[_Part]) -> _Part:
    """Parts behind or beside each other; one alone is only itself."""
    if len(parts) == 1:
        return parts[0]
    return _Part(1 + max((one.depth for one in parts), default=-1), sum(one.cost for one in parts) + _STATE)
