"""Who may ask a policy server: token, TLS, and what has to hold before it listens to a network."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

TOKEN_VARIABLE = "ROBOALIGN_TOKEN"
_MIN_TOKEN, _MAX_TOKEN = 16, 1024


class AccessError(ValueError):
    """A token, certificate or address that cannot be used; says what was found and expected."""


def load_token(file: str | Path = "") -> str:
    """The token in ``file``, else the one in the environment variable, else an empty text.

    Blanks and line ends around it do not count. There is no option for the token itself: a command
    line can be read by everybody on the machine.

    Raises:
        AccessError: the file cannot be read, or its content (or the variable's) is no token.
    """
    if file:
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AccessError(f"{file}: found no readable token: {error}") from error
        return check_token(text, str(file))
    text = os.environ.get(TOKEN_VARIABLE, "").strip()
    return check_token(text, f"${TOKEN_VARIABLE}") if text else ""


def check_token(token: str, source: str = "token") -> str:
    """The token itself.

    Raises:
        AccessError: it is short enough to be guessed, or cannot stand in an HTTP header; the text
            does not repeat it.
    """
    if not _MIN_TOKEN <= len(token) <= _MAX_TOKEN:
        expected = f"{_MIN_TOKEN} to {_MAX_TOKEN}"
        raise AccessError(f"{source}: found {len(token)} characters, expected {expected}")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AccessError(f"{source}: found blanks or other than ASCII, expected letters, digits")
    return token


def authorization_header(token: str) -> dict[str, str]:
    """Headers that a client sends."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_authorised(headers: Sequence[str], token: str) -> bool:
    """Hold the Authorization headers of a request against the token, in constant time."""
    if not token:
        return True
    expected = f"Bearer {token}".encode()
    found = headers[0].encode("utf-8", "backslashreplace") if len(headers) == 1 else b""
    return hmac.compare_digest(found, expected)


def resolve_address(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """Family and address to listen on; an empty host stands for every interface.

    Raises:
        AccessError: the host has no address on this machine's networks.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError, OverflowError) as error:
        raise AccessError(f"host: found {host!r}: {error}") from error
    family, _, _, _, address = found[0]
    return family, str(address[0])


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address (a number, not a name)."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def check_exposure(address: str, token: str, tls: bool, insecure_no_tls: bool) -> None:
    """What other machines can reach needs a token and TLS.

    Raises:
        AccessError: one of them is missing, unless ``insecure_no_tls`` says that TLS may.
    """
    if token:
        check_token(token)
    if is_loopback(address):
        return
    if not token:
        raise AccessError(
            f"host: found {address}, which other machines can reach, without a token; expected "
            f"one in a file or in ${TOKEN_VARIABLE}, or host 127.0.0.1"
        )
    if not tls and not insecure_no_tls:
        raise AccessError(
            f"host: found {address}, which other machines can reach, without TLS; expected a "
            "certificate and its key, or host 127.0.0.1 behind an ssh tunnel"
        )


def make_server_tls(certificate: str | Path, key: str | Path) -> ssl.SSLContext:
    """TLS of a server.

    Args:
        certificate: PEM file, with the chain that leads to it.
        key: PEM file without a passphrase.

    Raises:
        AccessError: a file cannot be read, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def refuse() -> NoReturn:  # instead of a question in the terminal
        raise AccessError(f"{key}: found a key with a passphrase, expected one without")

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except (OSError, ssl.SSLError) as error:
        raise AccessError(f"certificate {certificate}, key {key}: {error}") from error
    return context


def make_client_tls(url: str, ca_file: str | Path = "") -> ssl.SSLContext | None:
    """TLS of a client, None for ws://; it checks the server's certificate and name, always.

    Args:
        url: ws://host:port or wss://host:port.
        ca_file: PEM file of the certificates that are believed; empty: the system's.

    Raises:
        AccessError: the address is of another kind, or the file holds no certificate.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:  # brackets, or a port beyond 65535
        sound = False
    if not sound:
        raise AccessError(f"url: found {url!r}, expected ws://host:port or wss://host:port")
    if parts.username or parts.password:
        raise AccessError("url: found a user or password in it, expected the token apart")
    if parts.scheme == "ws":
        if ca_file:
            raise AccessError(f"ca_file: found {ca_file}, but {url} has no TLS; expected wss://")
        return None
    try:
        return ssl.create_default_context(cafile=str(ca_file) or None)
    except (OSError, ssl.SSLError) as error:
        raise AccessError(f"ca_file: found {ca_file}: {error}") from error


def is_this_machine(url: str) -> bool:
    """Whether a server's address does not leave this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return is_loopback(host)
    except ValueError:  # a name
        return host == "localhost"
