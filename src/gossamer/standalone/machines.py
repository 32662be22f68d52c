"""The machines of a mesh beside the control plane's own: joined, returning, heard of, silent, gone.

What a machine's workloads are is the registry's; how its calls come in is `api.machines`'s.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_network
from typing import Protocol

from cryptography.hazmat.primitives import serialization

from gossamer.identity import revocation
from gossamer.identity.authority import SKEW
from gossamer.identity.request import parse
from gossamer.identity.revocation import Revoked
from gossamer.model.machine import Beat, Machine, Running, Ticket
from gossamer.model.mesh import Mesh, Revocation
from gossamer.model.names import IPNetwork, Key, identity
from gossamer.ports import Conflict, Denied, Store, Unavailable, Write
from gossamer.standalone import join_token
from gossamer.standalone.addresses import Taken
from gossamer.standalone.beats import Heard, Unlike, beat
from gossamer.standalone.desk import LocalDesk
from gossamer.standalone.join_token import JoinToken, trust_hash
from gossamer.standalone.join_tokens import JoinTokens, Kept
from gossamer.standalone.registration import Offer, Place, Refused
from gossamer.standalone.registry import Registry
from gossamer.standalone.tokens import Tokens
from gossamer.standalone.trust_store import bumped
from gossamer.standalone.trustee import Trustee

PREFIX = "machines/"
MOST = 10_000
ACCOUNT = "machine-"
LONGEST_NAME = 63 - len(ACCOUNT)
NAMES = f"a machine's name is at most {LONGEST_NAME} lower-case letters, digits and dashes"
# A machine beats every 3 s; after this silence its endpoints go (F-86 allows 30 s).
SILENT = 12.0
# Names and addresses of its workloads are kept longer: they may run well, cut off (F-83).
KEPT = 24 * 3600.0
# Whoever was away for longer than this has to join again.
RETURN_WITHIN = 30 * 24 * 3600.0
# So often it is stored that a machine has been heard of.
SEEN_EVERY = 3600.0

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_log = logging.getLogger("gossamer.machines")


class Leaf(Protocol):
    """`identity.authority.Leaf`, as much of it as is needed."""

    @property
    def certificate(self) -> bytes: ...

    @property
    def intermediates(self) -> tuple[bytes, ...]: ...


Certify = Callable[[str, bytes, bytes, str | None], Leaf]


@dataclass(frozen=True, slots=True)
class Joined:
    """`session` and `key` are hex SHA-256: of the session's secret, of the public key (SPKI). Times: epoch seconds."""

    name: str
    session: str
    key: str
    joined: float
    seen: float
    accounts: tuple[str, ...] = ()
    # Where it called from when it joined, and what it said last.
    source: str = ""
    address: str = ""
    node: str = ""
    zone: str = ""
    # The control plane it beats to, where there are several.
    replica: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The answer to a join or a return."""

    name: str
    leaf: Leaf
    session: str = field(repr=False)


class Machines:
    """`certify` is the control plane's signer; `revoke(identity, before)` ends certificates issued before a moment."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        desk: LocalDesk,
        tokens: Tokens,
        join_tokens: JoinTokens,
        mesh: Callable[[], Mesh],
        certify: Certify,
        revoke: Callable[[str, float], None],
        networks: Callable[[tuple[IPNetwork, ...]], None],
        own: IPv4Address | None,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        replica: str = "",
    ) -> None:
        """`networks` is told where the machines of the mesh are; `own`: where this one is."""
        self._store = store
        self._registry = registry
        self._desk = desk
        self._tokens = tokens
        self._join_tokens = join_tokens
        self._mesh = mesh
        self._certify = certify
        self._revoke = revoke
        self._networks = networks
        self._own = own
        self._clock = clock
        self._random = random
        self._replica = replica
        now = clock()
        self._machines = {one.name: one for one in map(_decoded, (entry.value for entry in store.scan(PREFIX)))}
        # A control plane that was away says of nobody that he was silent.
        self._heard = {name: Heard(now) for name in self._machines}
        for one in self._machines.values():
            registry.place(one.name, Place(one.node, one.zone))
        self._changed()

    def known(self) -> list[Machine]:
        return [self._described(one) for _, one in sorted(self._machines.items())]

    def token(self, ticket: Ticket) -> tuple[str, str]:
        """A join token's text and its id. Raises `Denied`."""
        if ticket.machine and not valid_name(ticket.machine):
            raise Denied(f"--machine {ticket.machine[:80]}: {NAMES}")
        mesh = self._mesh()
        anchors = mesh.bundle.anchors.get(mesh.trust_domain, ())
        secret, ident = self._join_tokens.create(ticket)
        trust = trust_hash(mesh.control_identity, anchors)
        token = JoinToken(trust, secret, int(ticket.expires), ticket.machine, mesh.trust_domain)
        return join_token.encode(token), ident

    def tokens(self) -> Sequence[Kept]:
        return self._join_tokens.known()

    def revoke_token(self, ident: str) -> bool:
        return self._join_tokens.revoke(ident)

    def heard(self, key: str, value: bytes | None, version: int) -> None:
        """Another replica changed the store below `PREFIX`."""
        name = key.removeprefix(PREFIX)
        if value is None:
            self._machines.pop(name, None)
            self._heard.pop(name, None)
        else:
            self._machines[name] = one = _decoded(value)
            self._heard.setdefault(name, Heard(self._clock()))
            self._registry.place(name, Place(one.node, one.zone))
        self._changed()

    # --- joining

    def join(self, secret: str, name: str, csr: bytes, source: str) -> Admitted:
        """Uses the token up only when all else is right. Raises `Denied`, `InvalidRequest`, `Busy`, `Unavailable`."""
        now = self._clock()
        kept = self._join_tokens.find(secret, source, now)
        name = self._named(kept.ticket, name)
        admitted, key = self._issue(name, csr, now)
        earlier = self._machines.get(name)
        machine = Joined(name, _digest(admitted.session), key, now, now, kept.ticket.accounts, source)
        try:
            self._store.commit([self._join_tokens.used(kept, name, now), _write(machine)])
        except Conflict as error:
            raise Denied("the join token was used a moment ago; make another with `gossamer token create`") from error
        # From here on the earlier session is none, whatever else fails.
        self._machines[name] = machine
        self._heard[name] = Heard(now)
        if earlier is not None:
            self._revoke(self.identity(name), now)
            self._registry.forget(name)
        self._changed()
        again = ", whose earlier identity is revoked" if earlier else ""
        _log.info("machine %s joined from %s by token %s%s", name, source, kept.id, again)
        return admitted

    def returning(self, name: str, session: str, csr: bytes) -> Admitted:
        """A new certificate for a machine whose last one expired. Raises as `join` does."""
        now = self._clock()
        machine = self._known(name, session)
        if now - machine.seen > RETURN_WITHIN:
            raise Denied(f"machine {name} was away for more than 30 days: join it again with a new token")
        admitted, _ = self._issue(name, csr, now, machine.key)
        self._save(replace(machine, seen=now))
        return replace(admitted, session=session)

    def identity(self, name: str) -> str:
        """A service account of the control namespace, where nobody else may run anything."""
        mesh = self._mesh()
        return identity(ACCOUNT + name, mesh.control_namespace, mesh.control_namespace, mesh.trust_domain)

    def leave(self, name: str) -> bool:
        """Forgets a machine; whether there was one. Its certificate is revoked."""
        if name not in self._machines:
            return False
        self._store.commit([Write(PREFIX + name, None)])
        self._revoke(self.identity(name), self._clock())
        self._registry.forget(name)
        self._machines.pop(name, None)
        self._heard.pop(name, None)
        self._changed()
        _log.info("machine %s is no longer of this mesh", name)
        return True

    def ended(self, whole: str) -> None:
        """All certificates of an identity were revoked: a machine of that identity does not return by its session."""
        for name in [one for one in self._machines if self.identity(one) == whole]:
            self.leave(name)

    def _issue(self, name: str, csr: bytes, now: float, held: str | None = None) -> tuple[Admitted, str]:
        """`held`: the hash of the key that it must be made with. Returns the hash of the key it is made with."""
        own = self.identity(name)
        request = parse(csr, own)
        spki = request.public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key = hashlib.sha256(spki).hexdigest()
        if held not in (None, key):
            raise Denied(f"the request is not made with the key of machine {name}")
        leaf = self._certify(own, self._tokens.issue(own, now).encode(), csr, None)
        session = urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()
        return Admitted(name, leaf, session), key

    def _named(self, ticket: Ticket, name: str) -> str:
        if ticket.machine:
            if name not in ("", ticket.machine):
                raise Denied(f"the join token is for machine {ticket.machine}, not {name}")
            return ticket.machine
        if not valid_name(name):
            raise Denied(f"--name {name[:80]}: {NAMES}")
        if name in self._machines:
            raise Denied(f"there is a machine {name} already; choose another --name, or make a token --machine {name}")
        if len(self._machines) >= MOST:
            raise Denied(f"{MOST} machines have joined; remove some with `gossamer machines remove`")
        return name

    # --- a machine's own calls

    def caller(self, peer: str | None, session: str) -> Joined:
        """The machine that calls: its certificate and its session must belong together. Raises `Denied`."""
        labels = (peer or "").split(".")
        name = labels[0].removeprefix(ACCOUNT)
        if not peer or peer != self.identity(name):
            raise Denied("a certificate of a joined machine is needed; join it with `gossamer join`")
        return self._known(name, session)

    def register(
        self, machine: Joined, document: object, pid: int, address: IPv4Address, advertised: str
    ) -> Mapping[str, object]:
        """Raises `Conflict` when another place must be offered."""
        with _refusals():
            self._may_run(machine, document)
            try:
                return self._desk.enrol(document, pid, Offer(machine.name, address, advertised))[1]
            except Taken as error:
                raise Conflict(str(error)) from error

    def resume(self, machine: Joined, session: str, pid: int) -> tuple[Key, Running]:
        with _refusals():
            found = self._registry.resume(session, pid, machine.name)
            return found.key, Running(found.registration.listening, found.registration.withdrawn)

    def admission(self, machine: Joined, key: Key) -> str:
        with _refusals():
            return self._desk.admission(self._registry.hold(key, machine.name))

    def end(self, machine: Joined, key: Key) -> None:
        with _refusals():
            self._registry.end(self._registry.hold(key, machine.name))

    def beat(self, machine: Joined, said: Beat) -> tuple[str, Sequence[Key]]:
        """What to say in the next beat, and what is unknown here. Raises `Denied` for a second machine."""
        now = self._clock()
        try:
            heard = beat(self._heard[machine.name], said.instance, said.nonce, now, SILENT, self._random(16).hex())
        except Unlike as error:
            _log.warning("machine %s: %s", machine.name, error)
            self._heard[machine.name] = replace(self._heard[machine.name], doubted=now)
            raise Denied(f"machine {machine.name}: {error}") from None
        self._heard[machine.name] = heard
        place = (machine.node, machine.zone, machine.address, machine.replica)
        if place != (said.node, said.zone, said.address, self._replica) or now - machine.seen > SEEN_EVERY:
            told = replace(machine, node=said.node, zone=said.zone, address=said.address)
            self._save(replace(told, seen=now, replica=self._replica))
            self._registry.place(machine.name, Place(said.node, said.zone))
            self._changed()
        with _refusals():
            if said.address:
                self._registry.move(machine.name, said.address)
            return heard.nonce, self._registry.keep(machine.name, said.running, complete=said.complete)

    def sweep(self) -> None:
        """Takes back the endpoints of machines that are silent, of those that beat to this control plane."""
        now = self._clock()
        for name, heard in tuple(self._heard.items()):
            if self._machines[name].replica == self._replica and not heard.silent and now - heard.last > SILENT:
                _log.warning("machine %s is silent for %.0f s: its endpoints go", name, now - heard.last)
                self._heard[name] = replace(heard, silent=True)
                self._registry.lose(name, KEPT)

    def _described(self, one: Joined) -> Machine:
        heard = self._heard[one.name]
        workloads = len(self._registry.of_machine(one.name))
        silent, doubted = heard.silent or not heard.instance, heard.doubted
        place = (one.name, one.address, one.node, one.zone)
        return Machine(*place, one.joined, heard.last, workloads, silent, doubted, one.accounts)

    def _may_run(self, machine: Joined, document: object) -> None:
        if machine.accounts and isinstance(document, dict):
            wanted = f"{document.get('namespace')}/{document.get('service_account')}"
            if wanted not in machine.accounts:
                allowed = ", ".join(machine.accounts)
                raise Refused(f"machine {machine.name} may run {allowed} only, not {wanted}: it joined with --workload")

    def _known(self, name: str, session: str) -> Joined:
        machine = self._machines.get(name)
        if machine is None:
            raise Denied(f"machine {name[:80]} is not one of this mesh (any more): join it with a new token")
        if machine.session != _digest(session):
            when = datetime.fromtimestamp(machine.joined, UTC)
            raise Denied(f"machine {name} joined again at {when:%Y-%m-%dT%H:%M:%SZ}; this earlier identity is revoked")
        return machine

    def _changed(self) -> None:
        own = (str(self._own),) if self._own is not None else ()
        found = dict.fromkeys((*own, *(one.address for one in self._machines.values() if one.address)))
        self._networks(tuple(ip_network(one) for one in found))

    def _save(self, machine: Joined) -> None:
        try:
            self._store.commit([_write(machine)])
        except Conflict as error:
            raise Unavailable(str(error)) from error
        self._machines[machine.name] = machine


def revoker(trustee: Trustee, lifetime: float, clock: Callable[[], float]) -> Callable[[str, float], None]:
    """Ends the certificates of an identity that were issued before a moment, across the mesh. `lifetime` of leaves."""
    # What a leaf says of its beginning is earlier than its issue by so much.
    skew = min(lifetime / 10, SKEW.total_seconds())

    def revoke(name: str, before: float) -> None:
        now = clock()
        entry = Revoked(Revocation(name, int(before - skew)), name, when=now, forget=now + 2 * lifetime)
        try:
            trustee.change(lambda kept: bumped(kept, revocation.added(kept.revoked, entry)))
        except (revocation.TooMany, Unavailable) as error:
            # Its session is none any more: no call of its is taken, whatever its certificate.
            _log.warning("certificates of %s stay good until they expire: %s", name, error)

    return revoke


@contextmanager
def _refusals() -> Iterator[None]:
    """To a machine a refusal is a refusal, whoever it comes from."""
    try:
        yield
    except Refused as error:
        raise Denied(str(error)) from error


def valid_name(name: str) -> bool:
    return len(name) <= LONGEST_NAME and bool(_NAME.fullmatch(name))


def _write(machine: Joined) -> Write:
    return Write(PREFIX + machine.name, json.dumps(asdict(machine), separators=(",", ":")).encode())


def _decoded(value: bytes) -> Joined:
    words = json.loads(value)
    known = {name: words[name] for name in Joined.__dataclass_fields__ if name in words}
    return Joined(**{**known, "accounts": tuple(known.get("accounts", ()))})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
