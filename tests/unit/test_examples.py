"""Every file of examples/ is accepted as `gossamer apply` would take it, and does what it says."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner

from gossamer.api.judge import Client, admits
from gossamer.cli.root import Settings, root
from gossamer.compile import compile
from gossamer.model.kinds import Object
from gossamer.model.names import identity
from gossamer.model.proxy_config import (
    Balance,
    Config,
    DetectOutbound,
    InboundConfig,
    OutboundConfig,
    TlsOutbound,
    Weighted,
)
from gossamer.model.route import Fail
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import AddressTarget, Inbound, NameTarget, Outbound, Source
from gossamer.model.workload import Workload
from gossamer.testing.build import resources, service, workload

FOLDER = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def example(name: str) -> list[Object]:
    return resources((FOLDER / name).read_text(), name)


def client(account: str, namespace: str = "default") -> Client:
    return Client(identity(account, namespace, "gossamer", "cluster.local"), tls=True)


def inbound(name: str, target: Workload, port: int) -> InboundConfig:
    config: Config = compile(Snapshot().changed([target, *example(name)]), Inbound(target.key, port))
    assert isinstance(config, InboundConfig)
    return config


@pytest.mark.parametrize("name", FILES)
def test_every_object_is_valid_and_the_file_is_explained(name: str) -> None:
    objects = example(name)

    assert len({(one.kind, one.key) for one in objects}) == len(objects) > 0
    assert (FOLDER / name).read_text().startswith("# ")
    assert f"]({name})" in (FOLDER / "README.md").read_text()
    assert f"gossamer apply -f examples/{name}" in (FOLDER / name).read_text()


def test_only_one_caller_gets_in() -> None:
    config = inbound("only-one-caller.yaml", workload("payments-0", service="payments"), 8080)

    assert admits(config, client("shop"))
    assert not admits(config, client("load"))
    assert not admits(config, client("shop", "elsewhere"))
    assert not admits(config, Client("", tls=False))


def test_a_namespace_denies_what_is_not_named() -> None:
    ledger = workload("ledger-0", namespace="bank", service="ledger")
    web = workload("web-0", namespace="bank", service="web")
    other = workload("other-0", namespace="bank", service="other")
    configs = [
        inbound("deny-by-default.yaml", target, port)
        for target, port in ((ledger, 5432), (web, 8080), (ledger, 5433), (other, 8080))
    ]
    admitted = [[who for who in ("web", "load") if admits(config, client(who, "bank"))] for config in configs]

    assert admitted == [["web"], ["web", "load"], [], []]
    assert admits(configs[1], client("load", "elsewhere"))
    assert not admits(configs[1], Client("", tls=False))


@pytest.mark.parametrize("name", sorted(path.name for path in (FOLDER / "tables").glob("*.yaml")))
def test_a_table_of_verdicts_holds(name: str) -> None:
    found = CliRunner().invoke(root, ("authz", "test", str(FOLDER / "tables" / name)), obj=Settings())

    assert (found.exit_code, found.output.splitlines()[-1]) == (0, "6 tests, 0 failed")


def test_only_one_host_is_reached_outside() -> None:
    def asked(port: int) -> TlsOutbound | DetectOutbound:
        snapshot = Snapshot().changed(example("outside-only-one-host.yaml"))
        config = compile(snapshot, Outbound(Source("default"), AddressTarget(ip_address("192.0.2.7"), port)))
        assert isinstance(config, OutboundConfig)
        assert isinstance(config.protocol, TlsOutbound | DetectOutbound)
        return config.protocol

    https, http = asked(443), asked(80)
    assert isinstance(https, TlsOutbound)
    assert [(one.names, one.forbidden) for one in https.routes] == [(("api.example",), False), ((), True)]
    assert isinstance(http, DetectOutbound)
    assert http.opaque.forbidden
    assert [rule.filters for route in http.http1 for rule in route.rules] == [(Fail(403, "traffic not allowed"),)]


def test_traffic_is_split_by_weight() -> None:
    services = [
        service("reviews", port=8080),
        service("reviews-next", address="198.19.0.2", port=8080),
    ]
    asked = Outbound(Source("default"), NameTarget("reviews.default.svc.cluster.local", 8080))
    config = compile(Snapshot().changed([*services, *example("split-by-weight.yaml")]), asked)
    assert isinstance(config, OutboundConfig)
    assert isinstance(config.protocol, DetectOutbound)
    for (route,) in (config.protocol.http1, config.protocol.http2):
        (rule,) = route.rules
        assert isinstance(rule.backends, Weighted)
        shares = [(one.weight, one.backend.to) for one in rule.backends.backends]
        assert shares == [
            (90, Balance("reviews.default.svc.cluster.local:8080")),
            (10, Balance("reviews-next.default.svc.cluster.local:8080")),
        ]
