"""Puts trust together: what settings ask for and what is on disk → a `Trustee`, and who counts as live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from gossamer.identity.authority import SKEW
from gossamer.identity.rotation import Live
from gossamer.model.edge import IdentityState
from gossamer.model.mesh import Mesh
from gossamer.ports import Leadership, Store
from gossamer.settings import ControllerSettings, Paths
from gossamer.standalone.issuer_files import IssuerFiles
from gossamer.standalone.keys import KeyFiles
from gossamer.standalone.registration import Registration
from gossamer.standalone.trustee import Terms, Trustee

if TYPE_CHECKING:
    from gossamer.standalone.lifecycle import Lifecycle

# Seconds between two looks at ages.
AGES = 1.0


class Told(Protocol):
    """What a sidecar said of itself, and when (`metrics.edges.Heard`)."""

    identity: IdentityState
    when: float


Heard = Callable[[str, str], Told | None]
"""(namespace, name) → what the sidecar last said."""


def trustee(store: Store, settings: ControllerSettings, mesh: Mesh, files: Paths) -> Trustee:
    """Makes an anchor and an issuer where there is nothing and nobody brings any. Raises `Unavailable`, `Unusable`."""
    keys = KeyFiles(files.ca)
    brought = _brought(settings)
    if brought is None and not keys.exist:
        keys.make(mesh.control_namespace, mesh.trust_domain, settings.anchor_lifetime, settings.issuer_lifetime)
    terms = Terms(
        leaf=settings.leaf_lifetime,
        skew=min(settings.leaf_lifetime / 10, SKEW.total_seconds()),
        issuer=settings.issuer_lifetime,
        anchor=settings.anchor_lifetime,
        automatic=settings.automatic_rotation == "on",
        margin=settings.anchor_margin,
    )
    return Trustee(store, keys, brought, mesh, files.trust_anchors, terms, time.time)


def live(registrations: Iterable[Registration], mesh: Mesh, heard: Heard) -> Iterator[Live]:
    """Every registration whose lease has not ended, and the front."""
    yield _live(str(mesh.front), 0.0, heard(mesh.front.namespace, mesh.front.name))
    for one in registrations:
        yield _live(str(one.key), one.started, heard(one.key.namespace, one.name))


async def by_age(lifecycle: Lifecycle, leadership: Leadership) -> None:
    """Replaces what is old, on the one control plane that leads."""
    while True:
        await asyncio.sleep(AGES)
        if leadership.held():
            await lifecycle.by_age()


def _live(name: str, started: float, told: Told | None) -> Live:
    """What an earlier workload of the same name said does not count."""
    if told is None or told.when < started:
        return Live(name)
    return Live(name, told.identity.bundle_generation, told.identity.anchor_sha256, told.when)


def _brought(settings: ControllerSettings) -> IssuerFiles | None:
    if settings.issuer_dir is not None:
        return IssuerFiles.folder(settings.issuer_dir)
    if settings.trust_anchors and settings.issuer_cert and settings.issuer_key:
        return IssuerFiles(settings.trust_anchors, settings.issuer_cert, settings.issuer_key)
    return None
