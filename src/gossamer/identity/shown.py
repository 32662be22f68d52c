"""Trust and certificates as people are shown them: one value of everything, made of what is known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gossamer.identity import forecast, revocation, rotation
from gossamer.identity.authority import Issuer
from gossamer.identity.forecast import Event, Facts, Span, Warning
from gossamer.identity.revocation import Revoked
from gossamer.identity.rotation import Phase, Trusted, Waiting
from gossamer.model.edge import IdentityState


@dataclass(frozen=True, slots=True)
class Authority:
    """An anchor or an issuer. Times are seconds since the epoch."""

    subject: str
    sha256: str
    serial: str
    not_before: float
    not_after: float
    role: str
    anchor_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a sidecar last said of its certificate; `heard` 0: nothing."""

    name: str
    identity: str
    serial: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    anchor_sha256: str = ""
    generation: int = 0
    heard: float = 0.0
    state: str = "unknown"


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything `gossamer identity` shows."""

    trust_domain: str
    generation: int
    phase: str
    since: float
    by_hand: bool
    anchors: Sequence[Authority]
    issuers: Sequence[Authority]
    leaves: Sequence[Leaf]
    waiting: Sequence[Waiting]
    events: Sequence[Event]
    warnings: Sequence[Warning]
    revoked: Sequence[Revoked]
    refusals: Sequence[str]
    automatic: bool


class NotFound(Exception):
    """Nothing goes by that name; one line."""


def anchors(trusted: Trusted) -> list[Authority]:
    return [_authority(x509.load_der_x509_certificate(der), _role(trusted, der)) for der in trusted.anchors]


def issuer(one: Issuer, active: bytes) -> Authority:
    """`active`: the name of the anchor that certificates chain to now."""
    above = one.anchor.fingerprint(hashes.SHA256()) if one.anchor is not None else b""
    return _authority(one.certificate, "in use" if above == active else "waiting", above.hex())


def leaf(
    name: str, identity: str, said: IdentityState | None, when: float, revoked: Sequence[Revoked], now: float
) -> Leaf:
    """`said`: what its sidecar said of its certificate at `when`."""
    if said is None or not said.not_after:
        return Leaf(name, identity, heard=when)
    meant = any(
        revocation.covers(one, said.identity, said.serial, said.not_before) for one in revocation.told(revoked, now)
    )
    return Leaf(
        name,
        identity,
        said.serial.hex().lstrip("0"),
        said.not_before,
        said.not_after,
        said.anchor_sha256.hex(),
        said.bundle_generation,
        when,
        "revoked" if meant else "expired" if now >= said.not_after else "valid",
    )


def shown(
    trust_domain: str,
    trusted: Trusted,
    issuers: Sequence[Issuer],
    leaves: Sequence[Leaf],
    waiting: Sequence[Waiting],
    revoked: Sequence[Revoked],
    refusals: Sequence[str],
    automatic: bool,
    margin: float,
    now: float,
) -> Shown:
    told = anchors(trusted)
    authorities = [issuer(one, trusted.active) for one in issuers]
    facts = Facts(
        anchors=[span(one) for one in told if one.role != "leaving"],
        issuer=next((span(one) for one in authorities if one.role == "in use"), None),
        leaves=[Span(one.name, one.not_before, one.not_after) for one in leaves if one.not_after],
        automatic=automatic,
        margin=margin,
        moving=trusted.moving,
        waiting=[_why(one) for one in waiting],
        since=trusted.since,
        refusals=refusals,
    )
    return Shown(
        trust_domain,
        trusted.generation,
        trusted.phase.value,
        trusted.since,
        trusted.moving and trusted.permitted is not Phase.STEADY,
        told,
        authorities,
        leaves,
        waiting,
        forecast.events(facts, now),
        forecast.warnings(facts, now),
        revoked,
        refusals,
        automatic,
    )


def span(one: Authority) -> Span:
    """Its life, as forecasts look at it."""
    return Span(one.subject, one.not_before, one.not_after)


def _why(one: Waiting) -> str:
    return f"{one.name} ({one.why})" if one.name else one.why


def _role(trusted: Trusted, der: bytes) -> str:
    name = rotation.name_of(der)
    if name not in trusted.wanted:
        return "leaving"
    if name == trusted.active:
        return "active"
    return "new" if trusted.moving and name == trusted.target else "trusted"


def _authority(one: x509.Certificate, role: str, anchor_sha256: str = "") -> Authority:
    return Authority(
        one.subject.rfc4514_string(),
        one.fingerprint(hashes.SHA256()).hex(),
        f"{one.serial_number:x}",
        one.not_valid_before_utc.timestamp(),
        one.not_valid_after_utc.timestamp(),
        role,
        anchor_sha256,
    )


METRICS: Mapping[str, str] = {
    "gossamer_identity_anchor_end_seconds": "When a trust anchor ends, seconds since the epoch.",
    "gossamer_identity_issuer_end_seconds": "When an issuer ends.",
    "gossamer_identity_leaf_end_seconds": "When the certificate a sidecar holds ends.",
    "gossamer_identity_bundle_generation": "The generation of trust.",
    "gossamer_identity_bundle_acknowledged": "The generation of trust that a sidecar has acknowledged.",
    "gossamer_identity_rotation_phase": "1 for the phase in which the rotation of trust anchors is.",
    "gossamer_identity_rotation_waiting": "What keeps the rotation from its next step.",
    "gossamer_identity_revocations": "Revocations in force.",
    "gossamer_identity_refused_files": "Files that are refused now.",
    "gossamer_identity_warnings": "What should be looked after, by level.",
}


def metrics(one: Shown, counted: Mapping[str, tuple[str, float]]) -> str:
    """Prometheus' text. `counted`: name of a counter → (its help, its value)."""
    lines: list[str] = []
    gauge = _gauges(lines)
    gauge("gossamer_identity_anchor_end_seconds", [(_labels(a), a.not_after) for a in one.anchors])
    gauge("gossamer_identity_issuer_end_seconds", [(_labels(i), i.not_after) for i in one.issuers])
    known = [leaf for leaf in one.leaves if leaf.not_after]
    gauge("gossamer_identity_leaf_end_seconds", [({"workload": leaf.name}, leaf.not_after) for leaf in known])
    gauge("gossamer_identity_bundle_generation", [({}, one.generation)])
    gauge("gossamer_identity_bundle_acknowledged", [({"workload": leaf.name}, leaf.generation) for leaf in one.leaves])
    gauge("gossamer_identity_rotation_phase", [({"phase": p.value}, p.value == one.phase) for p in Phase])
    gauge("gossamer_identity_rotation_waiting", [({}, len(one.waiting))])
    gauge("gossamer_identity_revocations", [({}, len(one.revoked))])
    gauge("gossamer_identity_refused_files", [({}, len(one.refusals))])
    levels = [warning.level for warning in one.warnings]
    gauge("gossamer_identity_warnings", [({"level": level}, levels.count(level)) for level in ("warning", "error")])
    for name, (text, value) in counted.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} counter", f"{name} {value:g}"]
    return "\n".join(lines) + "\n"


def _gauges(lines: list[str]) -> Callable[[str, Sequence[tuple[Mapping[str, str], float]]], None]:
    def gauge(name: str, values: Sequence[tuple[Mapping[str, str], float]]) -> None:
        lines.extend((f"# HELP {name} {METRICS[name]}", f"# TYPE {name} gauge"))
        for labels, value in values:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{inside}}} {value:.15g}" if inside else f"{name} {value:.15g}")

    return gauge


def _labels(one: Authority) -> dict[str, str]:
    return {"subject": one.subject, "sha256": one.sha256, "role": one.role}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
