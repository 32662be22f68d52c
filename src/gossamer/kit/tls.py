"""TLS to exactly one name: the certificate's one subject alternative name is compared, byte by byte.

Host name matching as browsers do it (wildcards, several names, addresses) would take others for the one that is meant.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509

# Milliseconds after which data that nobody acknowledges ends a connection: the other machine may be gone.
UNACKNOWLEDGED = 5_000


class Untrusted(Exception):
    """Somebody else answers than was meant, or nobody that can be believed; one line."""


def connect(
    address: tuple[str, int],
    timeout: float,
    name: str,
    anchors: Sequence[bytes] = (),
    identity: Path | None = None,
) -> ssl.SSLSocket:
    """A connection that speaks HTTP/2, verified to `name` by `anchors` (DER); without anchors it is not verified.

    `identity`: a file with a key and its certificate chain, to show. Raises `Untrusted` and OSError.
    """
    context = _context(anchors, identity) if anchors else _unverified()
    raw = socket.create_connection(address, timeout)
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
        secured = context.wrap_socket(raw, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        raw.close()
        why = f"its certificate is not to be trusted ({error.verify_message})"
        raise Untrusted(f"{address[0]}:{address[1]}: {why}") from error
    except OSError:
        raw.close()
        raise
    if anchors:
        found = names(secured.getpeercert(binary_form=True) or b"")
        if found != [name]:
            secured.close()
            raise Untrusted(f"{address[0]}:{address[1]} is {', '.join(found) or 'nobody'}, not {name}")
    return secured


def names(certificate: bytes) -> list[str]:
    """Every subject alternative name of a certificate (DER), whatever its kind."""
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return []
    return [str(one.value) for one in found]


def _context(anchors: Sequence[bytes], identity: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The name is compared here, exactly.
    context.check_hostname = False
    # An anchor is trusted for what it is, also where another authority signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=b"".join(anchors))
    if identity is not None:
        context.load_cert_chain(identity)
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def hang_up(connection: socket.socket) -> None:
    """Ends what another thread may be waiting for."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
