"""The table of rules, and the one function that applies them.

A rule = *where* the gradient acts x *field* (how the value gradient is estimated) x *step* (how a
gradient becomes a move). Each method here of VGF (arXiv 2604.14265), QGF (2606.11087) and QPILOTS
(2606.14801) is a row; a new method is a new row, or a new field and a row.

Time runs from t = 0 (noise) to t = 1 (clean); x_t = (1 - t) x_0 + t x_1; velocity x_1 - x_0.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor

from vgf.errors import UserError, did_you_mean
from vgf.transport import fields
from vgf.transport.budget import Budget
from vgf.transport.distance import travelled
from vgf.transport.gradient import outside_inference
from vgf.transport.landscape import Critic, Landscape, Velocity, bind
from vgf.transport.limits import Gate, finite_or, kept_best, within_radius
from vgf.transport.steps import make_step

__all__ = ["RULES", "Moved", "Rule", "get_rule", "transport"]


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Attributes:
        where: ``nowhere``, ``after`` the flow (on clean particles) or ``inside`` it (at Euler steps).
        field: a function of ``fields.py``; its keyword-only arguments are the rule's options.
        step: default step, a key of ``steps.STEPS``.
        budget: what a budget that leaves fields open means; ``steps=None`` inside: all Euler steps.
        source: paper and equation.
        skip_first: the first Euler step is not guided.
        linear_path: only right where the velocity is that of x_t = (1-t) x_0 + t x_1 with x_0 independent of x_1.
    """

    where: Literal["nowhere", "after", "inside"]
    field: Callable[..., Any]
    step: str
    budget: Budget
    source: str
    skip_first: bool = False
    linear_path: bool = False

    @property
    def options(self) -> dict[str, bool]:
        """Names of the field's own options, and whether each must be given."""
        parameters = inspect.signature(self.field).parameters.values()
        return {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}

    @property
    def draws(self) -> bool:
        """Whether the field draws noise of its own, on the host, from a seed that is one of its options."""
        return "seed" in self.options


def _inside(field: Callable[..., Any], step: str, size: float, source: str, **more: bool) -> Rule:
    return Rule("inside", field, step, Budget(None, size), source, **more)


_POSTERIOR = {"skip_first": True, "linear_path": True}


_qpilots_u_field = functools.partial(fields.denoised_jacobian, straight_through=True)

RULES: dict[str, Rule] = {
    "best_of_n": Rule("nowhere", fields.clean, "raw", Budget(0, 0.0), "IDQL, IFQL; VGF with no move"),
    "grad_step": Rule("after", fields.clean, "raw", Budget(3, 0.01), "PA-RL at test time; QGF baseline"),
    "vgf": Rule("after", fields.svgd, "adam", Budget(3, 0.05), "VGF eq. 7, code vgf.py"),
    "qgf": _inside(fields.denoised, "raw", 0.03, "QGF eqs. 7, 9"),
    "qgf_jacobian": _inside(fields.denoised_jacobian, "raw", 0.03, "QGF eq. 8 (ablation)"),
    "qfql": _inside(fields.noisy, "raw", 0.03, "QGF baseline, eq. 5 (gradient at the noisy particle)"),
    "bptt": _inside(fields.bptt, "raw", 0.03, "QGF baseline, eq. 6"),
    "a_vgf": Rule("after", fields.amortised, "clipped_adam", Budget(1, 0.05), "VGF, amortised; code a_vgf.py"),
    "robust_q": _inside(fields.noise_conditioned, "raw", 0.03, "QGF baseline RobustQ"),
    "cfgrl": _inside(fields.classifier_free, "raw", 1.0, "CFGRL, QGF baseline"),
    "qpilots_m": _inside(fields.posterior, "norm_matched", 0.2, "QPILOTS eq. 16", **_POSTERIOR),
    "qpilots_g": _inside(fields.posterior_glass, "norm_matched", 0.2, "QPILOTS eq. 16, exact posterior", **_POSTERIOR),
    "qpilots_u": _inside(_qpilots_u_field, "norm_matched", 0.2, "QPILOTS eqs. 14, 15, 17", skip_first=True),
}


def get_rule(name: str) -> Rule:
    """Return a row of the table; UserError with the nearest names when there is none."""
    if name not in RULES:
        raise UserError(f"rule {name!r} is unknown; use one of {', '.join(RULES)}.{did_you_mean(name, RULES)}")
    return RULES[name]


@dataclass(frozen=True)
class Moved:
    """Particles after transport.

    Attributes:
        particles: [B, N, D], inside the box.
        twins: [B, N, D], the same noise carried by the reference alone; None inside the flow when not asked for.
        values: [B, N], aggregated critic value of the particles; NaN when not asked for.
        travelled: [B, N], RMS distance per coordinate from the twins; NaN without twins.
    """

    particles: Tensor
    twins: Tensor | None
    values: Tensor
    travelled: Tensor


@outside_inference
@torch.no_grad()
def transport(
    rule: str,
    context: Tensor,
    start: Tensor,
    *,
    budget: Budget,
    critic: Critic,
    velocity: Velocity | None = None,
    flow_steps: int = 10,
    aggregate: str = "min",
    alpha: float = 1.0,
    bandwidth: float | None = None,
    low: float = -1.0,
    high: float = 1.0,
    start_is_noise: bool | None = None,
    step: str | None = None,
    skip_first: bool | None = None,
    gate: float | None = None,
    keep_best: bool = False,
    twins: bool = True,
    values: bool = True,
    **rule_options: Any,
) -> Moved:
    """Move particles along value gradients, as far as the budget allows.

    Deterministic given its inputs, and the same under ``torch.no_grad`` and ``torch.inference_mode``.
    Each context's particles move independently of the other contexts in the batch. Budget zero returns
    the reference, bit for bit.

    Args:
        rule: a key of ``RULES``.
        context: observation or prompt features, [B, ...].
        start: [B, N, D]. Noise for rules inside the flow; samples of the reference for the others
            (or noise, with ``start_is_noise=True`` and a velocity).
        budget: how far; fields left None take the rule's default.
        critic: (context [K, ...], x [K, D]) -> heads [E, K], differentiable in x. A critic or velocity that also
            offers ``given(context [B, ...], N)``, the function of the rest alone, has its contexts bound once.
        velocity: (context [K, ...], x [K, D], t [K, 1]) -> [K, D], the reference flow.
        flow_steps: Euler steps of the reference flow, >= 1.
        aggregate: ``min``, ``mean`` or ``mean-RHO*std`` over the E heads.
        alpha: temperature of the rules that have one (vgf), > 0.
        bandwidth: kernel width of vgf in units of x; None for the median heuristic.
        low, high: the box of the particles.
        start_is_noise: None means what the rule expects (True inside the flow, which takes nothing else; else False).
        step: override the rule's step, a key of ``steps.STEPS``.
        skip_first: leave the first Euler step unguided; None means what the rule does.
        gate: a particle stops where the critic's heads disagree more than this many times as much as at
            its twin, >= 1 (``limits.Gate``); None: no gate.
        keep_best: a particle that the move did not make more valuable stays with its twin.
        twins: compute the twins of rules inside the flow (one more pass through the reference);
            needed for ``travelled``, and there anyway after the flow and where a limit needs them.
        values: compute the particles' values (one more pass through the critic).
        **rule_options: the field's own options (``get_rule(rule).options``).

    Raises:
        UserError: unknown rule, step, aggregate or option; wrong shapes, also of the critic's heads; a missing
            velocity; a budget that is none; a flow whose only step is left unguided.
    """
    row = get_rule(rule)
    if not isinstance(budget, Budget):
        raise UserError(f"budget={budget!r} is no Budget; write Budget(size=...) or Budget(steps=...)")
    _check(row, rule, context, start, velocity, flow_steps, alpha, bandwidth, (low, high), gate, rule_options)
    if row.where == "inside" and start_is_noise is False:
        raise UserError(
            f"rule {rule!r} acts inside the reference flow and starts from noise; start_is_noise=False is not"
        )
    budget = budget.filled(row.budget)
    count = start.shape[1]
    scene = Landscape(
        context.repeat_interleave(count, dim=0), bind(critic, context, count),
        velocity and bind(velocity, context, count), flow_steps, aggregate, low, high, alpha, bandwidth,
    )  # fmt: skip
    field = functools.partial(row.field, scene, **rule_options)
    move = make_step(step or row.step)

    def reference() -> Tensor:
        is_noise = row.where == "inside" if start_is_noise is None else start_is_noise
        return scene.clip(scene.carry(start) if is_noise else start)

    stays = row.where == "nowhere" or budget.is_zero
    limited = budget.radius is not None or gate is not None or keep_best
    inside = row.where == "inside" and not stays
    twin = reference() if twins or limited or not inside else None
    stop = Gate(scene, twin, gate)
    if inside:
        first = 1 if (row.skip_first if skip_first is None else skip_first) else 0
        if first == flow_steps:
            raise UserError(f"rule {rule!r} guides all steps but the first, and flow_steps=1 has no other")
        x = _move_inside(scene, field, move, start, budget, first, stop)
    else:
        assert twin is not None
        x = twin if stays else _move_after(scene, field, move, twin, budget, stop)

    if twin is not None:
        x = stop.settle(within_radius(x, twin, budget.radius))
        x = kept_best(scene, x, twin) if keep_best else x
    unknown = x.new_full(x.shape[:2], float("nan"))
    return Moved(x, twin, scene.value(x) if values else unknown, unknown if twin is None else travelled(x, twin))


def _move_after(scene: Landscape, field: Callable, move: Callable, twin: Tensor, budget: Budget, stop: Gate) -> Tensor:
    """Climb from clean particles: x <- clip(x + size * step(g(x)))."""
    x = twin
    for _ in range(budget.steps or 0):
        proposal = finite_or(scene.clip(x + budget.size * move(field(x), None, None)), x)
        proposal = within_radius(proposal, twin, budget.radius)
        x = stop.choose(proposal, x, at=proposal)
    return x


def _move_inside(
    scene: Landscape, field: Callable, move: Callable, noise: Tensor, budget: Budget, first: int, stop: Gate
) -> Tensor:
    """Bend the reference ODE: x <- x + dt * (v + size * step(g)); a stopped particle follows v alone."""
    if budget.steps is not None:
        first = max(first, scene.flow_steps - budget.steps)
    x = scene.carry(noise, stop=first)
    for k in range(first, scene.flow_steps):
        v, g = field(x, k)
        bend = budget.size * move(g, v, k / scene.flow_steps)
        bend = stop.choose(bend, torch.zeros_like(bend), at=scene.clip(scene.denoised(x, v, k)))
        x = finite_or(x + (v + bend) / scene.flow_steps, x)
    return scene.clip(x)


def _check(
    row: Rule, rule: str, context: Tensor, start: Tensor, velocity: Velocity | None, flow_steps: int,
    alpha: float, bandwidth: float | None, box: tuple[float, float], gate: float | None,
    rule_options: dict[str, Any],
) -> None:  # fmt: skip
    if start.ndim != 3 or not start.shape[1]:
        raise UserError(f"start has shape {tuple(start.shape)}; particles are [B, N, D], N of 1 or more")
    if context.shape[:1] != start.shape[:1]:
        raise UserError(
            f"context {tuple(context.shape)} and start {tuple(start.shape)} differ in their first axis, the batch"
        )
    if row.where == "inside" and velocity is None:
        raise UserError(f"rule {rule!r} acts inside the reference flow; pass velocity=")
    if not isinstance(flow_steps, Integral) or isinstance(flow_steps, bool) or flow_steps < 1:
        raise UserError(f"flow_steps={flow_steps!r} must be a whole number, 1 or more")
    if not alpha > 0:
        raise UserError(f"alpha={alpha} must be greater than 0")
    if bandwidth is not None and not bandwidth > 0:
        raise UserError(f"bandwidth={bandwidth} must be greater than 0, or None for the median heuristic")
    if not box[0] < box[1]:
        raise UserError(f"low={box[0]} must be below high={box[1]}")
    if gate is not None and not gate >= 1:
        raise UserError(f"gate={gate} must be 1 or more: the twin itself has to pass")
    for name in rule_options:
        if name not in row.options:
            valid = ", ".join(row.options) or "none"
            raise UserError(
                f"rule {rule!r} has no option {name!r} (its options: {valid}).{did_you_mean(name, row.options)}"
            )
    if missing := [name for name, required in row.options.items() if required and name not in rule_options]:
        raise UserError(f"rule {rule!r} needs {missing[0]}=")
