from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gossamer.agent.membership import request
from gossamer.identity import material
from gossamer.identity.authority import Authority, Leaf
from gossamer.identity.request import InvalidRequest, parse
from gossamer.model.machine import Beat, Running, Ticket
from gossamer.model.mesh import Bundle, Mesh
from gossamer.model.names import IPNetwork, Key, local
from gossamer.model.workload import EXTERNAL_WORKLOAD, WORKLOAD, ExternalWorkload, Workload
from gossamer.ports import Conflict, Denied
from gossamer.standalone import join_token
from gossamer.standalone.desk import LocalDesk
from gossamer.standalone.join_token import JoinToken, NotAToken, trust_hash
from gossamer.standalone.join_tokens import JoinTokens
from gossamer.standalone.machines import KEPT, RETURN_WITHIN, SILENT, Admitted, Machines
from tests.unit.standalone.parts import MESH, World

NOW = 1_800_000_000.0
KEY = ec.generate_private_key(ec.SECP256R1())
REGISTRATION = {
    "namespace": "default",
    "service": "web",
    "service_account": "web",
    "ports": [{"name": "http", "port": 80, "target": 8080}],
}
OWN = IPv4Address("127.70.0.1")
PLACE = "10.9.0.2:24000"


def _authority() -> Authority:
    now, chance = datetime.fromtimestamp(NOW, UTC), lambda size: bytes(range(1, size + 1))
    anchor = material.new_anchor("root", now, chance)
    issuer = material.new_issuer("issuer", anchor, now, chance)
    trusted = material.anchors(anchor.certificate, now)
    return Authority((material.issuer(issuer.certificate, issuer.key, trusted, now),))


AUTHORITY = _authority()


class Scene:
    def __init__(self) -> None:
        self.world = World()
        self.world.now = NOW
        self.revoked: list[tuple[str, float]] = []
        self.networks: tuple[IPNetwork, ...] = ()
        self.count = 0
        self.mesh = Mesh(bundle=Bundle({"cluster.local": (b"anchor",)}, 1))
        self.machines = self.start()

    def start(self) -> Machines:
        world = self.world
        return Machines(
            world.store,
            world.registry,
            LocalDesk(world.registry, world.tokens, MESH, world.clock, self._settled),
            world.tokens,
            JoinTokens(world.store, self.random),
            lambda: self.mesh,
            self.certify,
            lambda name, before: self.revoked.append((name, before)),
            partial(setattr, self, "networks"),
            IPv4Address("10.9.0.1"),
            world.clock,
            self.random,
        )

    async def _settled(self) -> None:
        return None

    def random(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def certify(self, name: str, token: bytes, csr: bytes, peer: str | None) -> Leaf:
        self.world.tokens.redeem(token, name, self.world.now)
        return AUTHORITY.issue(parse(csr, name), datetime.fromtimestamp(NOW, UTC), self.random)

    def token(self, machine: str = "vm", accounts: tuple[str, ...] = (), source: str = "", ttl: float = 900) -> str:
        now = self.world.now
        text, _ = self.machines.token(Ticket(machine, accounts, source, now, now + ttl))
        return join_token.decode(text).secret

    def join(self, name: str = "vm", secret: str | None = None, source: str = "10.9.0.2") -> Admitted:
        csr = request(KEY, self.machines.identity(name))
        return self.machines.join(secret or self.token(name), name, csr, source)

    def beat(self, session: str, instance: str = "boot", nonce: str = "", **more: object) -> tuple[str, list[Key]]:
        machine = self.machines.caller(self.machines.identity("vm"), session)
        said = replace(Beat(instance, nonce, "node", "zone", "10.9.0.2", complete=True), **more)
        answer, unknown = self.machines.beat(machine, said)
        return answer, list(unknown)

    def run(self, session: str, place: str = PLACE, own: IPv4Address = OWN, **more: object) -> Key:
        machine = self.machines.caller(self.machines.identity("vm"), session)
        answer = self.machines.register(machine, {**REGISTRATION, **more}, 7, own, place)
        return local(str(answer["namespace"]), str(answer["workload"]))

    @property
    def workload(self) -> Workload:
        (found,) = self.world.mesh.of(WORKLOAD)
        assert isinstance(found, Workload)
        return found


def names(leaf: Leaf) -> list[str]:
    certificate = x509.load_der_x509_certificate(leaf.certificate)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in found]


def test_a_thousand_machines_join_and_none_gets_the_name_of_another() -> None:
    scene = Scene()
    wrong = 0
    for number in range(1000):
        admitted = scene.join(f"vm-{number}")
        own = f"machine-vm-{number}.gossamer.serviceaccount.identity.gossamer.cluster.local"
        wrong += names(admitted.leaf) != [own]
        wrong += scene.machines.caller(own, admitted.session).name != f"vm-{number}"
    assert wrong == 0
    assert len(scene.machines.known()) == 1000


def test_a_token_is_good_once_for_its_machine_its_network_and_its_time() -> None:
    scene = Scene()
    used = scene.token()
    scene.join(secret=used)
    refused = {
        "was used 0 s ago, by machine vm": ("vm", used),
        "is for machine vm, not other": ("other", scene.token("vm")),
        "is for machines in 192.0.2.0/24, and this is 10.9.0.2": ("vm", scene.token(source="192.0.2.0/24")),
        "is not known to this control plane": ("vm", "guess"),
    }
    late = scene.token(ttl=10)
    for why, (name, secret) in refused.items():
        with pytest.raises(Denied, match=why):
            scene.join(name, secret)
    scene.world.now += 11
    with pytest.raises(Denied, match="expired 1 s ago"):
        scene.join(secret=late)
    assert len(scene.machines.known()) == 1


def test_a_request_that_is_wrong_does_not_use_the_token_up() -> None:
    scene = Scene()
    secret = scene.token()
    with pytest.raises(InvalidRequest):
        scene.machines.join(secret, "vm", b"no request", "10.9.0.2")
    with pytest.raises(Denied, match="another name"):
        scene.machines.join(secret, "vm", request(KEY, scene.machines.identity("other")), "10.9.0.2")
    assert scene.join(secret=secret).name == "vm"


def test_guesses_are_never_right_and_soon_not_looked_at() -> None:
    scene = Scene()
    said = []
    for number in range(1000):
        with pytest.raises(Denied) as refused:
            scene.join(secret=f"guess-{number}")
        said.append(str(refused.value))
    assert sum("too many wrong join tokens" in one for one in said) == 990
    # Who has a token is not kept out by those who have none.
    assert scene.join().name == "vm"


def test_a_machine_joined_again_is_the_one_and_its_earlier_identity_is_revoked() -> None:
    scene = Scene()
    first = scene.join()
    scene.beat(first.session)
    scene.run(first.session)
    scene.world.now += 60
    second = scene.join()
    assert scene.revoked == [(scene.machines.identity("vm"), NOW + 60)]
    assert scene.world.mesh.of(WORKLOAD) == scene.world.mesh.of(EXTERNAL_WORKLOAD) == []
    with pytest.raises(Denied, match="joined again at 2027-01-15T08:01:00Z; this earlier identity is revoked"):
        scene.beat(first.session)
    assert scene.beat(second.session)[1] == []


def test_a_certificate_of_another_does_not_speak_for_a_machine() -> None:
    scene = Scene()
    session = scene.join().session
    other = scene.join("other")
    for peer in (None, scene.machines.identity("other"), "web.default.serviceaccount.identity.gossamer.cluster.local"):
        with pytest.raises(Denied):
            scene.machines.caller(peer, session)
    with pytest.raises(Denied):
        scene.machines.caller(scene.machines.identity("vm"), other.session)


def test_a_machine_that_slept_past_its_certificate_returns_by_its_key_and_session() -> None:
    scene = Scene()
    session = scene.join().session
    csr = request(KEY, scene.machines.identity("vm"))
    scene.world.now += 3 * 86_400
    assert names(scene.machines.returning("vm", session, csr).leaf) == [scene.machines.identity("vm")]
    stranger = request(ec.generate_private_key(ec.SECP256R1()), scene.machines.identity("vm"))
    with pytest.raises(Denied, match="not made with the key"):
        scene.machines.returning("vm", session, stranger)
    with pytest.raises(Denied):
        scene.machines.returning("vm", "guess", csr)
    scene.world.now += RETURN_WITHIN + 1
    with pytest.raises(Denied, match="away for more than 30 days"):
        scene.machines.returning("vm", session, csr)


def test_a_machine_whose_identity_was_revoked_does_not_return_by_its_session() -> None:
    scene = Scene()
    session, identity = scene.join().session, scene.machines.identity("vm")
    scene.machines.ended("web.default.serviceaccount.identity.gossamer.cluster.local")
    scene.machines.returning("vm", session, request(KEY, identity))
    scene.machines.ended(identity)
    with pytest.raises(Denied):
        scene.machines.returning("vm", session, request(KEY, identity))


def test_what_a_machine_runs_is_an_endpoint_where_the_machine_says_and_where_it_is() -> None:
    scene = Scene()
    session = scene.join().session
    nonce, _ = scene.beat(session)
    key = scene.run(session)
    _, unknown = scene.beat(session, nonce=nonce, running={key: Running((8080,)), local("a", "b"): Running()})
    assert unknown == [local("a", "b")]
    workload = scene.workload
    assert (workload.ready, workload.machine, workload.node, workload.zone) == (True, "vm", "node", "zone")
    assert workload.advertised == (IPv4Address("10.9.0.2"), 24000)
    (external,) = scene.world.mesh.of(EXTERNAL_WORKLOAD)
    assert isinstance(external, ExternalWorkload)
    assert (external.addresses, external.inbound_port, external.owned) == ((IPv4Address("10.9.0.2"),), 24000, True)
    assert scene.networks == (ip_network("10.9.0.1"), ip_network("10.9.0.2"))


def test_a_machine_that_moves_takes_its_workloads_with_it() -> None:
    scene = Scene()
    session = scene.join().session
    nonce, _ = scene.beat(session)
    key = scene.run(session)
    scene.beat(session, nonce=nonce, running={key: Running((8080,))}, address="10.9.0.9")
    assert scene.workload.advertised == (IPv4Address("10.9.0.9"), 24000)


def test_a_silent_machine_loses_its_endpoints_and_gets_them_back_with_its_next_beat() -> None:
    scene = Scene()
    session = scene.join().session
    nonce, _ = scene.beat(session)
    key = scene.run(session)
    running = {key: Running((8080,))}
    nonce, _ = scene.beat(session, nonce=nonce, running=running)
    scene.world.now += SILENT
    scene.machines.sweep()
    assert scene.workload.ready
    scene.world.now += 0.1
    scene.machines.sweep()
    assert not scene.workload.ready
    scene.world.now += KEPT - 1
    scene.world.registry.expire()
    scene.beat(session, nonce=nonce, running=running)
    assert scene.workload.ready


def test_what_a_machine_tells_no_longer_ends() -> None:
    scene = Scene()
    session = scene.join().session
    nonce, _ = scene.beat(session)
    key = scene.run(session)
    nonce, _ = scene.beat(session, nonce=nonce, running={key: Running((8080,))})
    scene.world.now += 20
    nonce, _ = scene.beat(session, nonce=nonce, running={}, complete=False)
    assert scene.workload.ready
    scene.beat(session, nonce=nonce, running={})
    assert not scene.workload.ready
    scene.world.now += 31
    scene.world.registry.expire()
    assert scene.world.mesh.of(WORKLOAD) == []


def test_a_control_plane_that_starts_again_takes_nobody_for_silent() -> None:
    scene = Scene()
    session = scene.join().session
    nonce, _ = scene.beat(session)
    key = scene.run(session)
    scene.beat(session, nonce=nonce, running={key: Running((8080,))})
    scene.world.restart()
    scene.machines = scene.start()
    scene.machines.sweep()
    assert scene.workload.ready
    assert scene.workload.node == "node"
    assert scene.beat(session, nonce="of before", running={key: Running((8080,))})[1] == []


def test_a_copied_disk_is_refused_while_the_first_machine_beats() -> None:
    scene = Scene()
    session = scene.join().session
    scene.beat(session, "one")
    with pytest.raises(Denied, match="was its disk copied"):
        scene.beat(session, "two")
    assert scene.machines.known()[0].doubted == NOW
    scene.world.now += SILENT + 1
    scene.beat(session, "two")
    with pytest.raises(Denied, match="was its disk copied"):
        scene.beat(session, "one")


def test_a_place_belongs_to_one_workload_and_lies_where_workloads_are() -> None:
    scene = Scene()
    session = scene.join().session
    scene.run(session)
    for own, place in ((OWN, "10.9.0.2:24001"), (IPv4Address("127.70.0.2"), PLACE)):
        with pytest.raises(Conflict):
            scene.run(session, place, own)
    with pytest.raises(Denied, match="addresses of workloads are in"):
        scene.run(session, "10.9.0.2:24002", IPv4Address("10.0.0.1"))
    scene.run(session, "10.9.0.2:24001", IPv4Address("127.70.0.2"))


def test_a_machine_runs_what_its_token_allows_and_nothing_of_the_control_plane() -> None:
    scene = Scene()
    session = scene.join(secret=scene.token(accounts=("default/db",))).session
    with pytest.raises(Denied, match="may run default/db only, not default/web"):
        scene.run(session)
    scene.run(session, service_account="db")
    with pytest.raises(Denied, match="control plane's own"):
        free = scene.join().session
        scene.run(free, namespace="gossamer", service_account="gossamer-control")


def test_a_token_without_a_name_makes_new_machines_only() -> None:
    scene = Scene()
    scene.join()
    secret = scene.token("", ("default/web",))
    with pytest.raises(Denied, match="there is a machine vm already"):
        scene.join("vm", secret)
    with pytest.raises(Denied, match="--name Vm"):
        scene.join("Vm", secret)
    assert scene.join("other", secret).name == "other"


def test_who_leaves_is_forgotten() -> None:
    scene = Scene()
    session = scene.join().session
    scene.beat(session)
    scene.run(session)
    assert scene.machines.leave("vm")
    assert not scene.machines.leave("vm")
    assert scene.world.mesh.of(WORKLOAD) == []
    assert scene.machines.known() == []
    with pytest.raises(Denied, match="not one of this mesh"):
        scene.beat(session)


def test_a_tokens_text_is_read_whole_or_not_at_all() -> None:
    token = JoinToken("ab" * 32, "secret", 17, "vm", "example.org")
    text = join_token.encode(token)
    assert join_token.decode(f" {text}\n") == token
    assert "secret" not in repr(token)
    for broken in ("", "hello", "gsm1.", text[:-3], text + "A" * 2000, join_token.encode(replace(token, trust="ab"))):
        with pytest.raises(NotAToken):
            join_token.decode(broken)


def test_the_hash_is_of_the_name_and_of_all_anchors_in_any_order() -> None:
    known = trust_hash("control", [b"one", b"two"])
    assert known == trust_hash("control", [b"two", b"one"])
    assert len({known, trust_hash("control", [b"one"]), trust_hash("other", [b"one", b"two"])}) == 3


def test_stored_tokens_are_hashed() -> None:
    scene = Scene()
    secret = scene.token()
    for entry in scene.world.store.scan("join-tokens/"):
        assert secret not in entry.key
        assert secret not in json.dumps(entry.value.decode())
