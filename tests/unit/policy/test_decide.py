"""Paths that servers may read differently, against every way to guard one (security A-30 to A-32)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gossamer.compile import compile
from gossamer.model.names import local
from gossamer.model.proxy_config import InboundConfig
from gossamer.model.snapshot import Snapshot
from gossamer.model.subscription import Inbound
from gossamer.policy.decide import Client, Outcome, Request, Verdict, decide
from gossamer.policy.paths import read
from gossamer.testing.build import resources, workload

SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, port: 8080, accessPolicy: POLICY}
---
"""
RULES = """
apiVersion: policy.gossamer.dev/v1alpha1
kind: AccessPolicy
metadata: {name: guard}
spec: {rules: [{action: ACTION, CLIENTS requests: [{paths: [PATH]}]}]}
"""
SOMEBODY = Client("front.id", ip_address("127.64.0.9"))
# Every encoding that some server reads as /admin, or as something below it.
TRICKS = [
    "/admin/.",
    "/admin/..;/admin",
    "/x/../admin",
    "/./admin",
    "//admin",
    "/admin//",
    "/%61dmin",
    "/%2e/admin",
    "/x/%2e%2e/admin",
    "/x/%2E%2E/admin",
    "/x%2f..%2fadmin",
    "/x/..%2Fadmin",
    "/x\\..\\admin",
    "/x/..%5Cadmin",
    "/admin;a=b",
    "/;/admin",
    "/admin#a",
    "/admin%00",
    "/admin%0a",
    "/adm%C0%A9n",
    "/%c3%a9/../admin",
    "/admin%",
    "/admin%4",
    "/admin%zz",
    "/\u00e9/../admin",
    "/admin ",
    "/admin\t",
    "/a%2Fb/../../admin",
    "/admin?a#b",
]
GUARDS = ["{exact: /admin}", "{prefix: /admin}", "{regex: '/admin(/.*)?'}", "{template: '/{any}'}"]


def config(access: str, action: str, path: str) -> InboundConfig:
    clients = "clients: [{identities: [front.id]}]," if action == "Allow" else ""
    text = RULES.replace("ACTION", action).replace("CLIENTS", clients).replace("PATH", path)
    objects = [workload("web-0", service="web"), *resources(SERVER.replace("POLICY", access) + text)]
    found = compile(Snapshot().changed(objects), Inbound(local("default", "web-0"), 8080))
    assert isinstance(found, InboundConfig)
    return found


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_gets_past_a_guarded_path(guard: str, trick: str) -> None:
    denying = decide(config("all-authenticated", "Deny", guard), SOMEBODY, Request(target=trick))
    allowing = decide(config("deny", "Allow", guard), SOMEBODY, Request(target=trick))

    assert denying.outcome is Outcome.BAD_PATH
    assert allowing.outcome is Outcome.BAD_PATH


@pytest.mark.parametrize("guard", GUARDS[:3])
@pytest.mark.parametrize("target", ["/admin", "/admin?a=b"])
def test_the_path_itself_is_guarded(guard: str, target: str) -> None:
    assert (
        decide(config("all-authenticated", "Deny", guard), SOMEBODY, Request(target=target)).outcome is Outcome.DENIED
    )
    assert decide(config("deny", "Allow", guard), SOMEBODY, Request(target=target)).outcome is Outcome.ALLOWED


def test_a_slash_at_the_end_is_denied_too_and_not_allowed() -> None:
    for guard in ("{exact: /admin}", "{template: '/{any}'}"):
        request = Request(target="/admin/")
        assert decide(config("all-authenticated", "Deny", guard), SOMEBODY, request).outcome is Outcome.DENIED
        assert decide(config("deny", "Allow", guard), SOMEBODY, request).outcome is Outcome.UNAUTHORIZED


def test_other_paths_are_not_guarded() -> None:
    for target in ("/administrator", "/", "/x/admin"):
        verdict = decide(config("all-authenticated", "Deny", "{prefix: /admin}"), SOMEBODY, Request(target=target))
        assert verdict.outcome is Outcome.ALLOWED, target


@pytest.mark.parametrize(
    "target", ["pkg.Svc/M", "//pkg.Svc/M", "/pkg.Svc/M/", "/pkg.Svc/M?x", "*", "", "http://a/b/c", "/a"]
)
def test_a_grpc_path_has_one_form(target: str) -> None:
    found = config("all-authenticated", "Deny", "{exact: /never}")

    assert decide(found, SOMEBODY, Request("POST", target, grpc=True)).outcome is Outcome.BAD_PATH


def test_where_nothing_tells_paths_apart_they_pass() -> None:
    objects = [workload("web-0", service="web"), *resources(SERVER.replace("POLICY", "all-authenticated"))]
    found = compile(Snapshot().changed(objects), Inbound(local("default", "web-0"), 8080))
    assert isinstance(found, InboundConfig)

    assert decide(found, SOMEBODY, Request(target="/x/../admin")).outcome is Outcome.ALLOWED


@pytest.mark.parametrize("target", ["/", "/a", "/a/", "/a/b.c", "/...", "/%C3%A9", "/a%20b", "/a:b@c", "*", "/a?b=c;d"])
def test_ordinary_paths_are_canonical(target: str) -> None:
    assert read(target).is_canonical


def test_a_denial_on_an_opaque_connection_is_of_every_request() -> None:
    found = config("all-authenticated", "Deny", "{exact: /admin}")

    assert decide(found, SOMEBODY, None).outcome is Outcome.DENIED
    assert decide(config("deny", "Allow", "{prefix: /}"), SOMEBODY, None) == Verdict(Outcome.UNAUTHORIZED)
