"""``vgf completion bash|zsh|fish``: a script for the shell. Words are in the script: completing starts no Python.

The script completes subcommands, keys as ``key=``, and the values of keys that have a fixed list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vgf.check import CHOICES
from vgf.commands import COMMANDS, Parser
from vgf.complaints import group_options
from vgf.terminal.keys import GROUPS, keys

__all__ = ["run", "script"]

_BASH = """# completion of vgf for bash; put into ~/.bashrc:  eval "$(vgf completion bash)"
_vgf_words='{words}'
_vgf_complete() {{
  local line="${{COMP_LINE:0:COMP_POINT}}"
  local current="${{line##*[[:space:]]}}"
  local words="$_vgf_words"
  case "$current" in
{cases}
  esac
  local IFS=$'\\n '
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ ${{#COMPREPLY[@]}} -eq 0 ]] && COMPREPLY=($(compgen -f -- "${{current#*=}}"))
  # bash splits words at '=': what stands before it is there already
  if [[ "$current" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
    COMPREPLY=("${{COMPREPLY[@]#"${{current%%=*}}="}}")
  fi
  [[ ${{#COMPREPLY[@]}} -eq 1 && "${{COMPREPLY[0]}}" == *= ]] && compopt -o nospace
}}
complete -F _vgf_complete vgf
"""
_ZSH = """#compdef vgf
# completion of vgf for zsh; put into ~/.zshrc, after compinit:  eval "$(vgf completion zsh)"
_vgf() {{
  local -a words_vgf
  words_vgf=({words})
  case "$PREFIX" in
{cases}
  esac
  compadd -S '' -a words_vgf || _files
}}
compdef _vgf vgf
"""
_FISH = """# completion of vgf for fish; save as ~/.config/fish/completions/vgf.fish
{lines}
"""


def run(arguments: Sequence[str]) -> None:
    """Print the script of one shell."""
    parser = Parser("completion")
    parser.add_argument("shell", choices=sorted(_SHELLS), help="whose script is printed")
    print(script(parser.parse_args(list(arguments)).shell), end="")


def script(shell: str) -> str:
    """The completion script of ``bash``, ``zsh`` or ``fish``."""
    return _SHELLS[shell](_values())


def _values() -> dict[str, list[str]]:
    """Keys that take one of a fixed list -> that list; all other keys -> nothing."""
    listed: dict[str, list[str]] = {key.name: [] for key in keys()}
    listed |= {name: list(valid) for name, valid in CHOICES.items()}
    listed |= {group: group_options(group) for group in GROUPS}
    return listed


def _bash(values: Mapping[str, list[str]]) -> str:
    cases = "\n".join(f"    {key}=*) words='{' '.join(_pairs(key, valid))}' ;;" for key, valid in _fixed(values))
    return _BASH.format(words=" ".join([*COMMANDS, *(f"{key}=" for key in values)]), cases=cases)


def _zsh(values: Mapping[str, list[str]]) -> str:
    cases = "\n".join(f"    {key}=*) words_vgf=({' '.join(_pairs(key, valid))}) ;;" for key, valid in _fixed(values))
    return _ZSH.format(words=" ".join([*COMMANDS, *(f"{key}=" for key in values)]), cases=cases)


def _fish(values: Mapping[str, list[str]]) -> str:
    lines = [
        f"complete -c vgf -n __fish_is_first_arg -a {name} -d '{_plain(command.does)}'"
        for name, command in COMMANDS.items()
    ]
    told = {key.name: _plain(key.meaning) for key in keys()}
    for key, valid in values.items():
        words = " ".join(_pairs(key, valid)) if valid else f"{key}="
        lines.append(f"complete -c vgf -a '{words}' -d '{told.get(key, '')}'")
    return _FISH.format(lines="\n".join(lines))


def _plain(text: str) -> str:
    """Text that can stand between single quotes of fish."""
    return text.replace("\\", "").replace("'", "")


def _fixed(values: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    return [(key, valid) for key, valid in values.items() if valid]


def _pairs(key: str, valid: Sequence[str]) -> list[str]:
    return [f"{key}={value}" for value in valid]


_SHELLS: dict[str, Callable[[Mapping[str, list[str]]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
