"""Sets of port numbers, as the opaque-ports annotation writes them."""

from __future__ import annotations

from dataclasses import dataclass


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
