"""Every method that sidecars call, in one table."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.api import destination, endpoints, identity, inbound, names, outbound, reports, trust
from gossamer.api.watches import Watches
from gossamer.kit.grpc.server import Method
from gossamer.state import State


def methods(
    state: State,
    watches: Watches,
    certify: identity.Certify,
    observe: reports.Observe,
) -> Mapping[str, Method]:
    """Path → handler, for `kit.grpc.server.Server` with `peer_header="l5d-client-id"`."""
    return {
        **identity.methods(certify),
        **destination.methods(state, watches),
        **endpoints.methods(state, watches),
        **inbound.methods(state, watches),
        **outbound.methods(state, watches),
        **names.methods(state, watches),
        **reports.methods(state, observe),
        **trust.methods(state, watches),
    }
