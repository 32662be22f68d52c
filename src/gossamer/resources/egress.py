"""EgressNetwork (policy.linkerd.io) and FaultInjection (policy.gossamer.dev) documents."""

from __future__ import annotations

from gossamer.model.egress import EgressNetwork, FaultInjection
from gossamer.model.names import Origin
from gossamer.resources import traffic, values
from gossamer.resources.authentications import networks
from gossamer.resources.metadata import Metadata
from gossamer.resources.reader import Reader

# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
GRPC_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def egress_network(document: Reader, metadata: Metadata, origin: Origin) -> EgressNetwork:
    with document.required("spec") as spec:
        found = networks(spec) if spec.has("networks") else None
        if found == ():
            spec.refuse("networks", "needs at least one network")
        spec.required_text("trafficPolicy")
        policy = spec.choice("trafficPolicy", ("Allow", "Deny"))
    return EgressNetwork(
        metadata.key,
        policy == "Allow",
        found,
        values.opaque_ports(metadata.annotations, document.where),
        traffic.traffic(metadata.annotations, document.where, document.lenient),
        metadata.created,
        origin,
    )


def fault_injection(document: Reader, metadata: Metadata, origin: Origin) -> FaultInjection:
    with document.required("spec") as spec:
        delay, abort = spec.object("delay"), spec.object("abort")
        if delay is None and abort is None:
            spec.refuse("abort", "needs at least one of delay and abort")
        return FaultInjection(metadata.key, _delay(delay) if delay else None, _abort(abort) if abort else None, origin)


def _delay(reader: Reader) -> tuple[int, int]:
    with reader:
        reader.required_text("duration")
        found = reader.parsed("duration", traffic.duration, 'a duration such as "100ms"')
        return found or 0, _share(reader)


def _abort(reader: Reader) -> tuple[int, int, str, int]:
    """A status for HTTP and a code for gRPC; what is not said is 503 and UNAVAILABLE."""
    with reader:
        status = reader.integer("status", 200, 599)
        code = reader.choice("grpcStatus", GRPC_CODES)
        message = reader.text("message") or "fault injected"
        if len(message) > 256 or not message.isprintable():
            reader.refuse("message", "must be printable text of at most 256 characters")
        return status or 503, GRPC_CODES.index(code or "UNAVAILABLE"), message, _share(reader)


def _share(reader: Reader) -> int:
    """Ten-thousandths of `percent`, which may be as fine as 0.01; all when it is not said."""
    value = reader.raw("percent")
    if value is None:
        return 10_000
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        reader.refuse("percent", f"{value!r} is not a number from 0 to 100")
    return round(value * 100)
