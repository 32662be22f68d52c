"""Named checks of a mesh, in the order they are printed; what `gossamer check` asks of the control plane. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gossamer.api.plane import Certificate, Sidecar
from gossamer.identity.forecast import Warning
from gossamer.model.names import Key
from gossamer.model.snapshot import View
from gossamer.model.workload import WORKLOAD, Workload
from gossamer.ports import THE_STORE
from gossamer.resources.problem import InvalidResource

SUCCESS, WARNING, ERROR = "success", "warning", "error"


@dataclass(frozen=True, slots=True)
class Check:
    category: str
    name: str
    result: str = SUCCESS
    error: str = ""
    hint: str = ""


def control_plane(
    synced: bool,
    control_address: str,
    anchors: Sequence[Certificate],
    issuers: Sequence[Certificate],
    problems: Iterable[InvalidResource],
    now: float,
    concerns: Sequence[Warning] = (),
) -> Iterator[Check]:
    """The control plane itself, its certificates, its resources. `concerns`: what the forecast of certificates says."""
    where = "gossamer-existence"
    yield Check(where, "control plane answers")
    yield _or(
        Check(where, "resources are read"),
        synced,
        ERROR,
        "a source has not delivered its resources yet",
        "`gossamer logs --control-plane`",
    )
    yield _or(
        Check(where, "sidecars can reach the control plane"),
        bool(control_address),
        ERROR,
        "the front sidecar is not up",
        "`gossamer logs --control-plane`",
    )
    yield from _certificates("trust anchors", anchors, now, "`gossamer identity` lists them; make new ones")
    yield from _certificates("issuer", issuers, now, "`gossamer identity` lists them; make a new one")
    yield _or(
        Check("gossamer-identity", "issuer is signed by a trust anchor"),
        all(issuer.trusted for issuer in issuers),
        ERROR,
        "the issuer does not chain to any trust anchor",
        "`gossamer up` with --trust-anchors, --issuer-cert and --issuer-key that belong together",
    )
    looked_after = Check("gossamer-identity", "certificates are replaced in time")
    if not concerns:
        yield looked_after
    for concern in concerns:
        yield Check(looked_after.category, looked_after.name, concern.level, concern.text, concern.hint)
    found = list(problems)
    away = [one for one in found if one.where.source == THE_STORE]
    yield _or(
        Check(where, "changes are stored"),
        not away,
        ERROR,
        "; ".join(one.message for one in away),
        "what is known goes on being served; see to the store",
    )
    refused = [one for one in found if one not in away]
    if not refused:
        yield Check("gossamer-resources", "every document is valid")
    for problem in refused:
        yield Check(
            "gossamer-resources",
            "every document is valid",
            ERROR,
            str(problem),
            "correct the file; what it said before stays in force",
        )


def data_plane(view: View, sidecars: Mapping[Key, Sidecar], generation: int, now: float) -> Iterator[Check]:
    """Every workload's sidecar (`check --proxy`)."""
    where = "gossamer-data-plane"
    workloads = [one for _, named in sorted(view.all(WORKLOAD).items()) for _, one in sorted(named.items())]
    yield Check(where, f"{len(workloads)} workloads are registered")
    yield _listed(
        Check(where, "sidecars are connected"),
        [one for one in workloads if one.key in sidecars and not sidecars[one.key].connected],
        ERROR,
        "`gossamer logs WORKLOAD`; a killed sidecar comes back by itself within seconds",
    )
    yield _listed(
        Check(where, "workloads are ready"),
        [one for one in workloads if one.ports and not one.ready],
        WARNING,
        "the program does not listen (yet): `gossamer describe WORKLOAD`",
    )
    yield _listed(
        Check(where, "sidecars accept their configuration"),
        [one for one in workloads if one.key in sidecars and sidecars[one.key].notes],
        WARNING,
        "`gossamer why WORKLOAD` says what was not understood",
    )
    yield _listed(
        Check("gossamer-identity-data-plane", "certificates are valid"),
        [one for one in workloads if 0 < _expiry(sidecars, one) < now],
        ERROR,
        "`gossamer logs WORKLOAD` says why it was not renewed",
    )
    yield _listed(
        Check("gossamer-identity-data-plane", "sidecars have the current trust bundle"),
        [one for one in workloads if _behind(sidecars, one, generation)],
        WARNING,
        "they take it within seconds; if not, `gossamer logs WORKLOAD`",
    )


def _certificates(what: str, certificates: Sequence[Certificate], now: float, hint: str) -> Iterator[Check]:
    where = "gossamer-identity"
    valid = Check(where, f"{what}: valid now")
    if not certificates:
        yield Check(where, valid.name, ERROR, f"there is no {what}", hint)
        return
    usable = [one for one in certificates if one.not_before <= now < one.not_after]
    yield _or(valid, bool(usable), ERROR, f"{what} expired or not valid yet", hint)


def _or(check: Check, fine: bool, result: str, error: str, hint: str) -> Check:
    return check if fine else Check(check.category, check.name, result, error, hint)


def _listed(check: Check, found: Sequence[Workload], result: str, hint: str) -> Check:
    names = ", ".join(str(one.key) for one in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return _or(check, not found, result, names, hint)


def _expiry(sidecars: Mapping[Key, Sidecar], workload: Workload) -> float:
    sidecar = sidecars.get(workload.key)
    return sidecar.identity.not_after if sidecar is not None else 0.0


def _behind(sidecars: Mapping[Key, Sidecar], workload: Workload, generation: int) -> bool:
    sidecar = sidecars.get(workload.key)
    return sidecar is not None and 0 < sidecar.identity.bundle_generation < generation
