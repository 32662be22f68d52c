"""Laws of access: an oracle written from the documentation, and what more rules may do."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import assume, given
from hypothesis import strategies as st

from gossamer.compile import compile
from gossamer.model.access import AccessPolicy, Action
from gossamer.model.kinds import Object
from gossamer.model.names import Key
from gossamer.model.proxy_config import InboundConfig
from gossamer.model.selector import Selector
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Inbound
from gossamer.model.workload import Workload
from gossamer.policy.decide import Client, Request, decide
from gossamer.policy.narrow import narrowed
from tests.laws import worlds
from tests.laws.oracle import Asked, Oracle

ACCOUNT = "a.x.serviceaccount.identity.gossamer.cluster.local"
asked = st.builds(
    Asked,
    st.sampled_from(("", "a.x.id", "b.x.id", "a.y.id", "c.z", "spiffe://r/a", ACCOUNT)),
    st.sampled_from(("127.64.0.9", "127.0.0.1", "10.0.0.1", "10.1.0.1", "192.0.2.1")).map(ip_address),
    st.sampled_from((None, "/", "/a", "/a/", "/a/b", "/ab", "/b/c", "/s.S/M", "/s.S/N")),
    st.sampled_from(("GET", "POST")),
    st.sampled_from(("a.x", "b.x", "b.y")),
    st.sampled_from(((), (("h", "1"),), (("h", "2"),), (("h", "1"), ("h", "3")))),
)
# Nearly all about the workload in question, so that most of them decide something.
key = Key("", "x", "a")
workload = worlds.workloads.map(
    lambda one: replace(one, key=key, labels={"app": "a"}, ports=tuple(replace(port, name="a") for port in one.ports))
)
wide = worlds.servers.map(
    lambda one: replace(
        one,
        key=Key("", "x", one.key.name),
        pod_selector=Selector() if one.pod_selector is not None else None,
        external_workload_selector=Selector() if one.pod_selector is None else None,
    )
)
here = st.one_of(
    wide,
    worlds.authorization_policies,
    worlds.mesh_tls,
    worlds.networks,
    worlds.http_routes,
    worlds.grpc_routes,
    worlds.access_policies,
    worlds.namespace_objects,
)
crowds = st.lists(here, max_size=10, unique_by=lambda one: (one.kind, one.key))


@given(workload, crowds, worlds.ports, st.lists(asked, min_size=1, max_size=20))
def test_what_is_decided_is_what_the_documentation_says(
    one: Workload, crowd: list[Object], port: int, questions: list[Asked]
) -> None:
    world = [one, *crowd]
    config = _config(world, port)
    oracle = Oracle(world)

    for question in questions:
        assert _admitted(config, question) == oracle.admits(key, port, question), question


@given(workload, crowds, worlds.ports, st.lists(asked, min_size=1, max_size=20))
def test_a_sidecar_that_knows_no_rules_never_admits_more(
    one: Workload, crowd: list[Object], port: int, questions: list[Asked]
) -> None:
    config = _config([one, *crowd], port)

    for question in questions:
        assert not _admitted(narrowed(config), question) or _admitted(config, question), question


@given(workload, crowds, worlds.ports, worlds.access_of(worlds.denials), st.lists(asked, min_size=1, max_size=20))
def test_adding_a_denial_never_admits_more(
    one: Workload, crowd: list[Object], port: int, denial: AccessPolicy, questions: list[Asked]
) -> None:
    """Neither in ours nor in what Linkerd's sidecars are told."""
    assume(all((other.kind, other.key) != (denial.kind, denial.key) for other in crowd))
    before, after = _config([one, *crowd], port), _config([one, *crowd, denial], port)

    for question in questions:
        assert not _admitted(after, question) or _admitted(before, question), question
        assert not _admitted(narrowed(after), question) or _admitted(narrowed(before), question), question


@given(workload, crowds, worlds.ports, st.lists(asked, min_size=1, max_size=20), st.data())
def test_removing_what_allows_never_admits_more(
    one: Workload, crowd: list[Object], port: int, questions: list[Asked], data: st.DataObject
) -> None:
    allowing = [
        other
        for other in crowd
        if isinstance(other, AccessPolicy) and all(rule.action is Action.ALLOW for rule in other.rules)
    ]
    assume(allowing)
    gone = data.draw(st.sampled_from(allowing))
    before = _config([one, *crowd], port)
    after = _config([one, *(other for other in crowd if other is not gone)], port)

    for question in questions:
        assert not _admitted(after, question) or _admitted(before, question), question


@given(workload, crowds, worlds.ports, st.lists(asked, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_resources_never_matters(
    one: Workload, crowd: list[Object], port: int, questions: list[Asked], random: object
) -> None:
    assert _config([one, *crowd], port) == _config([*reversed(crowd), one], port)


def _config(world: list[Object], port: int) -> InboundConfig:
    config = compile(Snapshot().changed(world), Inbound(key, port))
    assert isinstance(config, InboundConfig)
    return config


def _admitted(config: InboundConfig, question: Asked) -> bool:
    client = Client(question.identity, question.address, tls=bool(question.identity))
    request = None
    if question.path is not None:
        request = Request(question.method, question.path, question.host, question.headers)
    return decide(config, client, request).admitted
