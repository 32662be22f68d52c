"""What is said of a resource by those who act on it: conditions, in the words of Gateway API and Linkerd."""

from __future__ import annotations

from dataclasses import dataclass

CONTROLLER = "linkerd.io/policy-controller"


@dataclass(frozen=True, slots=True)
class Condition:
    """`kind` is "Accepted" or "ResolvedRefs"."""

    kind: str
    holds: bool
    reason: str
    message: str = ""


ACCEPTED = Condition("Accepted", True, "Accepted")
NO_PARENT = Condition("Accepted", False, "NoMatchingParent")
HEADLESS = Condition("Accepted", False, "NoMatchingParent", "parent service must have a ClusterIP")
EGRESS_NOT_ACCEPTED = Condition("Accepted", False, "NoMatchingParent", "EgressNetwork parent has not been accepted")
CONFLICTED = Condition("Accepted", False, "RouteReasonConflicted")
NO_TARGET = Condition("Accepted", False, "NoMatchingTarget")
ALREADY_LIMITED = Condition("Accepted", False, "RateLimitReasonAlreadyExists")
OVERLAP = Condition("Accepted", False, "EgressReasonNetworkOverlap", "networks overlap with clusterNetworks")
RESOLVED = Condition("ResolvedRefs", True, "ResolvedRefs")
NO_BACKEND = Condition("ResolvedRefs", False, "BackendNotFound")
NO_FAULT = Condition("ResolvedRefs", False, "FilterNotFound", "a FaultInjection that a rule names is not there")
INVALID_KIND = Condition("ResolvedRefs", False, "InvalidKind")
FOREIGN_EGRESS = Condition(
    "ResolvedRefs",
    False,
    "InvalidKind",
    "EgressNetwork backend needs to be on a route that has an EgressNetwork parent",
)


@dataclass(frozen=True, slots=True)
class ParentStatus:
    """Of one parent of a route; its group, kind, namespace, name and, where one was named, port."""

    group: str
    kind: str
    namespace: str
    name: str
    port: int | None
    conditions: tuple[Condition, ...]
