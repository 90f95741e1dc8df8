"""How does a shell learn to complete commands? From the parser itself, so it knows what there is and nothing else."""

import os
import sys
from pathlib import Path
from typing import Literal

from gateway.cli.main import app
from gateway.cli.terminal.output import Usage

Shell = Literal["bash", "zsh", "fish"]
ZSH = """
if [[ "$funcstack[1]" == _entrepot ]]; then
  _cyclopts_entrepot "$@"
elif (( $+functions[compdef] )); then
  compdef _cyclopts_entrepot entrepot
fi
"""
"""What makes the function of the parser that of a file `_entrepot`, and of one that is sourced."""

SHELLS: tuple[Shell, ...] = ("bash", "zsh", "fish")


def completion(shell: Shell | None = None, /) -> None:
    """Print what lets a shell complete the commands and options.

    bash: `source <(entrepot completion bash)` in ~/.bashrc. zsh: the same behind compinit, or
    `entrepot completion zsh > DIR/_entrepot`, where DIR is in fpath. fish: `entrepot completion fish >
    ~/.config/fish/completions/entrepot.fish`.

    Parameters
    ----------
    shell
        The one of SHELL without.
    """
    chosen = shell or _here()
    sys.stdout.write(app.generate_completion(shell=chosen) + (ZSH if chosen == "zsh" else ""))


def _here() -> Shell:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise Usage("It is not said for which shell.", f"One of {', '.join(SHELLS)}.")
    return name
