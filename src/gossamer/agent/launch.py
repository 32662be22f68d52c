"""The launcher's configuration, as text: what `gossamer-proxy run` is told about one workload.

Lines `key=value`, the value to the end of the line, repeated keys are lists (proxy/capture/src/config.rs).
Secrets travel in it (join token, session), so it goes through a memory file, never through arguments or disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gossamer.agent.lease import AT_ONCE, Refused, Registration


def launcher_config(
    answer: Mapping[str, Any], registration: Registration, agent_socket: Path, uid: int, gid: int
) -> str:
    """The whole text. Raises Refused where the answer lacks something or a value would break a line."""
    try:
        lines = [*_workload(answer, registration, agent_socket), f"uid={uid}", f"gid={gid}"]
        lines += [f"env={name}={value}" for name, value in sidecar_environment(answer, registration).items()]
    except (KeyError, TypeError) as error:
        raise Refused(f"the control plane's answer lacks {error}; is it of another version?") from error
    for line in lines:
        if "\n" in line or "\0" in line:
            raise Refused(f"{line.partition('=')[0]} may not contain a line break")
    return "\n".join(lines) + "\n"


def _workload(answer: Mapping[str, Any], registration: Registration, agent_socket: Path) -> Iterator[str]:
    yield f"workload={answer['workload']}"
    yield f"namespace={answer['namespace']}"
    yield f"address={answer['address']}"
    yield f"inbound_port={answer['inbound_port']}"
    yield f"token={answer['token']}"
    yield f"session={answer['session']}"
    yield f"agent_socket={agent_socket}"
    yield f"log_file={answer['log_file']}"
    for folder in hidden(answer):
        yield f"hide={folder}"
    for network in answer["cluster_networks"]:
        yield f"captured={network}"
    for number in registration.host_ports:
        yield f"host_port={number}"
    for published in registration.publish:
        yield f"publish={published}"
    for port in registration.ports:
        yield f"port={port.target}"
    if registration.ready and registration.ready != AT_ONCE:
        yield f"ready_url={registration.ready}"


def hidden(answer: Mapping[str, Any]) -> list[str]:
    """Folders a meshed program must not see (seams §9): the files of this mesh and of its siblings."""
    folders = [str(Path(answer[name]).parent) for name in ("state_dir", "runtime_dir")]
    return [folder for folder in dict.fromkeys(folders) if folder != "/"]


def sidecar_environment(answer: Mapping[str, Any], registration: Registration) -> dict[str, str]:
    """The sidecar's settings (reference §2.2 and its own), without those the launcher adds about descriptors."""
    networks = ",".join(answer["cluster_networks"])
    targets = ",".join(str(port.target) for port in registration.ports)
    settings = {
        "GOSSAMER_PROXY_CONTROL_ADDR": f"tls:{answer['control_address']}",
        "GOSSAMER_PROXY_CONTROL_NAME": answer["control_name"],
        "GOSSAMER_PROXY_TRUST_ANCHORS_FILE": answer["trust_anchors_file"],
        "GOSSAMER_PROXY_TOKEN_FROM": "launcher",
        "GOSSAMER_PROXY_ADMIN_ADDR": f"unix:{answer['admin_socket']}",
        "GOSSAMER_PROXY_SOURCE_ADDR": answer["address"],
        "GOSSAMER_PROXY_PUBLISH": ",".join(registration.publish),
        "GOSSAMER_PROXY_HOST_PORTS": ",".join(str(number) for number in registration.host_ports),
        "LINKERD2_PROXY_IDENTITY_LOCAL_NAME": answer["identity"],
        "LINKERD2_PROXY_POLICY_WORKLOAD": answer["policy_workload"],
        "LINKERD2_PROXY_DESTINATION_CONTEXT": answer["context_token"],
        "LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS": networks,
        "LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS": networks,
        "LINKERD2_PROXY_INBOUND_LISTEN_ADDR": f"{answer['address']}:{answer['inbound_port']}",
        "GOSSAMER_PROXY_ALSO_LISTEN": answer.get("listen") or answer.get("advertised", ""),
        "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY": answer["default_policy"],
        # A program whose queue of connections is full keeps callers waiting, as without a mesh; it does not fail them.
        "LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT": "10s",
        "LINKERD2_PROXY_INBOUND_PORTS": targets,
        "LINKERD2_PROXY_LOG": os.environ.get("GOSSAMER_PROXY_LOG", ""),
    }
    return {name: value for name, value in settings.items() if value}


def memory_file(text: str) -> int:
    """An inheritable descriptor at the start of a file that exists in memory only."""
    descriptor = os.memfd_create("gossamer-run", 0)
    data = text.encode()
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return descriptor
