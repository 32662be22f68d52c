"""Routes of a ServiceProfile, as `io.linkerd.proxy.destination` has them."""

from __future__ import annotations

from gossamer.api.encode import parts
from gossamer.model.profile import (
    All,
    AnyOf,
    Condition,
    MethodIs,
    Not,
    PathLike,
    ProfileRoute,
    ResponseClass,
    StatusWithin,
)
from gossamer.pb.linkerd import destination_pb2

_Request = destination_pb2.RequestMatch
_Response = destination_pb2.ResponseMatch


def route(one: ProfileRoute) -> destination_pb2.Route:
    return destination_pb2.Route(
        condition=_request(one.condition),
        response_classes=[_class(each) for each in one.classes],
        metrics_labels={"route": one.name},
        is_retryable=one.retryable,
        timeout=parts.optional_duration(one.timeout),
    )


def _class(one: ResponseClass) -> destination_pb2.ResponseClass:
    return destination_pb2.ResponseClass(condition=_response(one.condition), is_failure=one.failure)


def _request(wanted: Condition) -> destination_pb2.RequestMatch:
    match wanted:
        case All(several):
            return _Request(all=_Request.Seq(matches=[_request(one) for one in several]))
        case AnyOf(several):
            return _Request(any=_Request.Seq(matches=[_request(one) for one in several]))
        case Not(one):
            message = _Request()
            getattr(message, "not").CopyFrom(_request(one))
            return message
        case PathLike(regex):
            return _Request(path=destination_pb2.PathMatch(regex=regex))
        case MethodIs(name):
            return _Request(method=parts.method(name))
        case StatusWithin():
            raise TypeError("a request has no status")


def _response(wanted: Condition) -> destination_pb2.ResponseMatch:
    match wanted:
        case All(several):
            return _Response(all=_Response.Seq(matches=[_response(one) for one in several]))
        case AnyOf(several):
            return _Response(any=_Response.Seq(matches=[_response(one) for one in several]))
        case Not(one):
            message = _Response()
            getattr(message, "not").CopyFrom(_response(one))
            return message
        case StatusWithin(low, high):
            return _Response(status=destination_pb2.HttpStatusRange(min=low, max=high))
        case PathLike() | MethodIs():
            raise TypeError("a response has neither path nor method")
