"""What is suggested admits who was seen, and nobody else."""

from __future__ import annotations

import json
from ipaddress import ip_address

from gossamer.compile import compile
from gossamer.model.names import local
from gossamer.model.proxy_config import InboundConfig
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Inbound
from gossamer.policy.decide import Client, Request, decide
from gossamer.policy.suggest import Seen, suggest
from gossamer.testing.build import resources, workload

SEEN = [
    Seen("front.id", "default", "web", 8080),
    Seen("back.id", "default", "web", 8080),
    Seen("", "default", "web", 8080),
]


def test_suggestions_are_documents_that_admit_those_seen_and_no_others() -> None:
    text = "\n---\n".join(json.dumps(one) for one in suggest(SEEN))
    snapshot = Snapshot().changed([workload("web-0", service="web"), *resources(text)])
    config = compile(snapshot, Inbound(local("default", "web-0"), 8080))
    assert isinstance(config, InboundConfig)

    admitted = [
        name
        for name in ("front.id", "back.id", "other.id", "")
        if decide(config, Client(name, ip_address("127.64.0.9"), bool(name)), Request()).admitted
    ]
    assert admitted == ["front.id", "back.id"]


def test_nothing_seen_suggests_nothing() -> None:
    assert list(suggest([Seen("", "default", "web", 8080)])) == []
