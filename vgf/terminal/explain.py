"""``vgf explain NAME``: what a key, a group of keys, or one of the names a group takes (a method, a preset) is."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import OmegaConf

from vgf.commands import Parser
from vgf.complaints import group_options
from vgf.errors import UserError, did_you_mean
from vgf.language.rules import TEXT_RULES
from vgf.methods import load_method
from vgf.nets.extras import extras_for
from vgf.report.facts import flatten
from vgf.terminal.help import columns
from vgf.terminal.keys import GROUPS, Key, config_groups, keys, option_meaning, option_text, valid_values
from vgf.transport import RULES

__all__ = ["explain", "run"]

_PAPERS = {
    "VGF": "VGF, https://arxiv.org/abs/2604.14265",
    "QGF": "QGF, https://arxiv.org/abs/2606.11087",
    "QPILOTS": "QPILOTS, https://arxiv.org/abs/2606.14801",
    "CFGRL": "CFGRL, https://arxiv.org/abs/2505.23458",
    "IDQL": "IDQL, https://arxiv.org/abs/2304.10573",
}
_WIDTH = 100
_MOST_SETTERS = 12


def run(arguments: Sequence[str]) -> None:
    """Print what each of the names is.

    Raises:
        UserError: a name that is nothing, with the nearest ones.
    """
    parser = Parser("explain")
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="such as budget.size, budget, qgf, vgf/puzzle-3x3, trainer=fql"
    )
    print("\n\n".join(explain(name) for name in parser.parse_args(list(arguments)).names))


def explain(name: str) -> str:
    """Everything of that name: a key, a group of keys, and the file of a configuration group (``GROUP=NAME`` for one).

    What is nothing of these may be the end of a key: ``gate`` of ``transport.gate``.

    Raises:
        UserError: nothing is called that.
    """
    group, _, option = name.partition("=")
    found = [_key(key) for key in keys() if key.name == name]
    found += [_group(name)] if name in config_groups() else []
    for where in (one for one in GROUPS if not option or one == group):
        if (option or name) in group_options(where):
            found.append(_option(where, option or name))
    found = found or [_key(key) for key in keys() if key.name.endswith(f".{name}")]
    if not found:
        known = [key.name for key in keys()] + list(config_groups())
        known += [option for where in GROUPS for option in group_options(where)]
        near = did_you_mean(name, known)
        raise UserError(f"nothing is called {name!r}.{near or ' vgf --help lists every key and name.'}")
    return "\n\n".join(found)


def _key(key: Key) -> str:
    like = "" if key.like is None else f" ({key.like}.{key.name.rsplit('.', 1)[-1]} is explained the same)"
    about = [("type", key.kind), ("default", key.default), ("valid", valid_values(key.name))]
    setters = list(_setters(key.name))
    if setters:
        more = f", and {len(setters) - _MOST_SETTERS} more" if len(setters) > _MOST_SETTERS else ""
        about.append(("set by", ", ".join(setters[:_MOST_SETTERS]) + more))
    return f"{key.name}: {key.meaning}{like}\n" + columns(((n, t) for n, t in about if t), _WIDTH).rstrip()


def _setters(name: str) -> Iterator[str]:
    """Files of configuration groups that give the key another value."""
    for group in GROUPS:
        for option in group_options(group):
            plain: Any = OmegaConf.to_container(OmegaConf.create(option_text(group, option)))
            if name in (values := flatten(plain)) and group != name:
                yield f"{group}={option} ({values[name]})"


def _group(name: str) -> str:
    inside = [key for key in keys() if key.group == name or key.group.startswith(f"{name}.")]
    rows = ((f"{key.name}={key.default}", f"{key.kind}; {key.meaning}") for key in inside)
    return f"{name}: {config_groups()[name]}\n" + columns(rows, _WIDTH).rstrip()


def _option(group: str, name: str) -> str:
    text = re.sub(r"(?m)^#.*\n", "", option_text(group, name)).rstrip()
    parts = [f"{group}={name}: {option_meaning(group, name) or 'no description'}"]
    if group == "method" and name != "all":
        parts.append(columns(_rule(name), _WIDTH).rstrip())
    return "\n".join([*parts, f"  configs/{group}/{name}.yaml:", textwrap.indent(text, "    ")])


def _rule(method: str) -> Iterator[tuple[str, str]]:
    """The row of the table of rules that a method uses, and the paper behind it."""
    name = load_method(method).transport.rule
    yield "rule", name
    if name in TEXT_RULES:
        text_rule = TEXT_RULES[name]
        yield "looks at", " and ".join(text_rule.value)
        yield "how", _first_sentences(text_rule.move)
        source, budget, extra = text_rule.source, text_rule.budget, ""
    else:
        rule = RULES[name]
        yield "acts", {"nowhere": "nowhere", "after": "after the flow", "inside": "inside the flow"}[rule.where]
        yield "gradient", _first_sentences(rule.field)
        yield "step", rule.step
        source, budget = rule.source, rule.budget
        extra = ", ".join(extras_for(rule.options))
    yield "budget", f"steps {'all' if budget.steps is None else budget.steps}, size {budget.size:g}, unless configured"
    yield "source", source
    for paper in dict.fromkeys(re.findall("|".join(sorted(_PAPERS, key=len, reverse=True)), source)):
        yield "", _PAPERS[paper]
    if extra:
        yield "network", f"of its own: train with net.extras=[{extra}]"


def _first_sentences(function: Callable[..., Any]) -> str:
    """The first paragraph of a function's docstring; of a partial one, of what it calls."""
    told = inspect.getdoc(getattr(function, "func", function)) or ""
    return " ".join(told.split("\n\n")[0].split())
