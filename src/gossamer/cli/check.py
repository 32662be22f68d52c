"""`gossamer check`: named checks of the mesh and of this machine, each with a hint."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.output import paint, structured
from gossamer.cli.root import Command, Settings

if TYPE_CHECKING:
    from gossamer.cli.session import Session

PROBE_SECONDS = 15.0
DATA_PLANE = ("gossamer-data-plane", "gossamer-identity-data-plane")
MARKS = {"success": ("√", "green"), "warning": ("‼", "yellow"), "error": ("×", "red")}
# What to do about a capability that `gossamer-proxy probe` did not find.
HINTS = {
    "user-namespaces": "allow them (sysctl user.max_user_namespaces=15000, or your distribution's), be root, or "
    "use `gossamer run --explicit`",
    "network-namespaces": "`gossamer run` needs them; in a container give it the capability or run outside of it",
    "mount-namespaces": "without them a program could read the mesh's own files; allow them as user namespaces",
    "nftables": "load the kernel's nf_tables and nft_tproxy, or nft_redir and nft_chain_nat",
    "capture-by-tproxy": "the rules were set and had no effect: is another tool rewriting connections here?",
    "capture-by-redirect": "the rules were set and had no effect: is another tool rewriting connections here?",
    "port-discovery": "name every port with --port",
}


@dataclass(frozen=True, slots=True)
class Result:
    category: str
    name: str
    result: str = "success"
    error: str = ""
    hint: str = ""


@click.command("check", cls=Command, short_help="Check the mesh and this machine.")
@click.option("--host", is_flag=True, help="Only this machine: try everything `gossamer run` needs.")
@click.option("--pre", is_flag=True, help="Only what is needed before the first `gossamer up`.")
@click.option("--proxy", is_flag=True, help="Also the sidecar of every workload.")
@click.option("--wait", metavar="TIME", default="0s", show_default=True, help="Try again until all is well, this long.")
@click.option(
    "-o", "--output", type=click.Choice(("table", "short", "json", "yaml")), default="table", help="How to print."
)
@click.pass_obj
def command(settings: Settings, host: bool, pre: bool, proxy: bool, wait: str, output: str) -> None:
    """Named checks of the mesh and of this machine, with hints. Exits with 1 when one fails.

    The machine is probed by doing: a namespace is made, rules are set, a connection is captured.
    """
    from gossamer.cli.up import seconds

    session = settings.session()
    deadline = time.monotonic() + (0 if wait in ("0", "0s") else seconds(wait))
    while True:
        found = list(checks(session, host, pre, proxy))
        failed = any(one.result == "error" for one in found)
        if not failed or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    if output in ("json", "yaml"):
        structured(output, document(found))
    else:
        for line in lines(found, short=output == "short"):
            click.echo(line)
    if failed:
        raise SystemExit(Exit.FAILED)


def checks(session: Session, host: bool, pre: bool, proxy: bool) -> Iterator[Result]:
    """The checks asked for, in the order they are printed."""
    if pre or host:
        yield from install_checks()
        yield from host_checks()
        if pre:
            yield from folder_checks(session)
        return
    yield from install_checks()
    yield from mesh_checks(session, proxy)


def install_checks() -> Iterator[Result]:
    """What pip put here."""
    from gossamer.binary import ProxyNotFound, find_proxy
    from gossamer.cli.version import own_version, proxy_version

    where = "gossamer-install"
    yield Result(where, f"Python is {sys.version_info.major}.{sys.version_info.minor}")
    try:
        proxy = find_proxy()
    except ProxyNotFound as error:
        yield Result(
            where, "gossamer-proxy is installed", "error", str(error), "install the wheel of this version again"
        )
        return
    version = proxy_version()
    if version is None:
        yield Result(where, "gossamer-proxy starts", "error", f"{proxy} does not run here", "is it for this machine?")
    elif own_version() != version:
        other = f"gossamer is {own_version()}, {proxy} is {version}"
        yield Result(where, "gossamer-proxy has the same version", "warning", other, "install both from one wheel")
    else:
        yield Result(where, "gossamer-proxy is installed")


def host_checks(run: Callable[[], tuple[str, str]] | None = None) -> Iterator[Result]:
    """What this machine can do, as `gossamer-proxy probe` found out: `name=ok` or `name=fail|reason`, a line each."""
    where = "gossamer-host"
    output, error = (run or _probe)()
    found = [line.partition("=") for line in output.splitlines() if "=" in line]
    if not found:
        yield Result(where, "this machine can be probed", "error", error or "gossamer-proxy probe said nothing")
    for name, _, outcome in found:
        verdict, _, reason = outcome.partition("|")
        words = name.replace("-", " ")
        if verdict == "ok":
            yield Result(where, words)
        else:
            result = "warning" if verdict == "warn" else "error"
            yield Result(where, words, result, reason or "not available", HINTS.get(name, ""))


def folder_checks(session: Session) -> Iterator[Result]:
    """Whether `up` can write where it must."""
    where = "pre-gossamer-setup"
    for name, folder in (("state", session.paths.state), ("runtime", session.paths.runtime)):
        place = next(one for one in (folder, *folder.parents) if one.exists())
        if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
            yield Result(where, f"{name} folder can be made")
        else:
            variable = "XDG_STATE_HOME" if name == "state" else "XDG_RUNTIME_DIR"
            yield Result(where, f"{name} folder can be made", "error", f"{place} is not writable", f"set {variable}")


def mesh_checks(session: Session, proxy: bool) -> Iterator[Result]:
    """What the control plane says of itself and, with `proxy`, of the sidecars."""
    from gossamer.cli.version import own_version

    try:
        status = session.admin().status()
    except CliError as error:
        if error.code is not Exit.UNREACHABLE:
            raise
        yield Result("gossamer-existence", "control plane answers", "error", str(error), "gossamer up")
        return
    for one in status.checks:
        if proxy or one.category not in DATA_PLANE:
            yield Result(one.category, one.name, one.result, one.error, one.hint)
    same = status.version == own_version()
    yield Result(
        "gossamer-version",
        "control plane and command have the same version",
        "success" if same else "warning",
        "" if same else f"the control plane is {status.version}, this is {own_version()}",
        "" if same else "`gossamer down`, then `gossamer up`; programs keep running",
    )


def document(found: Sequence[Result]) -> dict[str, Any]:
    """As `linkerd check -o json`."""
    return {
        "success": all(one.result != "error" for one in found),
        "categories": [
            {
                "categoryName": category,
                "checks": [
                    {"description": one.name, "result": one.result}
                    | ({"error": one.error} if one.error else {})
                    | ({"hint": one.hint} if one.hint else {})
                    for one in group
                ],
            }
            for category, group in groupby(found, key=lambda one: one.category)
        ],
    }


def lines(found: Sequence[Result], short: bool = False) -> Iterator[str]:
    for category, group in groupby(found, key=lambda one: one.category):
        shown = [one for one in group if not short or one.result != "success"]
        if not shown:
            continue
        yield category
        yield "-" * len(category)
        for one in shown:
            mark, colour = MARKS[one.result]
            yield f"{paint(mark, colour)} {one.name}"
            if one.error:
                yield f"    {one.error}"
            if one.hint:
                yield f"    hint: {one.hint}"
        yield ""
    failed = sum(one.result == "error" for one in found)
    warned = sum(one.result == "warning" for one in found)
    verdict = f"{failed} of {len(found)} checks failed" if failed else f"{len(found)} checks passed"
    yield f"Status check results are {paint('×', 'red') if failed else paint('√', 'green')} ({verdict}" + (
        f", {warned} with a warning)" if warned and not failed else ")"
    )


def _probe() -> tuple[str, str]:
    from gossamer.binary import ProxyNotFound, find_proxy

    try:
        done = subprocess.run(
            [find_proxy(), "probe"], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except (ProxyNotFound, OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return done.stdout, done.stderr.strip().rpartition("\n")[2]
