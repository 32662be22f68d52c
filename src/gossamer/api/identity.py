"""io.linkerd.proxy.identity.Identity: certificates for those who prove who they are.

CSR and certificates are DER, whatever the contract's comments say (reference §7.1).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from gossamer.identity.authority import Leaf
from gossamer.identity.certify import Busy
from gossamer.identity.request import InvalidRequest
from gossamer.kit.grpc.server import Context, Method, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.pb.linkerd import identity_pb2
from gossamer.ports import Conflict, Denied, Unavailable

# (identity, token, CSR, the caller's verified identity and its certificate's serial) → a leaf. Time, chance and the
# store are filled in.
Certify = Callable[[str, bytes, bytes, str | None, str], Awaitable[Leaf]]
# What the front says of the certificate it verified: its serial, hexadecimal.
SERIAL = "gossamer-client-serial"
_SERIAL = re.compile(r"[0-9a-f]{1,40}")


def methods(certify: Certify) -> Mapping[str, Method]:
    async def handle(request: bytes, context: Context) -> bytes:
        try:
            asked = identity_pb2.CertifyRequest.FromString(request)
        except DecodeError:
            raise Status(Code.INVALID_ARGUMENT, "not a CertifyRequest") from None
        leaf = await _certified(certify, asked, context)
        return identity_pb2.CertifyResponse(
            leaf_certificate=leaf.certificate,
            intermediate_certificates=leaf.intermediates,
            valid_until=Timestamp(seconds=int(leaf.not_after.timestamp())),
        ).SerializeToString()

    return {"/io.linkerd.proxy.identity.Identity/Certify": Unary(handle)}


async def _certified(certify: Certify, asked: identity_pb2.CertifyRequest, context: Context) -> Leaf:
    """The table of this border: whose fault it is → code on the wire (reference §2.4)."""
    try:
        return await certify(
            asked.identity, asked.token, asked.certificate_signing_request, context.peer, serial_of(context)
        )
    except InvalidRequest as error:
        raise Status(Code.INVALID_ARGUMENT, str(error)) from None
    except Denied as error:
        raise Status(Code.FAILED_PRECONDITION, str(error)) from None
    except Busy as error:
        raise Status(Code.RESOURCE_EXHAUSTED, str(error)) from None
    except (Unavailable, Conflict) as error:
        raise Status(Code.UNAVAILABLE, str(error)) from None


def serial_of(context: Context) -> str:
    """Of the caller's verified certificate, lower-case and without leading zeros; "" where it is not said."""
    text = context.metadata.get(SERIAL, "").lower().lstrip("0") if context.peer is not None else ""
    return text if _SERIAL.fullmatch(text) else ""
