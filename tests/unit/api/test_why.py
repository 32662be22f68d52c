"""Whose fault is it? The six authors of the order, and what is put together from both ends."""

from __future__ import annotations

import pytest

from gossamer.api.blame import Known
from gossamer.api.why import NOBODY, why
from gossamer.model.edge import Author, AuthoredFailure, Edge, Protocol

NOW = 10_000.0
WEB = Known("default", "web-1", "web")
DEAF = Known("default", "web-1", "web", ready=False)


def edge(*failures: AuthoredFailure, **fields: object) -> Edge:
    told = {"client": "default/front", "server": "default/web", "protocol": Protocol.HTTP1, "tls": True, **fields}
    return Edge(failures=failures, **told)  # type: ignore[arg-type]


def failure(author: Author, reason: str, count: int = 3, age: float = 5.0) -> AuthoredFailure:
    return AuthoredFailure(author, reason, count, NOW - age, 0.1)


@pytest.mark.parametrize(
    ("case", "reported", "workloads", "author"),
    [
        ("the application answers 503", (Author.APPLICATION, "status-503"), [WEB], "application"),
        ("the application resets", (Author.APPLICATION, "reset"), [WEB], "application"),
        ("nothing listens", (Author.INBOUND, "refused"), [WEB], "application"),
        ("nobody serves it", (Author.OUTBOUND, "failfast"), [], "application"),
        ("it runs and does not listen", (Author.OUTBOUND, "no-endpoints"), [DEAF], "application"),
        ("the application is slow", (Author.OUTBOUND, "timeout"), [WEB], "application"),
        ("its sidecar cannot be reached", (Author.OUTBOUND, "refused"), [WEB], "mesh outbound"),
        ("the handshake fails", (Author.OUTBOUND, "tls"), [WEB], "mesh outbound"),
        ("policy refuses", (Author.INBOUND, "unauthorized"), [WEB], "mesh inbound"),
        ("a malformed request", (Author.INBOUND, "bad-request"), [WEB], "mesh inbound"),
        ("the control plane is silent", (Author.CONTROL_PLANE, "no-policy"), [WEB], "control plane"),
    ],
)  # fmt: skip
def test_the_author_is_named(case: str, reported: tuple[Author, str], workloads: list[Known], author: str) -> None:
    (verdict,) = why([edge(failure(*reported))], workloads, NOW, "default/web")

    assert (verdict.author, bool(verdict.sentence), bool(verdict.remedy)) == (author, True, True), case


def test_a_refusal_says_who_was_refused_and_how_to_let_it_in() -> None:
    refused = edge(failure(Author.INBOUND, "unauthorized"), client_id="eve.default", denied=3, authorization="web-only")

    (verdict,) = why([refused], [WEB], NOW)

    assert verdict.sentence == "policy refuses default/front at default/web: nothing admits eve.default"
    assert verdict.evidence == (
        "3 refused, last 5 s ago",
        "client identity: eve.default",
        "decided by web-only",
    )
    assert "AuthorizationPolicy" in verdict.remedy


def test_a_refusal_that_only_the_server_counted_is_told() -> None:
    assert [one.reason for one in why([edge(denied=2)], [WEB], NOW)] == ["unauthorized"]


def test_old_failures_are_history() -> None:
    (verdict,) = why([edge(failure(Author.APPLICATION, "status-503", age=3600.0), requests=9)], [WEB], NOW)

    assert verdict.author == NOBODY


def test_slowness_of_the_application_is_the_applications() -> None:
    (verdict,) = why([edge(p99_ms=2000.0, app_p99_ms=1990.0)], [WEB], NOW)

    assert (verdict.author, verdict.reason) == ("application", "slow")
    assert verdict.evidence == (
        "99 % of answers within 2.0 s at the client",
        "99 % within 2.0 s at the application itself",
    )


def test_slowness_on_the_way_is_the_meshs() -> None:
    (verdict,) = why([edge(p99_ms=2000.0, app_p99_ms=10.0)], [WEB], NOW)

    assert (verdict.author, verdict.reason) == ("mesh outbound", "slow")


def test_an_expired_certificate_is_the_control_planes() -> None:
    expired = Known("default", "web-1", "web", certificate_not_after=NOW - 120, refresh_failures=4)

    assert [(one.author, one.reason) for one in why([], [expired], NOW)] == [("control plane", "certificate-expired")]


def test_the_commonest_failure_comes_first() -> None:
    found = why([edge(failure(Author.APPLICATION, "reset", 1), failure(Author.OUTBOUND, "tls", 50))], [WEB], NOW)

    assert [one.reason for one in found] == ["tls", "reset"]


def test_an_edge_can_be_asked_for() -> None:
    mine = edge(failure(Author.APPLICATION, "reset"))
    other = edge(failure(Author.APPLICATION, "closed"), client="default/job")

    assert [one.reason for one in why([mine, other], [WEB], NOW, "default/web", "default/job")] == ["closed"]
    assert len(why([mine, other], [WEB], NOW, "default/web")) == 2
    assert why([mine, other], [WEB], NOW, "default/nobody")[0].reason == "no-traffic"


def test_a_workload_stands_for_its_service() -> None:
    assert why([edge(failure(Author.APPLICATION, "reset"))], [WEB], NOW, "default/web-1")[0].reason == "reset"
