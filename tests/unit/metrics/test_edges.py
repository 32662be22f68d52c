"""What sidecars say, made into edges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossamer.metrics import Edges
from gossamer.metrics.quantile import quantile
from gossamer.model.edge import (
    Author,
    Direction,
    FailureTotal,
    Protocol,
    Report,
    Reporter,
    Totals,
    TotalsKey,
)

BOUNDS = (1.0, 2.0, 10.0)
WEB = Reporter("default", "web-1", "web", "web.default.serviceaccount.identity.gossamer.cluster.local")
API = Reporter("default", "api-1", "api", "api.default.serviceaccount.identity.gossamer.cluster.local")
EVE = Reporter("default", "eve-1", "eve", "eve.default.serviceaccount.identity.gossamer.cluster.local")


def calls(requests: int = 0, *, tls: bool = True, peer: str = API.identity, **rest: object) -> tuple[TotalsKey, Totals]:
    key = TotalsKey(Direction.OUTBOUND, Protocol.HTTP1, tls, peer, "default", "api", 80)
    totals = Totals(requests=requests, successes=rest.pop("successes", requests), bounds_ms=BOUNDS, **rest)  # type: ignore[arg-type]
    return key, totals


def serves(requests: int = 0, peer: str = WEB.identity, **rest: object) -> tuple[TotalsKey, Totals]:
    key = TotalsKey(
        Direction.INBOUND, Protocol.HTTP1, True, peer, port=8080, server="api-http", authorization="web-only"
    )
    return key, Totals(requests=requests, successes=rest.pop("successes", requests), bounds_ms=BOUNDS, **rest)  # type: ignore[arg-type]


def table() -> Edges:
    return Edges(started=0.0)


def test_both_ends_become_one_edge() -> None:
    edges = table()
    edges.report(WEB, Report(1, (calls(40, latency=(20, 20, 0, 0)),)), now=100.0)
    edges.report(API, Report(2, (serves(40, latency=(40, 0, 0, 0)),)), now=100.0)

    (edge,) = edges.rows(now=101.0)

    assert (edge.client, edge.server, edge.protocol, edge.tls) == ("default/web", "default/api", Protocol.HTTP1, True)
    assert (edge.client_id, edge.server_id) == (WEB.identity, API.identity)
    assert (edge.requests, edge.successes, edge.success_rate, edge.denied) == (40, 40, 1.0, 0)
    assert edge.p50_ms == 1.0
    assert edge.app_p50_ms == 0.5
    assert edge.authorization == "web-only"


def test_rates_look_back_over_the_window_only() -> None:
    edges = table()
    for second in range(20):
        edges.report(WEB, Report(1, (calls(10 * (second + 1)),)), now=100.0 + second)

    (edge,) = edges.rows(now=119.5, window=10.0)

    assert edge.rps == 10.0
    assert edge.requests == 200


@given(st.floats(1.0, 60.0), st.integers(1, 200), st.floats(0.0, 0.9))
def test_a_steady_rate_is_the_same_over_every_window(window: float, seconds: int, phase: float) -> None:
    edges = table()
    for second in range(-100, seconds + 1):
        edges.report(WEB, Report(1, (calls(10 * (second + 101)),)), now=1000.0 + second)

    (edge,) = edges.rows(now=1000.0 + seconds + phase, window=window)

    # A report tells of the second before it, so one report more or less may lie in the window.
    assert 10.0 * (window - 1.0) / window - 1e-6 <= edge.rps <= 10.0 * (window + 1.0) / window + 1e-6


def test_an_edge_that_stopped_has_no_rate_and_keeps_its_totals() -> None:
    edges = table()
    edges.report(WEB, Report(1, (calls(10),)), now=100.0)

    (edge,) = edges.rows(now=150.0)

    assert (edge.rps, edge.success_rate, edge.p50_ms, edge.requests) == (0.0, None, None, 10)


def test_a_restarted_sidecar_adds_to_the_totals() -> None:
    edges = table()
    edges.report(WEB, Report(1, (calls(10),)), now=100.0)
    edges.report(WEB, Report(7, (calls(3),)), now=102.0)

    assert edges.rows(now=102.0)[0].requests == 13


def test_a_series_that_was_begun_anew_adds_to_the_totals() -> None:
    edges = table()
    edges.report(WEB, Report(1, (calls(10),)), now=100.0)
    edges.report(WEB, Report(1, (calls(4),)), now=102.0)

    assert edges.rows(now=102.0)[0].requests == 14


def test_what_was_counted_before_we_listened_is_no_rate() -> None:
    edges = Edges(started=1000.0)
    edges.report(Reporter("default", "web-1", "web", WEB.identity, started=10.0), Report(1, (calls(5000),)), now=1001.0)

    (edge,) = edges.rows(now=1001.0)

    assert (edge.requests, edge.rps) == (5000, 0.0)


def test_replicas_are_one_edge() -> None:
    edges = table()
    edges.report(WEB, Report(1, (calls(10),)), now=100.0)
    edges.report(Reporter("default", "web-2", "web", WEB.identity), Report(2, (calls(5),)), now=100.0)

    assert [edge.requests for edge in edges.rows(now=100.0)] == [15]


def test_a_refused_edge_is_listed_with_what_was_refused() -> None:
    edges = table()
    refused = FailureTotal(Author.INBOUND, "unauthorized", 8, 99.0)
    edges.report(EVE, Report(1, (calls(8, successes=0, failures=(refused,)),)), now=100.0)
    edges.report(API, Report(2, (serves(0, peer=EVE.identity, denied=8),)), now=100.0)

    (edge,) = edges.rows(now=100.0)

    assert (edge.client, edge.denied, edge.tls, edge.success_rate) == ("default/eve", 8, True, 0.0)
    assert [(failure.author, failure.reason, failure.count) for failure in edge.failures] == [
        (Author.INBOUND, "unauthorized", 8)
    ]


def test_a_refusal_only_the_server_saw_is_listed_too() -> None:
    edges = table()
    edges.report(API, Report(2, (serves(0, peer=EVE.identity, denied=8),)), now=100.0)

    (edge,) = edges.rows(now=100.0)

    assert (edge.client, edge.server, edge.denied, edge.success_rate) == ("default/eve", "default/api", 8, 0.0)


def test_a_refusal_goes_to_the_service_that_was_refused_where_two_share_an_identity() -> None:
    edges = table()
    job = Reporter("default", "job-1", "job", WEB.identity)
    refused = FailureTotal(Author.INBOUND, "unauthorized", 3, 99.0)
    edges.report(WEB, Report(1, (calls(100),)), now=100.0)
    edges.report(job, Report(2, (calls(3, successes=0, failures=(refused,)),)), now=100.0)
    edges.report(API, Report(3, (serves(100, denied=3),)), now=100.0)

    assert {edge.client: edge.denied for edge in edges.rows(now=100.0)} == {"default/web": 0, "default/job": 3}


def test_a_connection_that_was_never_made_is_no_plaintext() -> None:
    edges = table()
    down = FailureTotal(Author.OUTBOUND, "connect", 2, 99.0)
    edges.report(WEB, Report(1, (calls(10), calls(2, tls=False, peer="", successes=0, failures=(down,)))), now=100.0)

    (edge,) = edges.rows(now=100.0)

    assert (edge.tls, edge.requests, edge.successes) == (True, 12, 10)


def test_a_failure_that_only_the_server_told_of_is_kept() -> None:
    edges = table()
    seen_by_both = FailureTotal(Author.APPLICATION, "status-503", 2, 99.0)
    seen_by_one = FailureTotal(Author.APPLICATION, "reset", 1, 99.0)
    edges.report(WEB, Report(1, (calls(10, failures=(seen_by_both,)),)), now=100.0)
    edges.report(API, Report(2, (serves(10, failures=(seen_by_both, seen_by_one)),)), now=100.0)

    (edge,) = edges.rows(now=100.0)

    assert [(failure.reason, failure.count) for failure in edge.failures] == [("status-503", 2), ("reset", 1)]


def test_a_caller_outside_the_mesh_is_named_so() -> None:
    edges = table()
    key = TotalsKey(Direction.INBOUND, Protocol.HTTP1, False, port=8080)
    edges.report(API, Report(1, ((key, Totals(requests=1, successes=1)),)), now=100.0)

    (edge,) = edges.rows(now=100.0)

    assert (edge.client, edge.tls, edge.client_id) == ("unmeshed", False, "")


def test_open_connections_go_with_their_workload() -> None:
    edges = table()
    edges.report(WEB, Report(1, (calls(1, tcp_open=5, tcp_close=2),)), now=100.0)
    before = edges.rows(now=100.0)[0].tcp_open
    edges.forget("default", "web-1")

    assert (before, edges.rows(now=100.0)[0].tcp_open) == (3, 0)


def test_a_request_over_tcp_is_a_connection() -> None:
    edges = table()
    key = TotalsKey(Direction.OUTBOUND, Protocol.TCP, True, API.identity, "default", "api", 6379)
    edges.report(WEB, Report(1, ((key, Totals(tcp_open=5, tcp_close=4, successes=4)),)), now=100.0)

    (edge,) = edges.rows(now=100.0)

    assert (edge.requests, edge.successes, edge.success_rate, edge.tcp_open) == (5, 4, 1.0, 1)
    assert (edge.tcp_rps, edge.rps) == (5.0, 0.0)


def test_idle_edges_are_forgotten_after_ten_minutes() -> None:
    edges = table()
    edges.report(WEB, Report(1, (calls(1),)), now=100.0)
    edges.report(EVE, Report(2, (calls(1),)), now=800.0)

    assert [edge.client for edge in edges.rows(now=800.0)] == ["default/eve"]


def test_the_table_is_bounded_and_says_what_it_dropped() -> None:
    edges = Edges(started=0.0, limit=50)
    for number in range(200):
        who = Reporter("default", f"w-{number}", f"w{number}", f"w{number}.default.serviceaccount.identity.x.y")
        edges.report(who, Report(1, (calls(1),)), now=100.0 + number)

    assert len(edges.rows(now=300.0)) <= 50
    assert edges.dropped >= 150


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=5),
    st.floats(0.0, 1.0),
)
def test_a_percentile_lies_within_the_buckets(counts: list[int], q: float) -> None:
    bounds = [float(2**n) for n in range(len(counts))]
    found = quantile(q, counts, bounds)

    assert (found is None) == (sum(counts) == 0)
    assert found is None or 0.0 <= found <= bounds[-1]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_percentiles_never_fall_as_the_share_grows(counts: list[int]) -> None:
    bounds = [float(2**n) for n in range(len(counts))]
    found = [quantile(q / 10, counts, bounds) or 0.0 for q in range(11)]

    assert found == sorted(found)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30), st.integers(0, 30))
def test_totals_do_not_depend_on_which_reports_were_lost(steps: list[int], keep: int) -> None:
    every, some = table(), table()
    total = 0
    for number, step in enumerate(steps):
        total += step
        every.report(WEB, Report(1, (calls(total),)), now=float(number))
        if number == keep or number == len(steps) - 1:
            some.report(WEB, Report(1, (calls(total),)), now=float(number))

    now = float(len(steps))
    assert every.rows(now)[0].requests == some.rows(now)[0].requests == total
