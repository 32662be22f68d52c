"""What a resource can be found by, beside its name: the sides of it that other resources refer to or select on.

A question about one facet depends only on the resources that have it, so that what changes elsewhere in a namespace
computes nothing anew.
"""

from __future__ import annotations

from gossamer.model.authorization import AuthorizationPolicy, RateLimitPolicy, Server
from gossamer.model.kinds import Object
from gossamer.model.names import Labels
from gossamer.model.route import GrpcRoute, HttpRoute, TcpRoute, TlsRoute
from gossamer.model.selector import Selector
from gossamer.model.service import EndpointSlice
from gossamer.model.workload import ExternalWorkload, Workload

Facet = tuple[str, str]
# Of selectors that name no label: they may match anything.
ANYTHING: Facet = ("", "")


def facets(resource: Object) -> tuple[Facet, ...]:
    """Without repetition."""
    match resource:
        case Workload(labels=labels, service=service):
            return (*labels.items(), of_service(service)) if service else tuple(labels.items())
        case ExternalWorkload(labels=labels):
            return tuple(labels.items())
        case EndpointSlice(service=service):
            return (of_service(service),)
        case Server(pod_selector=pods, external_workload_selector=externals):
            return (wanted(pods or externals or Selector()),)
        case HttpRoute() | GrpcRoute() | TlsRoute() | TcpRoute():
            return tuple({(parent.kind, parent.name): None for parent in resource.parents})
        case AuthorizationPolicy(target=target):
            return ((target.kind, target.name),)
        case RateLimitPolicy(server=server):
            return (("Server", server),)
        case _:
            return ()


def of_service(name: str) -> Facet:
    """What belongs to a service by name. No label begins with an @."""
    return ("@service", name)


def wanted(selector: Selector) -> Facet:
    """A label that everything a selector matches has, or ANYTHING."""
    return selector.labels[0] if selector.labels else ANYTHING


def possible(labels: Labels) -> tuple[Facet, ...]:
    """The facets of every selector that may match these labels."""
    return (ANYTHING, *labels.items())
