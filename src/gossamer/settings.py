"""What each process is told at start: one dataclass per process, one field per setting.

Must not read the environment by itself: callers pass a mapping, so that tests need no process state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

# sun_path holds 108 bytes including its end.
SOCKET_PATH_LIMIT = 107


class InvalidSetting(ValueError):
    """A setting that cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a mesh keeps its files on this machine. Nothing here creates or reads any."""

    mesh: str
    # Survives a reboot: keys, the store.
    state: Path
    # Gone after a reboot: sockets, logs, locks. 0700.
    runtime: Path

    @property
    def control_socket(self) -> Path:
        return self.runtime / "control.sock"

    @property
    def admin_socket(self) -> Path:
        return self.runtime / "admin.sock"

    @property
    def agent_socket(self) -> Path:
        return self.runtime / "agent.sock"

    @property
    def lock(self) -> Path:
        return self.runtime / "lock"

    @property
    def ready(self) -> Path:
        """Holds the controller's process id once it serves."""
        return self.runtime / "ready"

    @property
    def log(self) -> Path:
        return self.runtime / "controller.log"

    @property
    def trust_anchors(self) -> Path:
        """PEM; what sidecars watch."""
        return self.runtime / "trust-anchors.pem"

    @property
    def front_log(self) -> Path:
        return self.runtime / "front.log"

    @property
    def front_admin(self) -> Path:
        return self.runtime / "front.sock"

    @property
    def store(self) -> Path:
        return self.state / "store.sqlite"

    @property
    def issuance_log(self) -> Path:
        """Every certificate that was signed."""
        return self.state / "issuance.log"

    @property
    def machine(self) -> Path:
        """Folder of a joined machine's identity; its control plane is elsewhere."""
        return self.state / "machine"

    @property
    def instance(self) -> Path:
        """What a joined machine drew at this boot."""
        return self.runtime / "instance"

    @property
    def shared_store(self) -> Path:
        """What `up` was told of a store that is not this machine's; not there on SQLite."""
        return self.state / "store.json"

    @property
    def ca(self) -> Path:
        """Folder of the issuer's certificate and key."""
        return self.state / "ca"


def paths(mesh: str, environ: Mapping[str, str], uid: int, home: Path) -> Paths:
    """The folders of `mesh` (contract of `--mesh`, seams 11).

    Raises InvalidSetting when the name cannot be a folder or a socket's path would be too long.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", mesh):
        raise InvalidSetting(
            f"--mesh {mesh!r}: use 1 to 32 lower-case letters, digits and dashes, beginning and ending with no dash"
        )
    state = _folder(environ, "XDG_STATE_HOME") or home / ".local" / "state"
    runtime = _folder(environ, "XDG_RUNTIME_DIR")
    found = Paths(
        mesh,
        state / "gossamer" / mesh,
        runtime / "gossamer" / mesh if runtime else Path(f"/tmp/gossamer-{uid}") / mesh,  # noqa: S108 - 0700, owner checked
    )
    longest = max(len(str(path)) for path in (found.control_socket, found.admin_socket, found.agent_socket))
    if longest > SOCKET_PATH_LIMIT:
        raise InvalidSetting(
            f"{found.runtime}: too long for a socket's path ({longest} bytes, at most {SOCKET_PATH_LIMIT}); "
            "set XDG_RUNTIME_DIR to a shorter folder or choose a shorter --mesh"
        )
    return found


def _folder(environ: Mapping[str, str], name: str) -> Path | None:
    """An absolute path from the environment; as the XDG specification says, a relative one counts as unset."""
    value = environ.get(name, "")
    return Path(value) if value.startswith("/") else None


def _told(sentence: str, parse: Any = str) -> dict[str, Any]:
    """A field that is told on the command line; the flag is its name."""
    return {"sentence": sentence, "parse": parse}


POLICIES = (
    "all-authenticated",
    "all-unauthenticated",
    "cluster-authenticated",
    "cluster-unauthenticated",
    "deny",
    "audit",
)


def _policy(text: str) -> str:
    if text not in POLICIES:
        raise ValueError(f"one of {', '.join(POLICIES)}")
    return text


def _seconds(text: str) -> float:
    expected = "a number of seconds from 1 to a year"
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(expected) from None
    if not 1.0 <= seconds <= 365 * 86_400.0:
        raise ValueError(expected)
    return seconds


def _decades(text: str) -> float:
    expected = "a number of seconds from 1 to thirty years"
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(expected) from None
    if not 1.0 <= seconds <= 30 * 366 * 86_400.0:
        raise ValueError(expected)
    return seconds


def _switch(text: str) -> str:
    if text not in ("on", "off"):
        raise ValueError("on or off")
    return text


def reachable_address(text: str) -> str:
    host, colon, port = text.partition(":")
    if text == "none":
        return text
    try:
        address = IPv4Address(host)
    except AddressValueError:
        raise ValueError("an address of this machine, such as 10.9.0.1 or 10.9.0.1:8443, or none") from None
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise ValueError("an address that other machines reach, such as 10.9.0.1")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("ADDRESS:PORT with a port from 1 to 65535")
    return text


def machine_network(text: str) -> str:
    try:
        network = IPv4Network(text)
    except ValueError:
        raise ValueError("a network such as 10.9.1.0/24") from None
    if network.is_loopback or network.num_addresses < 4:
        raise ValueError("a network of at least four addresses, such as 10.9.1.0/24")
    return str(network)


def label_value(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text):
        raise ValueError("1 to 63 letters, digits, dashes, underscores and dots, as in labels")
    return text


def _domain(text: str) -> str:
    if len(text) > 100 or not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", text):
        raise ValueError("a domain such as cluster.local")
    return text


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """The control plane's process, `python -m gossamer.controller`."""

    mesh: str = field(
        default="default", metadata=_told("Name of the mesh; each has a control plane, files and addresses of its own.")
    )
    dir: tuple[Path, ...] = field(
        default=(), metadata=_told("Folder of resources to read and watch; may be given again.", Path)
    )
    trust_domain: str | None = field(
        default=None, metadata=_told("Trust domain of a new mesh; cluster.local when unset.", _domain)
    )
    trust_anchors: Path | None = field(default=None, metadata=_told("Trust anchors to use (PEM).", Path))
    issuer_cert: Path | None = field(
        default=None, metadata=_told("The issuer's certificate, then any intermediates (PEM).", Path)
    )
    issuer_key: Path | None = field(default=None, metadata=_told("The issuer's key (PEM).", Path))
    issuer_dir: Path | None = field(
        default=None, metadata=_told("Folder with tls.crt, tls.key and ca.crt to use and watch.", Path)
    )
    automatic_rotation: str = field(
        default="on", metadata=_told("Whether issuer and trust anchor are replaced by age: on or off.", _switch)
    )
    issuer_lifetime: float = field(
        default=365 * 86_400.0, metadata=_told("Seconds that an issuer made here is valid.", _seconds)
    )
    anchor_lifetime: float = field(
        default=3650 * 86_400.0, metadata=_told("Seconds that a trust anchor made here is valid.", _decades)
    )
    anchor_margin: float = field(
        default=180 * 86_400.0, metadata=_told("Seconds of life left at which a trust anchor is replaced.", _decades)
    )
    default_inbound_policy: str = field(
        default="all-authenticated", metadata=_told("What holds for ports without a Server.", _policy)
    )
    l5d_request_headers: str = field(
        default="off",
        metadata=_told("Whether programs may set their retries and timeouts by l5d-* headers: on or off.", _switch),
    )
    egress_namespace: str = field(
        default="linkerd-egress", metadata=_told("Whose EgressNetworks are for clients without their own.", label_value)
    )
    leaf_lifetime: float = field(
        default=86_400.0, metadata=_told("Seconds that a workload's certificate is valid.", _seconds)
    )
    store: str | None = field(
        default=None, metadata=_told("Where the state is: sqlite, or etcd://HOST:PORT[,HOST:PORT][/PREFIX].")
    )
    store_ca: Path | None = field(default=None, metadata=_told("Whom to trust as etcd (PEM), with etcds://.", Path))
    store_cert: Path | None = field(default=None, metadata=_told("The certificate to show to etcd (PEM).", Path))
    store_key: Path | None = field(default=None, metadata=_told("Its key (PEM).", Path))
    store_login: Path | None = field(default=None, metadata=_told("File with USER:PASSWORD for etcd.", Path))
    store_secret: Path | None = field(
        default=None,
        metadata=_told("File with the secret that seals the issuer's key in etcd; the same everywhere.", Path),
    )
    advertise: str | None = field(
        default=None,
        metadata=_told(
            "Where other machines reach this one, ADDRESS or ADDRESS:PORT; `none` ends it. Said once, it is kept.",
            reachable_address,
        ),
    )
    advertise_range: str | None = field(
        default=None, metadata=_told("Network of this machine with an address for each workload.", machine_network)
    )
    node: str | None = field(default=None, metadata=_told("This machine's name, which workloads inherit.", label_value))
    zone: str = field(default="", metadata=_told("Where this machine is, which workloads inherit.", label_value))
    log_level: str = field(default="info", metadata=_told("debug, info, warning or error."))


def controller_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> ControllerSettings:
    """From `--flag VALUE` or `--flag=VALUE`, then the environment (GOSSAMER_MESH). Raises InvalidSetting."""
    known = {"--" + one.name.replace("_", "-"): one for one in fields(ControllerSettings)}
    given: dict[str, Any] = {"mesh": environ["GOSSAMER_MESH"]} if environ.get("GOSSAMER_MESH") else {}
    waiting = list(arguments)
    while waiting:
        flag, equals, value = waiting.pop(0).partition("=")
        if flag not in known:
            raise InvalidSetting(f"{flag}: not a flag of this program; known: {', '.join(known)}")
        if not equals:
            if not waiting:
                raise InvalidSetting(f"{flag}: a value is missing")
            value = waiting.pop(0)
        one = known[flag]
        try:
            parsed = one.metadata["parse"](value)
        except ValueError as error:
            raise InvalidSetting(f"{flag} {value}: expected {error}") from None
        given[one.name] = (*given.get(one.name, ()), parsed) if isinstance(one.default, tuple) else parsed
    settings = ControllerSettings(**given)
    if bool(settings.issuer_cert) != bool(settings.issuer_key) or (settings.issuer_cert and not settings.trust_anchors):
        raise InvalidSetting("--issuer-cert and --issuer-key belong together, and need --trust-anchors")
    if settings.trust_anchors and not settings.issuer_cert:
        raise InvalidSetting("--trust-anchors needs --issuer-cert and --issuer-key, which are under one of them")
    if settings.issuer_dir and settings.issuer_cert:
        raise InvalidSetting("--issuer-dir takes the place of --trust-anchors, --issuer-cert and --issuer-key")
    return settings
