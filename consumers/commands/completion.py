"""``consumer completion``: the script that completes this program's command line in a shell."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")
# What click looks for in the environment of a program called ``consumer``.
_VARIABLE = "_CONSUMER_COMPLETE"

_EPILOG = """
To install it, write it where your shell looks for it; for zsh, ~/.zfunc has to be in fpath before
compinit runs. It works in shells that are started afterwards.

\b
Examples:
  consumer completion bash \\
      > ~/.local/share/bash-completion/completions/consumer
  consumer completion zsh > ~/.zfunc/_consumer
  consumer completion fish > ~/.config/fish/completions/consumer.fish
"""


@click.command("completion", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion_command(shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    It completes commands, options, their choices, files, and the names of consumers. In bash 4.4
    or newer, for this shell alone: source <(consumer completion bash)
    """
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None  # click brings all of _SHELLS along
    program = click.get_current_context().find_root().command
    click.echo(completer(program, {}, "consumer", _VARIABLE).source(), nl=False)


def complete_consumer(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For ``shell_complete`` of options that take the name of a consumer."""
    from consumers.registry import CONSUMERS

    return [each.name for each in CONSUMERS if each.name.startswith(incomplete)]
