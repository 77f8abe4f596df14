"""Who may ask a policy server: token, TLS, and addresses that other machines can reach."""

from __future__ import annotations

import shutil
import ssl
import subprocess

import pytest
from remote_ends import PATIENT, VALUES, CountingPolicy, first_action
from websockets.sync.client import connect

from roboalign_policy.remote.access import (
    TOKEN_VARIABLE,
    AccessError,
    check_exposure,
    is_authorised,
    is_loopback,
    is_this_machine,
    load_token,
    make_client_tls,
    make_server_tls,
    resolve_address,
)
from roboalign_policy.remote.client import RemoteError, RemotePolicy
from roboalign_policy.remote.messages import Hello
from roboalign_policy.remote.server import PolicyServer
from roboalign_policy.remote.wire import pack

TOKEN = "0123456789abcdef"


def make_certificate(folder, name, *more):
    """A self-signed certificate of 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: there is no certificate to test TLS with")
    files = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-subj", "/CN=policy", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command += ["-out", str(files[0]), "-keyout", str(files[1]), *(more or ["-nodes"])]
    subprocess.run(command, check=True, capture_output=True)
    return files


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "server")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1"])
def test_this_machine_needs_neither_token_nor_tls(address):
    assert is_loopback(address)
    check_exposure(address, "", tls=False, insecure_no_tls=False)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "fe80::1%eth0"])
def test_other_machines_need_a_token_and_tls_unless_told_otherwise(address):
    for tls, insecure in ((False, False), (True, False), (False, True)):
        with pytest.raises(AccessError, match="without a token"):
            check_exposure(address, "", tls, insecure)
    with pytest.raises(AccessError, match="without TLS"):
        check_exposure(address, TOKEN, tls=False, insecure_no_tls=False)
    check_exposure(address, TOKEN, tls=True, insecure_no_tls=False)
    check_exposure(address, TOKEN, tls=False, insecure_no_tls=True)


def test_a_server_does_not_listen_to_other_machines_without_them():
    policy = CountingPolicy()
    with pytest.raises(AccessError, match="found 0.0.0.0, .* without a token"):
        PolicyServer(policy, host="0.0.0.0")
    with pytest.raises(AccessError, match="without TLS"):
        PolicyServer(policy, host="0.0.0.0", token=TOKEN)
    with PolicyServer(policy, host="0.0.0.0", token=TOKEN, insecure_no_tls=True) as server:
        assert server.url == f"ws://0.0.0.0:{server.port}"
        RemotePolicy(f"ws://127.0.0.1:{server.port}", token=TOKEN, **PATIENT).close()


def test_an_empty_host_is_every_interface_and_an_unknown_one_is_named():
    assert not is_loopback(resolve_address("", 0)[1])
    with pytest.raises(AccessError, match="host: found 'no such host'"):
        resolve_address("no such host", 0)


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert load_token() == ""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN[::-1])
    assert load_token() == TOKEN[::-1]
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert load_token(file) == TOKEN


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("short", "found 5 characters, expected 16 to 1024"),
        ("", "found 0 characters"),
        ("x" * 2000, "found 2000 characters"),
        ("two words in a token", "found blanks"),
        ("schlüsselwörter-geheim", "found blanks or other than ASCII"),
        ("line\nbreak-in-a-header", "found blanks"),
    ],
)
def test_a_token_that_is_none_is_refused_without_repeating_it(tmp_path, text, fault):
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(AccessError, match=fault) as error:
        load_token(file)
    assert str(file) in str(error.value)
    assert not text or text not in str(error.value)
    with pytest.raises(AccessError):
        load_token(tmp_path / "none")


def test_only_the_one_right_header_is_authorised():
    right = f"Bearer {TOKEN}"
    assert is_authorised([], "") and is_authorised([right], TOKEN)
    for headers in (
        *([], [""], [TOKEN], [f"bearer {TOKEN}"], [f"{right} "], [right[:-1]], [right, right]),
        *(["Bearer \udce9"], ["Bearer é"], [f"Basic {TOKEN}"]),
    ):
        assert not is_authorised(headers, TOKEN)


def test_without_the_token_no_message_is_read():
    policy = CountingPolicy()
    with PolicyServer(policy, token=TOKEN) as server:
        for wrong in ("", TOKEN[::-1]):
            with pytest.raises(RemoteError, match="asks for a token, and this is not it") as error:
                RemotePolicy(server.url, token=wrong, **PATIENT)
            assert TOKEN not in str(error.value)
        remote = RemotePolicy(server.url, token=TOKEN, **PATIENT)
        assert first_action(remote.act(VALUES, "x")) == 1.0
        remote.close()
    assert len(policy.calls) == 1


def test_tls_is_used_and_the_certificate_is_checked(certificate, tmp_path):
    policy = CountingPolicy()
    with PolicyServer(policy, token=TOKEN, tls=make_server_tls(*certificate)) as server:
        assert server.url == f"wss://127.0.0.1:{server.port}"
        remote = RemotePolicy(server.url, token=TOKEN, ca_file=str(certificate[0]), **PATIENT)
        for call in range(1, 6):
            assert first_action(remote.act(VALUES, "x")) == call
        remote.close()
        with pytest.raises(RemoteError, match="certificate verify failed"):
            RemotePolicy(server.url, token=TOKEN, **PATIENT)
        with pytest.raises(RemoteError, match="certificate verify failed"):
            other = make_certificate(tmp_path, "other")[0]
            RemotePolicy(server.url, token=TOKEN, ca_file=str(other), **PATIENT)
        with pytest.raises(RemoteError, match="certificate verify failed.*localhost"):
            url = f"wss://localhost:{server.port}"
            RemotePolicy(url, token=TOKEN, ca_file=str(certificate[0]), **PATIENT)
        with pytest.raises(RemoteError, match="no connection"):
            RemotePolicy(f"ws://127.0.0.1:{server.port}", token=TOKEN, **PATIENT)
    assert len(policy.calls) == 5


def test_certificates_that_cannot_be_used_are_named(certificate, tmp_path):
    with pytest.raises(AccessError, match="none.pem"):
        make_server_tls(tmp_path / "none.pem", certificate[1])
    with pytest.raises(AccessError, match=r"server\.pem, key .*server\.pem"):
        make_server_tls(certificate[0], certificate[0])
    locked = make_certificate(tmp_path, "locked", "-passout", "pass:secret")
    with pytest.raises(AccessError, match="locked.key: found a key with a passphrase"):
        make_server_tls(*locked)
    with pytest.raises(AccessError, match="ca_file: found .*none.pem"):
        make_client_tls("wss://gpu:8765", tmp_path / "none.pem")
    context = make_client_tls("wss://gpu:8765", certificate[0])
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "url",
    ["gpu:8765", "http://gpu:8765", "ws://", "ws://gpu:99999", "ws://[::1", "ws://me:pw@gpu:1"],
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(AccessError, match="url: found"):
        RemotePolicy(url)


def test_arguments_that_contradict_each_other_are_refused():
    with pytest.raises(AccessError, match="ca_file: .* has no TLS"):
        RemotePolicy("ws://gpu:8765", ca_file="ca.pem")
    with pytest.raises(AccessError, match="token: found 3 characters"):
        RemotePolicy("wss://gpu:8765", token="abc")
    for name in ("timeout_s", "connect_timeout_s"):
        for value in (0.0, -1.0, float("inf"), float("nan")):
            with pytest.raises(ValueError, match=f"{name}: found {value}"):
                RemotePolicy("ws://gpu:8765", **{name: value})


def test_a_token_over_an_open_network_is_warned_of(caplog):
    here = ("ws://127.0.0.1:1", "ws://localhost:1", "ws://[::1]:1")
    assert all(is_this_machine(url) for url in here)
    with pytest.raises(RemoteError, match="no connection"):
        RemotePolicy(here[0], token=TOKEN, connect_timeout_s=5.0)
    assert not caplog.records
    with pytest.raises(RemoteError, match="no connection"):
        RemotePolicy("ws://0.0.0.0:1", token=TOKEN, connect_timeout_s=5.0)
    assert "everybody on the way can read the token" in caplog.text


def test_a_client_that_shows_no_hello_in_time_is_let_go(monkeypatch):
    monkeypatch.setattr("roboalign_policy.remote.server._HELLO_S", 0.1)
    with PolicyServer(CountingPolicy()) as server, connect(server.url, proxy=None) as raw:
        with pytest.raises(Exception, match="1000"):
            raw.recv(30.0)
        with pytest.raises(Exception, match="1000"):
            raw.send(pack(Hello("late")))
