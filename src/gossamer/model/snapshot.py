"""Everything that is known at one moment, immutable once handed out.

Snapshots share structure: what a change does not touch is the identical object in the next one, so whoever
remembers what was read (`compile.Memo`) can compare by `is`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from gossamer.model.facets import Facet, facets
from gossamer.model.kinds import Object
from gossamer.model.mesh import Mesh
from gossamer.model.names import LOCAL_CLUSTER, IPAddress, Key, Kind
from gossamer.model.service import SERVICE, Service
from gossamer.model.workload import EXTERNAL_WORKLOAD, WORKLOAD, ExternalWorkload, Workload

T = TypeVar("T")
Owner = Service | Workload | ExternalWorkload
# (cluster, namespace) → name → resource
Table = Mapping[tuple[str, str], Mapping[str, Any]]
_EMPTY: Mapping[str, Any] = {}


class View(Protocol):
    """The questions a decision may ask of a snapshot. Each answer stays the identical object until it changes."""

    @property
    def mesh(self) -> Mesh: ...

    def get(self, kind: Kind[T], key: Key) -> T | None:
        """One resource."""
        ...

    def within(self, kind: Kind[T], namespace: str, cluster: str = LOCAL_CLUSTER) -> Mapping[str, T]:
        """Name → resource, for one namespace."""
        ...

    def about(self, kind: Kind[T], facet: Facet, namespace: str, cluster: str = LOCAL_CLUSTER) -> Mapping[str, T]:
        """Name → resource, for those of one namespace that have a facet."""
        ...

    def all(self, kind: Kind[T]) -> Mapping[tuple[str, str], Mapping[str, T]]:
        """(cluster, namespace) → name → resource."""
        ...

    def at(self, address: IPAddress) -> Owner | None:
        """Whose address this is: a service's virtual one, or a workload's."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    mesh: Mesh = field(default_factory=Mesh)
    tables: Mapping[Kind[Any], Table] = field(default_factory=dict)
    faceted: Mapping[Kind[Any], Mapping[tuple[str, str, Facet], Mapping[str, Any]]] = field(default_factory=dict)
    # The owner that comes first by kind (service, workload, external), then by key.
    addresses: Mapping[IPAddress, tuple[Owner, ...]] = field(default_factory=dict)

    def get(self, kind: Kind[T], key: Key) -> T | None:
        found: T | None = self.tables.get(kind, {}).get((key.cluster, key.namespace), _EMPTY).get(key.name)
        return found

    def within(self, kind: Kind[T], namespace: str, cluster: str = LOCAL_CLUSTER) -> Mapping[str, T]:
        return self.tables.get(kind, {}).get((cluster, namespace), _EMPTY)

    def about(self, kind: Kind[T], facet: Facet, namespace: str, cluster: str = LOCAL_CLUSTER) -> Mapping[str, T]:
        return self.faceted.get(kind, {}).get((cluster, namespace, facet), _EMPTY)

    def all(self, kind: Kind[T]) -> Mapping[tuple[str, str], Mapping[str, T]]:
        return self.tables.get(kind, _NOTHING)

    def at(self, address: IPAddress) -> Owner | None:
        owners = self.addresses.get(address)
        return owners[0] if owners else None

    def changed(self, puts: Iterable[Object], removed: Iterable[tuple[Kind[Any], Key]] = ()) -> Snapshot:
        """The next snapshot: `removed` are gone, then `puts` exist. Costs what it touches, not what there is."""
        draft = _Draft(self)
        for kind, key in removed:
            draft.drop(kind, key)
        for resource in puts:
            draft.put(resource)
        return draft.done()

    def with_mesh(self, mesh: Mesh) -> Snapshot:
        return replace(self, mesh=mesh)


_NOTHING: Table = {}
_ADDRESSED: dict[Kind[Any], int] = {SERVICE: 0, WORKLOAD: 1, EXTERNAL_WORKLOAD: 2}


class _Draft:
    """The one place where tables are written to: copies made for one change, before anyone sees them."""

    def __init__(self, base: Snapshot) -> None:
        self.base = base
        self.tables: dict[Kind[Any], Table] = dict(base.tables)
        self.copied: dict[tuple[Kind[Any], str, str], dict[str, Any]] = {}
        self.faceted: dict[Kind[Any], Mapping[tuple[str, str, Facet], Mapping[str, Any]]] = dict(base.faceted)
        self.copied_facets: dict[Kind[Any], dict[tuple[str, str, Facet], Mapping[str, Any]]] = {}
        self.addresses: dict[IPAddress, tuple[Owner, ...]] | None = None

    def put(self, resource: Object) -> None:
        self.drop(resource.kind, resource.key)
        self._names(resource.kind, resource.key)[resource.key.name] = resource
        for facet in facets(resource):
            place, held = self._facet(resource.kind, resource.key, facet)
            held[place] = {**held.get(place, _EMPTY), resource.key.name: resource}
        if resource.kind in _ADDRESSED:
            assert isinstance(resource, Service | Workload | ExternalWorkload)
            self._own(resource)

    def drop(self, kind: Kind[Any], key: Key) -> None:
        if key.name not in self.tables.get(kind, {}).get((key.cluster, key.namespace), _EMPTY):
            return
        gone = self._names(kind, key).pop(key.name)
        for facet in facets(gone):
            place, held = self._facet(kind, key, facet)
            left = {name: one for name, one in held[place].items() if name != key.name}
            if left:
                held[place] = left
            else:
                del held[place]
        if kind in _ADDRESSED:
            self._disown(gone)

    def done(self) -> Snapshot:
        for (kind, cluster, namespace), names in self.copied.items():
            if not names:
                table = {place: kept for place, kept in self.tables[kind].items() if place != (cluster, namespace)}
                self.tables[kind] = table
                if not table:
                    del self.tables[kind]
        self.faceted.update(self.copied_facets)
        for kind in [kind for kind, held in self.copied_facets.items() if not held]:
            del self.faceted[kind]
        addresses = self.base.addresses if self.addresses is None else self.addresses
        return Snapshot(self.base.mesh, self.tables, self.faceted, addresses)

    def _facet(
        self, kind: Kind[Any], key: Key, facet: Facet
    ) -> tuple[tuple[str, str, Facet], dict[tuple[str, str, Facet], Mapping[str, Any]]]:
        """A facet's place in the kind's facets, which are copied on the first touch."""
        if kind not in self.copied_facets:
            self.copied_facets[kind] = dict(self.base.faceted.get(kind, {}))
        return (key.cluster, key.namespace, facet), self.copied_facets[kind]

    def _names(self, kind: Kind[Any], key: Key) -> dict[str, Any]:
        """The names of the key's namespace, copied on the first touch."""
        place = (kind, key.cluster, key.namespace)
        if place not in self.copied:
            table = dict(self.tables.get(kind, {}))
            names = dict(table.get((key.cluster, key.namespace), _EMPTY))
            table[(key.cluster, key.namespace)] = names
            self.tables[kind] = table
            self.copied[place] = names
        return self.copied[place]

    def _own(self, owner: Owner) -> None:
        index = self._index()
        for address in set(addresses_of(owner)):
            owners = (*index.get(address, ()), owner)
            index[address] = tuple(sorted(owners, key=lambda one: (_ADDRESSED[one.kind], one.key)))

    def _disown(self, owner: Owner) -> None:
        index = self._index()
        for address in set(addresses_of(owner)):
            left = tuple(one for one in index.get(address, ()) if (one.kind, one.key) != (owner.kind, owner.key))
            if left:
                index[address] = left
            else:
                index.pop(address, None)

    def _index(self) -> dict[IPAddress, tuple[Owner, ...]]:
        if self.addresses is None:
            self.addresses = dict(self.base.addresses)
        return self.addresses


def addresses_of(owner: Owner) -> tuple[IPAddress, ...]:
    """The addresses that lead to a service or workload; those of owned external workloads are their machine's."""
    if isinstance(owner, ExternalWorkload) and owner.owned:
        return ()
    return owner.cluster_ips if isinstance(owner, Service) else owner.addresses
