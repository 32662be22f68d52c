"""Becoming a machine of a mesh: whom to trust comes from the token's hash, never from whoever answers.

The machine's key is made here and stays here.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from gossamer.agent.control import Control
from gossamer.agent.membership import Folder, Membership, request
from gossamer.kit.grpc.status import Code, Status
from gossamer.model.mesh import Mesh
from gossamer.model.names import identity
from gossamer.pb.v1 import machines_pb2 as pb
from gossamer.standalone.join_token import JoinToken, trust_hash
from gossamer.standalone.machines import ACCOUNT

SERVICE = "/gossamer.v1.Machines"


class NotJoined(Exception):
    """One line."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What `gossamer join` was told. `control`: "ADDRESS:PORT"."""

    control: str
    token: JoinToken
    name: str = ""
    address: str = ""
    network: str = ""
    node: str = ""
    zone: str = ""


def join(wish: Wish, folder: Folder) -> Membership:
    """Everything up to files in place; the agent is started by somebody else. Raises `NotJoined`."""
    token = wish.token
    if token.expires <= time.time():
        raise NotJoined("the join token has expired; make another with `gossamer token create`")
    name = token.machine or wish.name or _own_name()
    try:
        anchors, mesh = _trusted(wish)
        key = ec.generate_private_key(ec.SECP256R1())
        own = identity(ACCOUNT + name, mesh.control_namespace, mesh.control_namespace, mesh.trust_domain)
        csr = request(key, own)
        asked = pb.JoinRequest(token=token.secret, name=wish.name or name, certificate_signing_request=csr)
        with Control([wish.control], mesh.control_identity, anchors) as control:
            answer = control.call(f"{SERVICE}/Join", asked, pb.JoinResponse)
            local = control.local_address
    except Status as status:
        raise NotJoined(_said(status)) from status
    membership = Membership(
        name=answer.name,
        control=(wish.control,),
        control_name=mesh.control_identity,
        identity=own,
        trust_domain=mesh.trust_domain,
        session=answer.session,
        address=wish.address or local,
        follows=not wish.address,
        network=wish.network,
        node=wish.node or socket.gethostname(),
        zone=wish.zone,
    )
    folder.keep_anchors(anchors)
    folder.keep_identity(key, [answer.leaf_certificate, *answer.intermediate_certificates])
    folder.keep(membership)
    return membership


def _trusted(wish: Wish) -> tuple[list[bytes], Mesh]:
    """The anchors that the token's hash is of. Asked for without trusting anybody; compared before anything is sent."""
    mesh = Mesh(trust_domain=wish.token.domain)
    with Control([wish.control], mesh.control_identity) as anybody:
        answer = anybody.call(f"{SERVICE}/Anchors", pb.AnchorsRequest(), pb.AnchorsResponse)
    anchors = list(answer.anchors)
    if trust_hash(mesh.control_identity, anchors) != wish.token.trust:
        raise NotJoined(
            f"{wish.control} is not the control plane that made this token (its trust anchors are others); check the "
            "address, or make a new token if anchors were rotated since"
        )
    return anchors, mesh


def _own_name() -> str:
    return socket.gethostname().split(".")[0].lower()


def _said(status: Status) -> str:
    if status.code is Code.UNIMPLEMENTED:
        return "this control plane knows nothing of machines; upgrade it"
    return status.message or str(status)
