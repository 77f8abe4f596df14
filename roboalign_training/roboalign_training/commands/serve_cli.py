"""`roboalign serve POLICY`: a checkpoint answers robots over the network; needs no ROS."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roboalign_policy.core.contract.contract import ContractError, load_contract
from roboalign_policy.core.contract.files import check_policy_folder
from roboalign_policy.core.drive.cadence import wait_passively
from roboalign_policy.core.policy.options import CHUNKING, FRESH, PolicyOptions
from roboalign_policy.remote.access import (
    TOKEN_VARIABLE,
    AccessError,
    check_exposure,
    is_loopback,
    load_token,
    make_server_tls,
    resolve_address,
)
from roboalign_training.shared.old_names import add_old_words, take_old_words

if TYPE_CHECKING:
    from roboalign_policy.remote.server import PolicyServer

PORT = 8765
EXIT_REFUSED, EXIT_STOPPED = 2, 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign serve",
        description="Run a checkpoint on this machine for policy_node on a robot's computer.",
        allow_abbrev=False,  # so that nobody's --token TOKEN passes for --token-file
        epilog=f"The token is read from --token-file, else from ${TOKEN_VARIABLE}.",
    )
    p.add_argument("--policy", metavar="FOLDER", help="checkpoint folder")
    add_old_words(p)
    p.add_argument(
        "--contract",
        default="",
        help="robot contract, path or packaged name (default: the one stored in the checkpoint)",
    )
    p.add_argument(
        "--host",
        default="127.0.0.1",
        help="name or address to listen on; any that other machines can reach needs a token and "
        "TLS (default: %(default)s)",
    )
    p.add_argument(
        "--port", type=int, default=PORT, help="TCP port, 0: a free one (default: %(default)s)"
    )
    p.add_argument("--token-file", default="", help="file with the token that clients must show")
    p.add_argument("--certificate", default="", help="PEM file of the certificate, for TLS")
    p.add_argument("--key", default="", help="PEM file of its key, without a passphrase")
    p.add_argument(
        "--insecure-no-tls",
        action="store_true",
        help="listen to other machines without TLS: token and pictures can be read on the way",
    )
    p.add_argument("--device", default="auto", help="torch device (default: %(default)s)")
    p.add_argument(
        "--num-threads", type=int, default=0, help="torch threads, 0: torch's own choice"
    )
    p.add_argument(
        "--decoder",
        choices=("auto", "fast", "flow"),
        default="auto",
        help="tokens or action head, where a policy has both (default: as its folder says)",
    )
    p.add_argument(
        "--chunking",
        choices=CHUNKING,
        default=FRESH,
        help="how a chunk continues the one that is executed, as the parameter of policy_node "
        "says (default: %(default)s)",
    )
    p.add_argument("--no-think", action="store_true", help="act without reasoning first")
    p.add_argument(
        "--max-think-tokens", type=int, default=48, help="longest reasoning (default: %(default)s)"
    )
    p.add_argument(
        "--attempts",
        type=int,
        default=3,
        help="answers asked for until one is valid (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until ctrl-C.

    Returns:
        0 when stopped, 2 when the options or the checkpoint are refused, 130 when stopped while
        loading.
    """
    options = parser()
    args = options.parse_args(argv)
    take_old_words(options, args, ("policy",))
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("roboalign_policy.remote").setLevel(logging.INFO)
    try:
        return _serve(args)
    except (AccessError, ContractError, OSError, ValueError) as error:  # ModelError is the last
        print(f"roboalign serve: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("roboalign serve: stopped while loading", file=sys.stderr)
        return EXIT_STOPPED


def _serve(args: argparse.Namespace) -> int:
    # Before the model is loaded, which may take minutes.
    if bool(args.certificate) != bool(args.key):
        raise AccessError("certificate, key: found one of them, expected both or none")
    if not 0 <= args.port <= 65535:
        raise AccessError(f"port: found {args.port}, expected 0 to 65535")
    tls = make_server_tls(args.certificate, args.key) if args.certificate else None
    token = load_token(args.token_file)
    address = resolve_address(args.host, args.port)[1]
    check_exposure(address, token, tls is not None, args.insecure_no_tls)
    if tls is None and not is_loopback(address):
        _warn(f"{address} has NO TLS: whoever is on the network can read token and pictures,")
        _warn("and can answer the robot in place of this server")
    check_policy_folder(args.policy)
    contract = load_contract(args.contract) if args.contract else None
    _say(f"loading {args.policy} ...")
    wait_passively()
    # Here, so that help and a wrong option do not wait for torch.
    from roboalign_policy.models.open_policy import open_policy
    from roboalign_policy.remote.server import PolicyServer

    options = PolicyOptions(
        think=not args.no_think,
        max_think_tokens=args.max_think_tokens,
        attempts=args.attempts,
        device=args.device,
        num_threads=args.num_threads,
        decoder=args.decoder,
        chunking=args.chunking,
    )
    policy = open_policy(args.policy, contract, options)
    server = PolicyServer(
        policy,
        host=args.host,
        port=args.port,
        token=token,
        tls=tls,
        insecure_no_tls=args.insecure_no_tls,
    )
    _say(f"policy {policy.hash}")
    _say(policy.describe())
    _say(f"contract {policy.contract.name}, chunks of {policy.horizon} x {policy.dims}")
    _say(f"token {'required' if token else 'none'}, TLS {'on' if tls else 'off'}")
    return _wait(server)


def _wait(server: PolicyServer) -> int:
    """Until a signal comes; a second one ends the process at once."""
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in _SIGNALS}
    _say(f"listening on {server.url}; ctrl-C stops")
    asked.wait()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _say("stopping")
    if not server.close():  # Python ends its threads before itself, so this one's signals stay
        _say("the present inference still runs; ctrl-C again does not wait for it")
        return 0
    for number, handler in before.items():
        signal.signal(number, handler)
    return 0


def _say(text: str) -> None:
    print(f"roboalign serve: {text}", flush=True)


def _warn(text: str) -> None:
    print(f"roboalign serve: WARNING: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
