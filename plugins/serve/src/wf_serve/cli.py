"""``wf serve``: a trained model behind HTTP."""

from __future__ import annotations

import errno
import ipaddress
import socket

import click

from wf.errors import UsageError
from wf_cli.common import WfCommand
from wf_cli.output import echo, tell
from wf_run.cli.afterwards import CHECKPOINT, DEVICE, RUN, open_model
from wf_serve.limits import Limits

PORT = 8000


@click.command(cls=WfCommand)
@RUN
@CHECKPOINT
@DEVICE
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    show_default=True,
    help="The address to listen on; 0.0.0.0 gives other machines access, without a login.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="The port; 0 for any free one."
)
@click.option(
    "--max-bytes", type=click.IntRange(1), default=10_000_000, show_default=True, help="The largest request, in bytes."
)
@click.option(
    "--max-records",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="The maximum number of records in a request.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="The maximum number of records of waiting requests in one batch.",
)
@click.option(
    "--batch-wait-ms",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="How long a request waits for others to share a batch with, in milliseconds.",
)
@click.pass_context
def serve(
    ctx: click.Context,
    place: str,
    checkpoint: str,
    device: str | None,
    host: str,
    port: int,
    max_bytes: int,
    max_records: int,
    batch_size: int,
    batch_wait_ms: float,
) -> None:
    """Answer HTTP with the model of RUN, a run directory or a bundle.

    POST /predict takes one record or a list of them as JSON, or uploaded images; /docs describes it with the run's own
    columns, / describes the model, /health tells that the server is up. It stops on Ctrl+C and on SIGTERM.
    """
    listening = bound(host, port)
    with listening:
        trained = open_model(ctx, place, checkpoint, device)
        from wf_serve.app import about, make_app
        from wf_serve.running import run

        limits = Limits(max_bytes, max_records, batch_size, batch_wait_ms / 1000)
        app = make_app(trained, about(trained, place), limits)
        number = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        if not _is_loopback(host):
            tell(f"warning: {host} is open to other machines without a login: anybody who can reach it can use it")
        run(app, listening, lambda: tell(f"serving {place} at http://{shown}:{number} (described at /docs)"))
    echo("stopped")


def bound(host: str, port: int) -> socket.socket:
    """Bind a socket, so that an occupied port is reported before the model is loaded.

    Raises:
        UsageError: If the port is taken, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--host {host} is not an address of this machine: {error.strerror or error}") from error
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(128)  # two may bind one port with SO_REUSEADDR, and only one of them listen
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            other = f"--port {port + 1}" if port < 65535 else "--port 8000"
            raise UsageError(
                f"port {port} of {host} is taken by another process\n"
                f"  choose another: {other}, or --port 0 for any free one"
            ) from error
        if error.errno == errno.EACCES:
            raise UsageError(f"port {port} is not permitted ({error.strerror}): choose one from 1024 on") from error
        raise UsageError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    return made


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
