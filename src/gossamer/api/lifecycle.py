"""gossamer.v1.Lifecycle: certificates as people look after them. Decodes, asks `Lifecycle`, encodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from gossamer.identity.material import Unusable
from gossamer.identity.revocation import Revoked, TooMany
from gossamer.identity.rotation import CannotMove
from gossamer.identity.shown import Authority, NotFound, Shown
from gossamer.kit.grpc.calls import Context, Method, Unary
from gossamer.kit.grpc.status import Code, Status
from gossamer.pb.v1 import lifecycle_pb2 as pb
from gossamer.ports import Conflict, Unavailable

SERVICE = "gossamer.v1.Lifecycle"
USUAL_LINES = 100
MOST_LINES = 10_000

M = TypeVar("M", bound=Message)


class Lifecycle(Protocol):
    """Each raises `Unusable`, `CannotMove`, `TooMany`, `NotFound` or `Unavailable` in one line."""

    def show(self) -> Shown: ...

    async def rotate_issuer(self) -> Authority: ...

    async def rotate_anchor(self, step: bool) -> None: ...

    def abort(self) -> None: ...

    def request(self) -> bytes:
        """A signing request, PEM."""

    def install(self, certificate: bytes, key: bytes, anchors: bytes) -> Authority: ...

    def revoke(self, subject: str, namespace: str, undo: bool) -> Revoked: ...

    def log(self, lines: int) -> Sequence[bytes]: ...

    def verify(self) -> tuple[int, int]:
        """Lines looked at, and the first that does not follow from the one before it, 0 when all do."""


def methods(lifecycle: Lifecycle) -> Mapping[str, Method]:
    async def rotate_issuer(_: pb.RotateIssuerRequest) -> pb.RotateResponse:
        return pb.RotateResponse(issuer=_authority(await lifecycle.rotate_issuer()))

    async def rotate_anchor(asked: pb.RotateAnchorRequest) -> pb.RotateResponse:
        if asked.abort:
            lifecycle.abort()
        else:
            await lifecycle.rotate_anchor(asked.step)
        return pb.RotateResponse()

    def install(asked: pb.InstallRequest) -> pb.RotateResponse:
        return pb.RotateResponse(issuer=_authority(lifecycle.install(asked.certificate, asked.key, asked.anchors)))

    def revoke(asked: pb.RevokeRequest) -> pb.RevokeResponse:
        done = lifecycle.revoke(asked.subject, asked.namespace or "default", asked.undo)
        return pb.RevokeResponse(
            subject=done.subject,
            identity=done.revocation.identity,
            serials=len(done.revocation.serials),
            forget=int(done.forget),
        )

    def log(asked: pb.LogRequest) -> pb.LogResponse:
        lines = lifecycle.log(min(asked.lines or USUAL_LINES, MOST_LINES))
        verified, broken = lifecycle.verify() if asked.verify else (0, 0)
        return pb.LogResponse(lines=lines, verified=verified, broken=broken)

    return {
        f"/{SERVICE}/Show": _unary(pb.ShowRequest, lambda _: encode(lifecycle.show())),
        f"/{SERVICE}/RotateIssuer": _unary(pb.RotateIssuerRequest, rotate_issuer),
        f"/{SERVICE}/RotateAnchor": _unary(pb.RotateAnchorRequest, rotate_anchor),
        f"/{SERVICE}/RequestIssuer": _unary(
            pb.RequestIssuerRequest, lambda _: pb.RequestIssuerResponse(csr=lifecycle.request())
        ),
        f"/{SERVICE}/Install": _unary(pb.InstallRequest, install),
        f"/{SERVICE}/Revoke": _unary(pb.RevokeRequest, revoke),
        f"/{SERVICE}/Log": _unary(pb.LogRequest, log),
    }


def encode(shown: Shown) -> pb.ShowResponse:
    return pb.ShowResponse(
        trust_domain=shown.trust_domain,
        generation=shown.generation,
        phase=shown.phase,
        since=int(shown.since),
        by_hand=shown.by_hand,
        anchors=map(_authority, shown.anchors),
        issuers=map(_authority, shown.issuers),
        leaves=[
            pb.Leaf(
                name=one.name,
                identity=one.identity,
                serial=one.serial,
                not_before=int(one.not_before),
                not_after=int(one.not_after),
                anchor_sha256=one.anchor_sha256,
                generation=one.generation,
                heard=int(one.heard),
                state=one.state,
            )
            for one in shown.leaves
        ],
        waiting=[pb.Waiting(name=one.name, why=one.why, heard=int(one.heard or 0)) for one in shown.waiting],
        events=[pb.Event(when=int(one.when), what=one.what, automatic=one.automatic) for one in shown.events],
        warnings=[pb.Concern(level=one.level, text=one.text, hint=one.hint) for one in shown.warnings],
        revoked=[
            pb.Revoked(
                subject=one.subject,
                identity=one.revocation.identity,
                when=int(one.when),
                forget=int(one.forget),
                serials=len(one.revocation.serials),
                issued_before=one.revocation.issued_before,
            )
            for one in shown.revoked
        ],
        refusals=shown.refusals,
        automatic=shown.automatic,
    )


def _authority(one: Authority) -> pb.Authority:
    return pb.Authority(
        subject=one.subject,
        sha256=one.sha256,
        serial=one.serial,
        not_before=int(one.not_before),
        not_after=int(one.not_after),
        role=one.role,
        anchor_sha256=one.anchor_sha256,
    )


def _unary(kind: type[M], answer: Callable[[M], Message | Awaitable[Message]]) -> Method:
    """The table of this border: whose fault it is → code on the wire."""

    async def handle(request: bytes, _: Context) -> bytes:
        try:
            found: Any = answer(kind.FromString(request))
            message = await found if isinstance(found, Awaitable) else found
        except DecodeError:
            raise Status(Code.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.full_name}") from None
        except NotFound as error:
            raise Status(Code.NOT_FOUND, str(error)) from None
        except (Unusable, CannotMove, TooMany, Unavailable, Conflict) as error:
            raise Status(Code.FAILED_PRECONDITION, str(error)) from None
        assert isinstance(message, Message)
        return message.SerializeToString()

    return Unary(handle)
