"""Ports and labels as `run`'s options write them. Pure; errors are one line naming what was typed."""

from __future__ import annotations

import re
from ipaddress import ip_address

from gossamer.agent.lease import AT_ONCE, Port

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


class InvalidOption(ValueError):
    """What was typed cannot be meant; the message says what could."""


def port(text: str, opaque_ports: tuple[int, ...] = ()) -> Port:
    """`8080`, `http=8080`, `80:8080`, `http=80:8080`: [NAME=]PORT[:TARGET]."""
    name, given, numbers = text.rpartition("=")
    offered, colon, target = numbers.partition(":")
    what = f"--port {text}: expected [NAME=]PORT[:TARGET]"
    number = port_number(offered, what)
    reached = port_number(target, what) if colon else number
    if given and not (_NAME.fullmatch(name) and len(name) <= 63):
        raise InvalidOption(f"{text!r}: a port's name is made of lower-case letters, digits and dashes")
    opaque = number in opaque_ports or reached in opaque_ports
    return Port(name or f"port-{number}", number, reached, opaque)


def port_number(text: str, what: str) -> int:
    """`what`: the option, what was typed, and what was expected."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise InvalidOption(f"{what}, ports from 1 to 65535")
    return int(text)


def label(text: str) -> tuple[str, str]:
    """`key=value`, as Kubernetes labels are."""
    key, given, value = text.partition("=")
    prefix, _, name = key.rpartition("/")
    if not given or not name or not _LABEL.fullmatch(name) or not _LABEL.fullmatch(value) or len(prefix) > 253:
        raise InvalidOption(f"{text!r}: expected KEY=VALUE of letters, digits, '-', '_' and '.'")
    return key, value


def publish(text: str, ports: tuple[Port, ...]) -> str:
    """`[ADDR:]PORT` → `ADDR:PORT:TARGET`. It is the port the service offers; without ports, the one listened on."""
    address, _, number = text.rpartition(":")
    what = f"--publish {text}: expected [ADDR:]PORT"
    wanted = port_number(number, what)
    target = next((one.target for one in ports if wanted in (one.port, one.target)), wanted)
    address = address or "127.0.0.1"
    if not _is_address(address):
        raise InvalidOption(f"{what}, the address as 127.0.0.1 or [::1]")
    return f"{address}:{wanted}:{target}"


def _is_address(text: str) -> bool:
    """An IPv4 address, or an IPv6 address in brackets: names are not looked up here."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return (ip_address(bare).version == 6) == (bare != text)
    except ValueError:
        return False


def ready(text: str, ports: tuple[Port, ...]) -> str:
    """A URL of the program itself, or `none` for a program whose port is given and need not listen."""
    if text == AT_ONCE:
        if not ports:
            raise InvalidOption("--ready none: say with --port what it offers")
        return text
    if not re.fullmatch(r"http://(localhost|127\.0\.0\.1|\[::1\]|0\.0\.0\.0)(:\d{1,5})?(/[!-~]*)?", text):
        raise InvalidOption(f"--ready {text}: expected http://localhost:PORT/PATH, or none")
    return text


def name(text: str, what: str) -> str:
    """A name of a namespace, service, account or replica: a DNS label."""
    if not _NAME.fullmatch(text) or len(text) > 63:
        raise InvalidOption(f"{what} {text[:70]!r}: use 1 to 63 lower-case letters, digits and dashes")
    return text


def service_from(program: str) -> str:
    """A service's name for a program started without `--service`: its file name, made a DNS label."""
    stem = re.sub(r"[^a-z0-9]+", "-", program.rsplit("/", 1)[-1].lower().removesuffix(".py")).strip("-")
    return stem[:40].strip("-") or "program"
