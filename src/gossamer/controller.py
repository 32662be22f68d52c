"""The control plane of a mesh on one machine: `python -m gossamer.controller --mesh NAME …`.

The composition root. Nothing is decided here: it makes the parts, hands them to each other, and runs the list in
`_serve`. Sockets are Unix sockets in the runtime folder only (seams 8); the front sidecar is the one way in.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509

import gossamer
from gossamer.api import lifecycle as lifecycle_api
from gossamer.api import machines as machines_api
from gossamer.api import machines_admin
from gossamer.api import server as sidecars_api
from gossamer.api.admin import Admin
from gossamer.api.audits import SOURCE as ADMIN
from gossamer.api.plane import About, Certificate, Plane, Sidecar
from gossamer.api.watches import Watches
from gossamer.binary import ProxyNotFound, find_proxy
from gossamer.identity import material, trust
from gossamer.kit import logs, tasks
from gossamer.kit.grpc.server import Server
from gossamer.kit.peer import Credentials
from gossamer.metrics import Edges
from gossamer.model.authorization import DefaultPolicy
from gossamer.model.change import Synced
from gossamer.model.edge import IdentityState
from gossamer.model.kinds import Object
from gossamer.model.mesh import SERVICE_NETWORK, WORKLOAD_NETWORK, Mesh
from gossamer.model.names import Key, Kind
from gossamer.model.workload import INBOUND_PORT, WORKLOAD
from gossamer.ports import Conflict, Store, Unavailable, Write
from gossamer.resources.decode import decode
from gossamer.resources.documents import load
from gossamer.resources.metadata import key_of
from gossamer.resources.problem import InvalidResource, Where
from gossamer.settings import ControllerSettings, InvalidSetting, Paths, controller_settings, paths
from gossamer.standalone import advertised, keys, replicas, trust_root
from gossamer.standalone.addresses import Addresses, Taken, bindable
from gossamer.standalone.advertised import FRONT_PORT, Advertise, Advertised
from gossamer.standalone.agent_socket import AgentSocket, Facts
from gossamer.standalone.desk import LocalDesk
from gossamer.standalone.directory import Directory
from gossamer.standalone.front import Front
from gossamer.standalone.issuance import IssuanceLog
from gossamer.standalone.join_tokens import JoinTokens
from gossamer.standalone.leftovers import Leftovers
from gossamer.standalone.lifecycle import Lifecycle
from gossamer.standalone.lock import Lock
from gossamer.standalone.machines import PREFIX as MACHINES
from gossamer.standalone.machines import Machines, revoker
from gossamer.standalone.opening import open_store
from gossamer.standalone.registry import PREFIX as REGISTRATIONS
from gossamer.standalone.registry import Registry
from gossamer.standalone.replicas import Replicas
from gossamer.standalone.signer import Signer
from gossamer.standalone.stored import PREFIX as RESOURCES
from gossamer.standalone.stored import Declared, Stored
from gossamer.standalone.tokens import Tokens
from gossamer.standalone.told import PREFIX as TOLD
from gossamer.standalone.told import SharedTold
from gossamer.standalone.trust_store import KEY as TRUST
from gossamer.standalone.trustee import Trustee
from gossamer.standalone.virtual import Virtual
from gossamer.state import State

SOURCES = ("store", "files", "run", ADMIN)
CONTROL_OWNER = "control"
# Of a twentieth of a second each.
ADDRESS_TRIES = 100
# Time for the front to get its certificate and listen, and for streams to end when this process does.
FRONT_SECONDS = 15.0
GRACE = 1.0
TOKEN_SWEEP = 60.0
TOLD_SWEEP = 1.0
MACHINES_SWEEP = 1.0
FORGET_SWEEP = 5.0
LOG_SWEEP = 10.0

_log = logging.getLogger("gossamer.controller")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 after a graceful end, 1 with one line on stderr when it cannot start or go on, 64 for a wrong flag."""
    try:
        settings = controller_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
        files = paths(settings.mesh, os.environ, os.getuid(), Path.home())
    except InvalidSetting as error:
        sys.stderr.write(f"{error}\n")
        return 64
    logs.setup(settings.log_level, file=files.log)
    # It tells every field of every request.
    logging.getLogger("hpack").setLevel(logging.INFO)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, files))
    except (Unavailable, material.Unusable, ProxyNotFound, tasks.Failed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BaseExceptionGroup as group:
        for leaf in _leaves(group):
            sys.stderr.write(f"{leaf}\n")
            if not isinstance(leaf, tasks.Failed) or not isinstance(leaf.__cause__, Unavailable | OSError):
                _log.error("unexpected", exc_info=leaf)
        return 1
    return 0


async def _serve(settings: ControllerSettings, files: Paths) -> None:
    """Makes everything in the order of the flow, runs it until told to stop, and takes it apart in reverse."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with ExitStack() as held:
        for folder in (files.state, files.runtime.parent, files.runtime):
            keys.private_directory(folder)
        lock = held.enter_context(Lock(files.lock))
        for leftover in (files.ready, files.control_socket, files.admin_socket, files.agent_socket):
            leftover.unlink(missing_ok=True)
            held.callback(leftover.unlink, missing_ok=True)
        opened, close_store = open_store(settings, files, lock)
        held.callback(close_store)
        store, leadership = opened.store, opened.leadership
        shared_keys = await replicas.shared_keys(opened, files)
        others = Replicas(opened, shared_keys)

        # Trust: keys on disk → an authority that signs, and the bundle that sidecars are to trust.
        mesh = _named(store, settings)
        trustee = trust_root.trustee(store, settings, mesh, files)
        others.share_keys()
        tokens = Tokens(store, os.urandom, leadership)

        # Addresses of workloads, services and of the control plane itself.
        workload_addresses = Addresses(store, WORKLOAD_NETWORK, os.urandom, bindable(INBOUND_PORT))
        virtual = Virtual(Addresses(store, SERVICE_NETWORK, os.urandom))
        control_address = await _control_address(store, others.owner(CONTROL_OWNER))
        mesh = replace(mesh, control_address=(control_address, FRONT_PORT), bundle=trustee.bundle)

        # Other machines: what they find of this one.
        advertise = advertised.said(store, others.owner("advertise"), settings.advertise, settings.advertise_range)
        places = Advertised(store, os.urandom, advertise, advertised.bindable)
        control_name = mesh.control_identity

        # State: what sources say → snapshots.
        state = State(SOURCES, mesh, loop.call_soon)
        problems = _Problems()
        others.report = problems.report
        stored = Stored(store, decode, virtual, problems)
        directory = Directory(settings.dir, decode, partial(state.holder, other_than="files"), virtual, problems)
        node = settings.node or socket.gethostname()
        registry = Registry(
            store,
            workload_addresses,
            virtual,
            mesh,
            node,
            time.time,
            os.urandom,
            zone=settings.zone,
            advertised=places,
            replica=others.id,
            leadership=leadership,
            alive=others.alive,
        )
        trustee.leads = leadership.held
        others.on(TRUST, lambda *_: trustee.refresh())
        others.on(REGISTRATIONS, registry.heard)
        others.on(RESOURCES, stored.heard)
        others.on_place(registry.at_replica)

        # What is served from it.
        edges = Edges(time.time())
        watches = Watches(state)
        trustee.publish = lambda bundle: state.set_mesh(replace(state.snapshot.mesh, bundle=bundle))
        trustee.registered = lambda: {one.session for one in registry.registrations()}
        trustee.judge = registry.judge
        leftovers = Leftovers(
            store,
            leadership,
            lambda: {f"workload/{one.key.namespace}/{one.name}" for one in registry.registrations()},
            others.alive,
        )
        told = SharedTold(store, others.id, edges.heard, mesh.front, others.alive)
        others.on(TOLD, told.heard_of)
        trustee.live = lambda: tuple(trust_root.live(registry.registrations(), mesh, told.heard))
        issued = IssuanceLog(files.issuance_log, time.time())
        held.callback(issued.close)
        signer = Signer(trustee, tokens, issued, time.time, os.urandom)
        registry.barred = signer.barred
        lifecycle = Lifecycle(trustee, signer, issued, mesh, registry.registrations, told.heard, time.time)
        front = Front(
            [str(find_proxy())],
            _front_environment(files, control_address, mesh, advertise),
            files.front_log,
            lambda: tokens.issue(control_name, time.time()),
            random.random,
        )
        control = Server(
            sidecars_api.methods(
                state,
                watches,
                signer.certify,
                lambda reporter, report: edges.report(reporter, report, time.time()),
            ),
            admit=front.admit,
            peer_header="l5d-client-id",
        )
        others.announce(node, "", (control_address, FRONT_PORT), str(advertise or ""))
        fronts = others.fronts(f"{control_address}:{FRONT_PORT}")
        facts = Facts(files.trust_anchors, fronts, files.runtime, files.state)
        desk = LocalDesk(registry, tokens, mesh, time.time, control.written)
        agent = AgentSocket(desk, facts, time.time)
        machines = Machines(
            store,
            registry,
            desk,
            tokens,
            JoinTokens(store, os.urandom),
            lambda: state.snapshot.mesh,
            signer.at_once,
            revoker(trustee, settings.leaf_lifetime, time.time),
            lambda networks: state.set_mesh(replace(state.snapshot.mesh, machine_networks=networks)),
            advertise.address if advertise else None,
            time.time,
            os.urandom,
            others.id,
        )
        lifecycle.ended = machines.ended
        others.on(MACHINES, machines.heard)
        control.add(machines_api.methods(machines, lambda: state.snapshot.mesh, control.written))
        plane = Plane(
            about=About(gossamer.__version__, files.mesh, os.getpid(), time.time()),
            state=state,
            declared=_Declared(stored),
            decode=decode,
            traffic=edges,
            certificates=lambda: _certificates(trustee),
            sidecars=partial(_sidecars, registry, edges, facts),
            problems=problems.all,
            original=_original,
            now=time.time,
            stop=stop.set,
            concerns=lambda: lifecycle.show().warnings,
            metrics=lifecycle.metrics,
        )
        admin = Server({**Admin(plane).methods(), **lifecycle_api.methods(lifecycle)}, admit=_admit)
        admin.add(machines_admin.methods(machines, str(advertise or ""), time.time))

        await control.serve_unix(files.control_socket)
        held.callback(control.close)
        await admin.serve_unix(files.admin_socket)
        held.callback(admin.close)
        state.apply(ADMIN, Synced())
        work = asyncio.create_task(
            tasks.run(
                # name, what it reads → what it writes
                ("stored resources", stored.run(partial(state.apply, "store"))),
                ("resource files", directory.run(partial(state.apply, "files"))),
                ("registrations", registry.run(partial(state.apply, "run"))),
                ("other replicas", others.run()),
                ("trust", trustee.run()),
                ("rotation by age", trust_root.by_age(lifecycle, leadership)),
                ("front sidecar", front.run()),
                ("machines", _every(MACHINES_SWEEP, machines.sweep)),
                ("launchers' socket", _launchers(agent, state, front, files)),
                ("leftovers", _every(TOKEN_SWEEP, lambda: _swept(leftovers))),
                ("join tokens", _every(TOKEN_SWEEP, lambda: tokens.expire(time.time()))),
                (
                    "what sidecars said",
                    _every(TOLD_SWEEP, lambda: told.share(one.key for one in registry.registrations())),
                ),
                ("forgotten edges", _every(FORGET_SWEEP, _Forget(state, edges))),
                ("the front's log", _every(LOG_SWEEP, partial(_bound, files.front_log))),
            ),
            name="work",
        )
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        files.ready.unlink(missing_ok=True)
        agent.close()
        if not work.done():
            await asyncio.gather(control.drain(GRACE), admin.drain(GRACE))
            work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def _launchers(agent: AgentSocket, state: State, front: Front, files: Paths) -> None:
    """Takes registrations once sidecars can be served: everything is read, and the front has its certificate."""
    try:
        async with asyncio.timeout(FRONT_SECONDS):
            while not state.synced:  # noqa: ASYNC110 - sources are read at start, once
                await asyncio.sleep(0.005)
            await front.ready.wait()
    except TimeoutError:
        late = f"the front sidecar was not ready within {FRONT_SECONDS:.0f} s"
        raise Unavailable(f"{late}; see {files.log} and {files.front_log}") from None
    await agent.serve(files.agent_socket)
    # Whatever exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)
    files.ready.write_text(f"{os.getpid()}\n")
    _log.info("serving mesh %s", files.mesh)


async def _every(seconds: float, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        act()


def _swept(leftovers: Leftovers) -> None:
    try:
        for name in leftovers.sweep(time.time()):
            _log.info("%s belonged to nobody any more", name)
    except Unavailable as error:
        _log.warning("leftovers stay for now: %s", error)


def _bound(file: Path) -> None:
    try:
        logs.bound(file)
    except OSError as error:
        _log.warning("%s begins anew, and nothing of it is kept: %s", file, error.strerror or error)


# --- start ---------------------------------------------------------------------------------------------------------


def _named(store: Store, settings: ControllerSettings) -> Mesh:
    """The mesh's own names, which stay what they were at its first start: identities are made of them."""
    held = store.read("mesh/trust-domain")
    wanted = settings.trust_domain
    if held is None:
        with suppress(Conflict):  # another replica begins at the same moment
            store.commit([Write("mesh/trust-domain", (wanted or "cluster.local").encode(), expected=0)])
        return _named(store, settings)
    if wanted not in (None, held.value.decode()):
        raise Unavailable(
            f"mesh {settings.mesh} has the trust domain {held.value.decode()}; start another with --mesh NAME"
        )
    domain = held.value.decode()
    return Mesh(
        trust_domain=domain,
        default_policy=DefaultPolicy(settings.default_inbound_policy),
        egress_namespace=settings.egress_namespace,
        request_headers=settings.l5d_request_headers == "on",
    )


async def _control_address(store: Store, owner: str) -> IPv4Address:
    """The front's own address, which running sidecars know: kept, also when a predecessor's front ends late."""
    addresses = Addresses(store, WORKLOAD_NETWORK, os.urandom, bindable(FRONT_PORT))
    found = addresses.of(owner)
    if found is None:
        return addresses.allocate(owner)
    for _ in range(ADDRESS_TRIES):
        if bindable(FRONT_PORT)(found):
            return found
        await asyncio.sleep(0.05)
    if store.scan(REGISTRATIONS):
        raise Unavailable(f"{found}:{FRONT_PORT}, by which running workloads know this mesh, is in use; end its user")
    addresses.release(owner)
    return addresses.allocate(owner)


def _front_environment(
    files: Paths, address: IPv4Address, mesh: Mesh, advertise: Advertise | None
) -> Mapping[str, str]:
    """Nothing of this process's environment is the front's but the log settings."""
    if advertise is not None and not bindable(advertise.port)(advertise.address):
        raise Unavailable(
            f"--advertise {advertise}: cannot be listened on; is it an address of this machine, and free?"
        )
    name = mesh.control_identity
    itself = {"ns": mesh.front.namespace, "pod": mesh.front.name}
    passed = {key: os.environ[key] for key in ("LINKERD2_PROXY_LOG", "LINKERD2_PROXY_LOG_FORMAT") if key in os.environ}
    return passed | {
        "GOSSAMER_PROXY_FRONT": f"unix:{files.control_socket}",
        "GOSSAMER_PROXY_CONTROL_ADDR": f"unix:{files.control_socket}",
        "GOSSAMER_PROXY_CONTROL_NAME": name,
        "GOSSAMER_PROXY_TRUST_ANCHORS_FILE": str(files.trust_anchors),
        "GOSSAMER_PROXY_TOKEN_FROM": "launcher",
        "GOSSAMER_PROXY_ADMIN_ADDR": f"unix:{files.front_admin}",
        "LINKERD2_PROXY_INBOUND_LISTEN_ADDR": f"{address}:{FRONT_PORT}",
        **({"GOSSAMER_PROXY_ALSO_LISTEN": str(advertise)} if advertise else {}),
        "LINKERD2_PROXY_IDENTITY_LOCAL_NAME": name,
        "LINKERD2_PROXY_POLICY_WORKLOAD": json.dumps(itself, separators=(",", ":")),
    }


# --- between the parts -----------------------------------------------------------------------------------------------


def _admit(peer: Credentials) -> str | None:
    """People's commands: of the same user or of root, and not from inside a mesh (seams 9)."""
    if peer.uid not in (os.getuid(), 0):
        return "the mesh belongs to another user"
    if peer.namespaces != "own":
        return "programs inside a mesh may not administer it"
    return None


def _certificates(trustee: Trustee) -> tuple[list[Certificate], list[Certificate]]:
    return [*map(_certificate, trustee.anchors)], [_certificate(one.certificate) for one in trustee.issuers]


def _certificate(one: x509.Certificate) -> Certificate:
    shown = trust.describe(one)
    return Certificate(shown.subject, shown.sha256, shown.not_before, shown.not_after)


def _sidecars(registry: Registry, edges: Edges, facts: Facts) -> dict[Key, Sidecar]:
    """Registrations, with what each sidecar last said of itself."""
    found = {}
    for one in registry.registrations():
        heard = edges.heard(one.key.namespace, one.name)
        found[one.key] = Sidecar(
            key=one.key,
            pid=one.pid,
            started=one.started,
            connected=one.lease_end is None,
            identity=heard.identity if heard else IdentityState(),
            notes=heard.notes if heard else (),
            log_file=str(facts.log_file(one.key.namespace, one.name)),
            admin_socket=str(facts.admin_socket(one.key.namespace, one.name)),
        )
    return found


def _original(value: Object) -> dict[str, Any] | None:
    """The document of an object that was read from a file, read again; None when it is no longer there."""
    if not value.origin.place:
        return None
    try:
        documents = load(Path(value.origin.place).read_bytes(), value.origin.place)
        return next((one.value for one in documents if key_of(one.value, one.where) == (value.kind, value.key)), None)
    except (OSError, InvalidResource):
        return None


class _Declared:
    """What the admin API calls the store of applied documents, on the store there is."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def document(self, kind: Kind[Any], key: Key) -> dict[str, Any] | None:
        return self._stored.document(kind, key)

    def write(self, puts: Sequence[tuple[Object, dict[str, Any]]], removed: Sequence[tuple[Kind[Any], Key]]) -> None:
        try:
            self._stored.apply([Declared(value, document) for value, document in puts], time.time())
        except Taken as error:
            raise Unavailable(str(error)) from error
        self._stored.delete(removed)


class _Problems:
    """The `StatusSink` port: what is wrong with documents now."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, ...]] = {}

    def report(self, subject: str, problems: tuple[str, ...]) -> None:
        self._found.pop(subject, None)
        if problems:
            self._found[subject] = problems

    def all(self) -> list[InvalidResource]:
        return [_problem(subject, line) for subject, lines in self._found.items() for line in lines]


def _problem(subject: str, said: str) -> InvalidResource:
    """From "FILE:LINE: message", as sources say it, with the place told once."""
    place, _, message = said.removeprefix(f"{subject}:").partition(": ")
    if place.isdecimal() and message:
        return InvalidResource(Where(subject, int(place)), "", message)
    return InvalidResource(Where(subject), "", said.removeprefix(f"{subject}: "))


class _Forget:
    """Lets go of the traffic counts of workloads that have ended."""

    def __init__(self, state: State, edges: Edges) -> None:
        self._state = state
        self._edges = edges
        self._known: set[Key] = set()

    def __call__(self) -> None:
        now = {one.key for names in self._state.snapshot.all(WORKLOAD).values() for one in names.values()}
        for gone in self._known - now:
            self._edges.forget(gone.namespace, gone.name)
        self._known = now


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    sys.exit(main())
