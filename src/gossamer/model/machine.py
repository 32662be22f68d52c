"""Machines that run workloads beside the control plane's own: what joining takes, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gossamer.model.names import Key


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a join token allows. Times are seconds since the epoch.

    `machine`: the name it is for, "" for any new one. `accounts`: "namespace/account" that the machine may run; () for
    all. `source`: the network the machine must call from, "" for anywhere. `used`: when, 0 for not yet, and by whom.
    """

    machine: str
    accounts: tuple[str, ...]
    source: str
    created: float
    expires: float
    used: float = 0.0
    used_by: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """What a machine says of a workload that it runs."""

    listening: tuple[int, ...] = ()
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """What a machine says of itself, every few seconds.

    `instance`: drawn at each boot. `nonce`: what the last answer said. `complete`: nothing else runs there.
    """

    instance: str
    nonce: str = ""
    node: str = ""
    zone: str = ""
    # What its workloads advertise.
    address: str = ""
    running: Mapping[Key, Running] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What people are shown. Times are seconds since the epoch; `doubted` 0: no other machine was taken for it."""

    name: str
    address: str
    node: str
    zone: str
    joined: float
    heard: float
    workloads: int
    silent: bool
    doubted: float
    accounts: tuple[str, ...]
