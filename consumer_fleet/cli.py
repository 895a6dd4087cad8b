"""The command line. Each command imports what it needs: a spawned worker re-imports this module
before it does anything else, and ``--help`` should not wait for librdkafka.
"""

from __future__ import annotations

import difflib
import errno
import gc
import importlib
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NoReturn

import click
from click.shell_completion import get_completion_class

from consumer_fleet.bootstrap.redaction import guard, learn_option
from consumer_fleet.command_options import HELP_WIDTH, CommandGroup
from consumer_fleet.errors import (
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_FORCED_INT,
    EXIT_FORCED_TERM,
    EXIT_NO_READER,
    EXIT_OUTPUT,
    FleetError,
)
from consumer_fleet.printable import printable_lines

_REPORT_TIMEOUT_S: Final = 2.0
_EXIT_CODES = """
\b
Exit codes:
  0    done, or stopped by one signal
  1    a check found a problem (doctor, status --check), or there was no
       message (record, replay)
  2    the command line is wrong, or requires confirmation by --yes
  65   bad data: a rejected message without a dead-letter topic, a damaged
       recording
  69   no Kafka broker answers
  70   a bug in this program
  71   the system ends the workers while they boot, as when memory runs out
  74   a file, or the output, can't be written
  75   the group has members: stop them first
  78   the configuration is wrong
  130  forced by a second INT, INT during the boot, or a replay that INT ended
       early; 143 the same by TERM
  141  the reader of the output is gone, as after "| head"

\b
Examples:
  consumer run --topic events --stop-at-end
  consumer list
  consumer config --example > config.yml
  consumer run --topic ingest-events --config config.yml
"""


# The package of each command, imported when it is called. Its ``command.py`` has ``NAME_command``.
_COMMANDS = {
    "completion": "consumer_fleet.cli",
    "config": "consumer_fleet.config_command",
    "dlq": "consumer_fleet.dlq.command",
    "doctor": "consumer_fleet.doctor.command",
    "inspect": "consumer_fleet.inspector.command",
    "list": "consumer_fleet.consumers.command",
    "offsets": "consumer_fleet.offsets.command",
    "record": "consumer_fleet.record.command",
    "replay": "consumer_fleet.replay.command",
    "run": "consumer_fleet.run.command",
    "status": "consumer_fleet.status.command",
    "tail": "consumer_fleet.tail.command",
}


class _Commands(CommandGroup):
    """Turns errors into one line on stderr and a named exit code; a traceback means our bug."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **kwargs: Any) -> Any:
        is_own_process = args is None
        if is_own_process:
            # The first process of a container gets no signal that it has no handler for.
            signal.signal(signal.SIGTERM, _end_by_term)
        _open_closed_streams()
        guard(sys.stdout)
        guard(sys.stderr, may_be_lost=True)
        # click repeats what it does not expect before any option is read.
        learn_option(sys.argv[1:] if args is None else list(args))
        try:
            return super().main(args, *more, **kwargs)
        finally:
            if is_own_process:
                # The interpreter's last search for garbage takes as long as many a command.
                gc.freeze()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def find_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[name])
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            if not close:
                raise
            hint = f"{error.message} Did you mean {close[0]!r}?"
            raise click.UsageError(hint, ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                if sys.stdout is not None:  # it may be closed from the start
                    sys.stdout.flush()
        except FleetError as error:
            # It may repeat names from outside: a topic in a file, a member of a group.
            click.echo(f"consumer: {printable_lines(str(error))}", err=True)
            if error.exit_code == EXIT_BUG:
                _report(error)
            sys.exit(error.exit_code)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except KeyboardInterrupt:
            sys.exit(EXIT_FORCED_INT)
        except Exception as error:
            if isinstance(error, OSError):
                _exit_if_output_is_lost(error)
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                    click.echo(
                        f"consumer: too many open files: {error.strerror}; the limit of this "
                        f"process is {limit} (ulimit -n). Raise it to 1024 or more.",
                        err=True,
                    )
                    sys.exit(EXIT_CONFIGURATION)
            traceback.print_exc()
            click.echo("consumer: this is a bug in consumer-fleet; the trace is above", err=True)
            _report(error)
            sys.exit(EXIT_BUG)


def _report(error: Exception) -> None:
    """Report a bug as a Sentry event, where this process has come as far as to set that up."""
    if "consumer_fleet.capture.own_events" in sys.modules:
        from consumer_fleet.capture.own_events import report_last_bug  # noqa: PLC0415 - slow

        report_last_bug(error, _REPORT_TIMEOUT_S)


def _end_by_term(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(EXIT_FORCED_TERM)


def _open_closed_streams() -> None:
    """Point standard streams that are closed to nowhere, in this process and in its workers.

    Otherwise the next file or socket would get the number of one, and whatever a library writes.
    ``sys.stdout`` stays None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")


def _exit_if_output_is_lost(error: OSError) -> None:
    """Exit if the output can't be written: the pipe was closed, as by ``| head``, or the disk is
    full.
    """
    if sys.stdout is None:  # closed from the start: nothing is printed
        return
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not is_full and not (error.errno == errno.EPIPE and _nobody_reads()):
        return
    # The interpreter flushes once more at its end, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not is_full:
        sys.exit(EXIT_NO_READER)
    click.echo(f"consumer: the output can't be written: {error.strerror}", err=True)
    sys.exit(EXIT_OUTPUT)


def _nobody_reads() -> bool:
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in output.poll(0))


@click.group(cls=_Commands, epilog=_EXIT_CODES, context_settings={"max_content_width": HELP_WIDTH})
@click.version_option(package_name="consumer-fleet")
def main() -> None:
    """Carry Sentry events from Kafka topics to Sentry-compatible upstreams and lose none."""


_SHELLS = ("bash", "zsh", "fish")
# The variable that click reads in a program called ``consumer``.
_VARIABLE = "_CONSUMER_COMPLETE"

_COMPLETION_EPILOG = """
To install the script, write it where your shell looks for completions; for zsh, ~/.zfunc must be
in fpath before compinit runs. Shells that you start afterwards have it.

\b
Examples:
  consumer completion bash \\
      > ~/.local/share/bash-completion/completions/consumer
  consumer completion zsh > ~/.zfunc/_consumer
  consumer completion fish > ~/.config/fish/completions/consumer.fish
"""


@click.command("completion", epilog=_COMPLETION_EPILOG)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion_command(shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    It completes commands, options, their choices, files, and the names of consumers. For the
    current shell only, bash 4.4 or newer: source <(consumer completion bash)
    """
    completer = get_completion_class(shell)
    assert completer is not None  # click supports all of _SHELLS
    click.echo(completer(main, {}, "consumer", _VARIABLE).source(), nl=False)
