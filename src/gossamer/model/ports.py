"""Sets of port numbers, as the opaque-ports annotation writes them."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class PortSet:
    """Inclusive ranges, sorted, not touching."""

    ranges: tuple[tuple[int, int], ...] = ()

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and any(low <= port <= high for low, high in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)


def port_set(ports: list[tuple[int, int]] | list[int]) -> PortSet:
    """The set of these ports or inclusive ranges, in normal form."""
    ranges = sorted((port, port) if isinstance(port, int) else port for port in ports)
    merged: list[tuple[int, int]] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return PortSet(tuple(merged))


def parse_ports(text: str) -> PortSet | None:
    """The set that `"25,8080-8090"` names, or None when it is not such a list. Empty text is the empty set."""
    ranges: list[tuple[int, int]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        low, dash, high = part.partition("-")
        if not (part.isascii() and low.isdecimal() and (not dash or high.isdecimal())):
            return None
        first, last = int(low), int(high if dash else low)
        if not 0 < first <= last <= MAX_PORT:
            return None
        ranges.append((first, last))
    return port_set(ranges)
