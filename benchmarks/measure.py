"""What a process has used: CPU to the nanosecond, and memory. Read from /proc; nothing is started here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Kilobytes. `anonymous` is what the process alone made; the rest is the file it was started from."""

    rss: int
    anonymous: int


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU, of all threads. Exact, and it includes network work done in the process's time."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def memory(pid: int) -> Memory:
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    return Memory(fields["Rss"], fields["Pss_Anon"])


def steal() -> tuple[int, int]:
    """Ticks taken by the hypervisor, and all ticks: rounds with much steal are void."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return numbers[7], sum(numbers)
