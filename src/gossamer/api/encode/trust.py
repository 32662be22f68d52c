"""`gossamer.v1.TrustBundle`."""

from __future__ import annotations

from gossamer.model.mesh import Bundle, Revocation
from gossamer.pb.v1 import trust_pb2


def bundle(value: Bundle, trust_domain: str) -> trust_pb2.TrustBundle:
    return trust_pb2.TrustBundle(
        generation=value.generation,
        trust_domain=trust_domain,
        anchors=value.anchors.get(trust_domain, ()),
        active_anchor=value.active_anchor,
        renew_within_s=value.renew_within,
        revoked=[revocation(one) for one in value.revoked],
    )


def revocation(value: Revocation) -> trust_pb2.Revocation:
    return trust_pb2.Revocation(identity=value.identity, issued_before=value.issued_before, serials=value.serials)
