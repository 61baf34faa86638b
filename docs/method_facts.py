"""Writes the facts of each method into ``rules.md``, from the tables: ``python docs/method_facts.py``.

Each method's section holds a pair of markers, ``<!-- facts: NAME -->`` and ``<!-- end -->``; what is between them comes
from ``vgf.transport.RULES``, ``vgf.language.rules.TEXT_RULES`` and ``configs/method/NAME.yaml``. A test compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from vgf.config import MethodConfig
from vgf.language.rules import TEXT_RULES
from vgf.methods import configured_budget, knob_of, load_method
from vgf.nets.extras import extras_for
from vgf.transport import RULES

__all__ = ["PAGE", "facts", "filled"]

PAGE = Path(__file__).with_name("rules.md")
_MARKED = re.compile(r"(<!-- facts: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WHERE = {
    "nowhere": "Moves nothing",
    "after": "Acts after the flow",
    "inside": "Acts inside the flow, at its Euler steps",
}
_WIDTH = 120  # of a line of code
_VALUE = {
    "heads": "value heads",
    "tokens": "value heads of a state and its next token",
    "reward": "the reward itself",
}


def filled(page: str) -> str:
    """The page with what is between its markers written anew."""
    return _MARKED.sub(lambda match: match[1] + facts(match[2]) + match[3], page)


def facts(name: str) -> str:
    """Markdown of one method: where, step, settings, and the lines that call it."""
    method = load_method(name)
    return _text_facts(method) if method.transport.rule in TEXT_RULES else _control_facts(method)


def _control_facts(method: MethodConfig) -> str:
    transport, row = method.transport, RULES[method.transport.rule]
    where = _WHERE[row.where] + (", all but the first" if row.skip_first else "")
    extras = extras_for(row.options)
    lines = [
        f"- {where}" + (f"; step `{transport.step or row.step}`" if row.where != "nowhere" else "") + ".",
        *_settings(method),
        f"- Valued by the {transport.critic} critic, `{transport.aggregate}` over its heads.",
        *(f"- Needs a network of its own: `net.extras=[{name}]`." for name in extras),
        *([f"- From: {row.source}."] if method.method == transport.rule else []),
    ]
    command = f"python -m vgf.run mode=eval run=RUN_DIR method={method.method}"
    if extras:  # trained on top of a finished run, which stays as it is
        command = f'python -m vgf.run trainer=extras init=RUN_DIR "net.extras=[{extras[0]}]" method={method.method}'
        command += f" run_dir=RUN_DIR-{extras[0]}"
    return _listed(lines, command) + (f"\n```python\n{_call(method)}\n```\n" if method.method == transport.rule else "")


def _text_facts(method: MethodConfig) -> str:
    row = TEXT_RULES[method.transport.rule]
    lines = [
        f"- Looks at {' and '.join(_VALUE[name] for name in row.value)}.",
        *_settings(method),
        f"- From: {row.source}.",
    ]
    return _listed(lines, f"python -m vgf.run task=llm_reward method={method.method}")


def _settings(method: MethodConfig) -> list[str]:
    transport, budget = method.transport, configured_budget(method)
    select = "" if transport.select == "none" else f", `transport.select={transport.select}`"
    particles = f"- {transport.particles} particle{'s' if transport.particles > 1 else ''}{select}."
    if budget.is_zero:
        return [particles]
    steps = "all" if budget.steps is None else budget.steps
    sweep = ", ".join(f"{value:g}" for value in method.sweep)
    return [
        particles,
        f"- Configured: steps {steps}, size {budget.size:g}. `eval.budgets` sweeps {transport.knob}: {sweep}.",
    ]


def _listed(lines: list[str], command: str) -> str:
    return "\n" + "\n".join(lines) + f"\n\n```bash\n{command}\n```\n"


def _call(method: MethodConfig) -> str:
    row, knob = RULES[method.method], method.transport.knob
    budget = "" if configured_budget(method).is_zero else f"{knob}={knob_of(method):g}"
    given = ["critic=critic", *(["velocity=velocity"] if row.where == "inside" else [])]
    given += [f"{option}={option}" for option, required in row.options.items() if required]
    start = "noise" if row.where == "inside" else "samples"
    arguments = f'"{method.method}", context, {start}, budget=Budget({budget}), {", ".join(given)}'
    line = f"moved = transport({arguments})"
    return line if len(line) <= _WIDTH else f"moved = transport(\n    {arguments}\n)"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
