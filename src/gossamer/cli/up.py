"""`gossamer up`: start the control plane of a mesh on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gossamer.cli.errors import CliError, Exit
from gossamer.cli.root import Command, Settings
from gossamer.cli.stores import given as given_store
from gossamer.cli.stores import store_options

POLICIES = (
    "all-authenticated",
    "all-unauthenticated",
    "cluster-authenticated",
    "cluster-unauthenticated",
    "deny",
    "audit",
)

# Not resolved: what stands there is replaced by swapping links.
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("up", cls=Command, short_help="Start the control plane.")
@click.option(
    "--dir",
    "folders",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="Also take resources from the files of a folder, and watch it; may be given again.",
)
@click.option("--trust-domain", metavar="NAME", help="Trust domain of a new mesh (default: cluster.local).")
@click.option("--trust-anchors", metavar="FILE", type=FILE, help="Bring your own trust anchors (PEM).")
@click.option("--issuer-cert", metavar="FILE", type=FILE, help="Bring your own issuer: its certificate (PEM).")
@click.option("--issuer-key", metavar="FILE", type=FILE, help="Bring your own issuer: its key (PEM).")
@click.option(
    "--issuer-dir",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Bring your own: tls.crt, tls.key, ca.crt, as cert-manager and Vault write them. Watched, as those above.",
)
@click.option(
    "--automatic-rotation",
    type=click.Choice(("on", "off")),
    help="Replace issuer and trust anchor by age, where the anchor's key is here (default: on).",
)
@click.option(
    "--default-inbound-policy",
    type=click.Choice(POLICIES),
    help="For ports without a Server (default: all-authenticated).",
)
@click.option("--egress-namespace", metavar="NAME", help="Whose EgressNetworks are for all (default: linkerd-egress).")
@click.option(
    "--allow-l5d-request-headers", is_flag=True, help="Let programs set retries and timeouts by l5d-* headers."
)
@click.option("--leaf-lifetime", metavar="TIME", help="Lifetime of workloads' certificates: 24h, 90m, 30s.")
@click.option("--advertise", metavar="ADDR[:PORT]", help="Let other machines join and reach this one here (or: none).")
@click.option("--advertise-range", metavar="CIDR", help="Network of this machine with an address for each workload.")
@click.option("--node", metavar="NODE", help="Node label of workloads here (default: the host's name).")
@click.option("--zone", metavar="ZONE", help="Zone label of workloads here.")
@store_options
@click.option("--foreground", is_flag=True, help="Stay in the foreground, for service managers.")
@click.pass_obj
def command(
    settings: Settings,
    /,
    folders: tuple[Path, ...],
    trust_domain: str | None,
    trust_anchors: Path | None,
    issuer_cert: Path | None,
    issuer_key: Path | None,
    issuer_dir: Path | None,
    automatic_rotation: str | None,
    default_inbound_policy: str | None,
    egress_namespace: str | None,
    allow_l5d_request_headers: bool,
    leaf_lifetime: str | None,
    advertise: str | None,
    advertise_range: str | None,
    node: str | None,
    zone: str | None,
    foreground: bool,
    **store: str | Path | None,
) -> None:
    """Start the control plane of a mesh on this machine; returns once it serves.

    The first start makes a trust anchor and an issuer, unless you bring your own. No root is needed.
    """
    if bool(issuer_cert) != bool(issuer_key) or (issuer_cert and not trust_anchors):
        raise click.UsageError("--issuer-cert and --issuer-key belong together, and need --trust-anchors")
    if trust_anchors and not issuer_cert:
        raise click.UsageError("--trust-anchors needs --issuer-cert and --issuer-key; or use --issuer-dir")
    if issuer_dir and issuer_cert:
        raise click.UsageError("--issuer-dir takes the place of --trust-anchors, --issuer-cert and --issuer-key")
    given = {
        "--trust-domain": trust_domain,
        **{
            flag: None if path is None else path.absolute()
            for flag, path in (
                ("--trust-anchors", trust_anchors),
                ("--issuer-cert", issuer_cert),
                ("--issuer-key", issuer_key),
                ("--issuer-dir", issuer_dir),
            )
        },
        "--automatic-rotation": automatic_rotation,
        "--default-inbound-policy": default_inbound_policy,
        "--egress-namespace": egress_namespace,
        "--l5d-request-headers": "on" if allow_l5d_request_headers else None,
        "--leaf-lifetime": None if leaf_lifetime is None else str(seconds(leaf_lifetime)),
        "--advertise": advertise,
        "--advertise-range": advertise_range,
        "--node": node,
        "--zone": zone,
        **{"--" + name.replace("_", "-"): value for name, value in given_store(store).items()},
    }
    arguments = [part for folder in folders for part in ("--dir", str(folder))]
    arguments += [part for flag, value in given.items() if value is not None for part in (flag, str(value))]
    _start(settings, arguments, foreground)


def _start(settings: Settings, arguments: list[str], foreground: bool) -> None:
    from gossamer.agent import controlplane
    from gossamer.agent.start import inside_a_mesh

    paths = settings.session().local("up")
    if inside_a_mesh():
        raise CliError("this program is itself in a mesh; run `gossamer up` outside of `gossamer run`")
    if controlplane.joined(paths):
        raise CliError(f"this machine has joined mesh {paths.mesh}; `gossamer leave` first, or use another --mesh")
    if controlplane.serving(paths):
        _answers(settings)
        ignored = f"; {' '.join(arguments[::2])} not applied: `gossamer down` first" if arguments else ""
        click.echo(f"the control plane of mesh {paths.mesh} already runs{ignored}")
        return
    try:
        if foreground:
            controlplane.prepare(paths)
            program = controlplane.command(paths, arguments)
            os.execv(program[0], program)  # noqa: S606 - no shell is wanted
        controlplane.start(paths, arguments)
    except controlplane.NotStarted as error:
        raise CliError(str(error)) from error
    click.echo(f"the control plane of mesh {paths.mesh} runs; next: gossamer run --service NAME -- CMD...")


def _answers(settings: Settings) -> None:
    """One that accepts calls and answers none is not one that runs."""
    session = settings.session()
    try:
        session.admin().status()
    except CliError as error:
        if error.code is not Exit.UNREACHABLE:
            raise
        flag = "" if session.mesh == "default" else f" --mesh {session.mesh}"
        raise CliError(
            f"the control plane of mesh {session.mesh} runs but does not answer; "
            f"end it with `gossamer down{flag}`, then start it again (its log is {session.paths.log})",
            Exit.UNREACHABLE,
        ) from error


def seconds(text: str) -> int:
    """`24h`, `90m`, `30s`, `7d`, in seconds; at least one."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isascii() or not number.isdigit() or len(number) > 9 or int(number) == 0:
        raise click.UsageError(f"{text!r}: expected a time like 30s, 90m, 24h or 7d")
    return int(number) * units[unit]
