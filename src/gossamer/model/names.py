"""Keys, references and identity names.

Must not look anything up: these are names only, whether or not something answers to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Generic, NamedTuple, TypeVar

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Labels = Mapping[str, str]

LOCAL_CLUSTER = ""
T = TypeVar("T")


class Key(NamedTuple):
    """Where a resource is: unique within its kind. Cluster-scoped kinds have the namespace ""."""

    cluster: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def local(namespace: str, name: str) -> Key:
    """A key in this control plane's own cluster."""
    return Key(LOCAL_CLUSTER, namespace, name)


def namespace_key(within: Key) -> Key:
    """The key of the Namespace that a key lies in."""
    return Key(within.cluster, "", within.namespace)


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[T]):
    """A kind of resource and the names people call it by. `T` is the class of its values. Each exists once."""

    group: str
    name: str
    plural: str
    # Newest first; empty for kinds nobody may write.
    versions: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class Origin:
    """Who says that a resource exists. `source` is the name given to `State.apply`."""

    source: str
    # A file's path, or "" where there is none.
    place: str = ""
    # 1-based line of the document's first key; 0 when unknown.
    line: int = 0

    def __str__(self) -> str:
        if not self.place:
            return self.source
        return f"{self.place}:{self.line}" if self.line else self.place


@dataclass(frozen=True, slots=True)
class Default:
    """A piece of configuration nobody wrote; the name says which default it is."""

    name: str


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource a piece of configuration comes from. `port` is 0 and `section` "" where there is none."""

    group: str
    kind: str
    namespace: str
    name: str
    section: str = ""
    port: int = 0


Meta = Default | Resource


def meta(kind: Kind[Any], key: Key, section: str = "", port: int = 0) -> Resource:
    """The reference to a resource as configurations carry it."""
    return Resource(kind.group, kind.name, key.namespace, key.name, section, port)


def identity(service_account: str, namespace: str, control_namespace: str, trust_domain: str) -> str:
    """A workload's DNS-like identity (reference §1.1)."""
    return f"{service_account}.{namespace}.serviceaccount.identity.{control_namespace}.{trust_domain}"


def is_uri(name: str) -> bool:
    """Whether an identity is a URI (`spiffe://…`) and not DNS-like."""
    return "://" in name


def service_name(service: Key, cluster_domain: str) -> str:
    """The fully qualified name of a service, without trailing dot."""
    return f"{service.name}.{service.namespace}.svc.{cluster_domain}"
