"""A run's adapter as points of its evaluation: alone, and with test-time budget on top.

Rows carry the trainer's name (distill, grpo, rloo, dpo). Budget 0 is the adapter alone; further budgets are the run's
method on the adapted model, with value heads fitted to that. Twins are the reference's, carried by the same noise, so
that ``tokens_changed`` and ``travelled`` tell how far weights and budget together have led away from it. NLL and KL are
under the original reference, and the best of all is again picked among moved particles and the reference's: seconds
count both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from vgf.config import Config
from vgf.language.adapters import adapted_reference, adapter_facts, adapter_path, round_folder
from vgf.language.evaluation import TextPoint
from vgf.language.loading import heads_path
from vgf.language.policy import Generation, TextPolicy
from vgf.language.problem import TextProblem
from vgf.language.rules import get_text_rule
from vgf.methods import budget_at, knob_of
from vgf.rundir import RunDirectory
from vgf.trainers.lora import policy_on

__all__ = ["adapter_points"]


def adapter_points(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> list[TextPoint]:
    """The points of the run's adapter; none where it has no adapter.

    Raises:
        UserError: the adapter is damaged or does not fit the reference.
    """
    facts = adapter_facts(adapter_path(run.path))
    if facts is None:
        return []
    heads_from = round_folder(run.path, facts["rounds"])
    adapted = adapted_reference(config, adapter_path(run.path), device)
    particles = _Adapted(policy_on(adapted, config, problem, heads_from))
    movable = heads_path(heads_from).is_file() or not get_text_rule(config.transport.rule).needs_heads
    knobs = sorted({0.0, knob_of(config)} if movable else {0.0})
    return [_point(str(facts["settings"]["trainer"]), config, knob, particles) for knob in knobs]


def _point(name: str, config: Config, knob: float, particles: _Adapted) -> TextPoint:
    def generate(policy: TextPolicy, unmoved: Generation, seed: int) -> Generation:
        still = particles.unmoved(unmoved, seed)
        moved = particles.policy.move(unmoved.twins.prompts, budget_at(config, knob), seed, config, unmoved=still)
        seconds = unmoved.seconds + moved.seconds
        return replace(moved, twins=unmoved.twins, twin_rewards=unmoved.twin_rewards, seconds=seconds)

    return TextPoint(name, knob, config.text.seeds, generate)


@dataclass
class _Adapted:
    """The adapted model's particles before any move, made once for all points of a batch."""

    policy: TextPolicy
    _of: Generation | None = None
    _found: Generation | None = None

    def unmoved(self, reference: Generation, seed: int) -> Generation:
        if self._found is None or self._of is not reference:
            still = budget_at(self.policy.method, 0.0)
            self._of = reference
            self._found = self.policy.move(reference.twins.prompts, still, seed, self.policy.method)
        return self._found
