"""Our own rules of who may and who may not: AccessPolicy and MeshAccessPolicy (policy.gossamer.dev).

A Deny wins over everything that admits; an Allow is one more that does. See docs/decisions/deny-rules.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gossamer.model.authorization import Network, TargetRef
from gossamer.model.names import Key, Kind, Origin
from gossamer.model.route import How
from gossamer.model.selector import Selector

OWN_GROUP = "policy.gossamer.dev"


class Action(Enum):
    """The values are what people write."""

    DENY = "Deny"
    ALLOW = "Allow"


@dataclass(frozen=True, slots=True)
class Who:
    """Identities as people write them: names, accounts (namespace or None for the policy's own, name), namespaces."""

    identities: tuple[str, ...] = ()
    service_accounts: tuple[tuple[str | None, str], ...] = ()
    namespaces: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.identities or self.service_accounts or self.namespaces)


@dataclass(frozen=True, slots=True)
class ClientClause:
    """All of it must hold. At most one of `who`, `not_who` and `unauthenticated` is set."""

    who: Who = Who()
    not_who: Who = Who()
    unauthenticated: bool = False
    networks: tuple[Network, ...] = ()
    not_networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class PathClause:
    """`how` None is a template, whose `segments` are literals, or wildcards named in braces."""

    how: How | None
    value: str


@dataclass(frozen=True, slots=True)
class HeaderClause:
    """`how` is EXACT or REGEX, or None: it is there. The name is lower case."""

    name: str
    how: How | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class RequestClause:
    """All of it must hold; of methods, paths and hosts any one."""

    methods: tuple[str, ...] = ()
    paths: tuple[PathClause, ...] = ()
    headers: tuple[HeaderClause, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessClause:
    """Applies when any of `clients` and any of `requests` do; none of either is everything."""

    name: str
    action: Action
    clients: tuple[ClientClause, ...] = ()
    requests: tuple[RequestClause, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """For the ports of workloads in its namespace, or of the whole mesh; narrowed by target or selector, and ports."""

    key: Key
    rules: tuple[AccessClause, ...]
    # A Server, HTTPRoute or GRPCRoute of its namespace.
    target: TargetRef | None = None
    selector: Selector | None = None
    ports: tuple[int | str, ...] = ()
    mesh_wide: bool = False
    origin: Origin = field(default=Origin("store"), compare=False)

    @property
    def kind(self) -> Kind[Any]:
        return MESH_ACCESS_POLICY if self.mesh_wide else ACCESS_POLICY


ACCESS_POLICY: Kind[AccessPolicy] = Kind(OWN_GROUP, "AccessPolicy", "accesspolicies", ("v1alpha1",), ("access",))
MESH_ACCESS_POLICY: Kind[AccessPolicy] = Kind(
    OWN_GROUP, "MeshAccessPolicy", "meshaccesspolicies", ("v1alpha1",), ("meshaccess",), namespaced=False
)
