"""The networks of one run: the source of particles, the critics that move them, the judge that does not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vgf.nets.extras import EXTRAS
from vgf.nets.given import Given
from vgf.nets.mlp import MLP
from vgf.nets.sources import SOURCES

__all__ = ["ActorCritic", "Conditional", "Critics", "NetSizes", "network_of", "trained_networks"]

Prepared = Callable[[Tensor, int], Callable[..., Tensor]]  # context, particles -> the function of the rest


@dataclass(frozen=True)
class NetSizes:
    """Everything needed to build the networks; stored in the checkpoint's manifest.

    Attributes:
        observation: S, entries of an observation.
        action: A, entries of one action.
        chunk: H, actions played open loop after one observation; a particle has D = H * A entries.
        hidden, layers: width and number of hidden layers of every network.
        heads: E, critics in the ensemble.
        extras: names of ``vgf.nets.extras.EXTRAS`` to build beside the others.
        reference: the behaviour-cloned source, a key of ``vgf.nets.sources.SOURCES``.
        policy: a source trained for reward, which acts in the reference's place; None: the reference acts.
        judge: whether there is a second set of critics that never moves anything.
        activation: ``gelu`` or ``relu``.
        policy_norm: LayerNorm in sources as well (critics always have it).
    """

    observation: int
    action: int
    chunk: int = 1
    hidden: int = 512
    layers: int = 4
    heads: int = 2
    extras: tuple[str, ...] = ()
    reference: str = "flow"
    policy: str | None = None
    judge: bool = False
    activation: str = "gelu"
    policy_norm: bool = True

    @property
    def particle(self) -> int:
        """D, entries of a particle: a flattened action chunk."""
        return self.chunk * self.action

    @property
    def widths(self) -> list[int]:
        """Widths of the hidden layers of every network."""
        return [self.hidden] * self.layers


class Conditional:
    """A function of a context and more: call it with both, or give it the context first.

    ``f.given(context, N)(x)`` equals ``f(context.repeat_interleave(N, 0), x)`` within rounding, and computes what the
    context alone decides once, however many x follow. ``f.prepared()`` is the same function with the parameters as
    they are now, whose ``given`` costs less each time.
    """

    def __init__(self, whole: Callable[..., Tensor], prepare: Callable[[], Prepared]) -> None:
        self.whole, self._prepare = whole, prepare

    def __call__(self, context: Tensor, *rest: Tensor) -> Tensor:
        return self.whole(context, *rest)

    def given(self, context: Tensor, times: int) -> Callable[..., Tensor]:
        return self._prepare()(context, times)

    def prepared(self) -> Conditional:
        prepared = self._prepare()
        return Conditional(self.whole, lambda: prepared)


@dataclass(frozen=True)
class _Heads:
    """Critic heads of known observations: x [K, D] -> [E, K]."""

    values: Given

    def __call__(self, x: Tensor) -> Tensor:
        return self.values(x).squeeze(-1)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The heads, and weights of them [E, K] -> gradient of their weighted sum with respect to x [K, D]."""
        values, back = self.values.pullback(x)
        return values.squeeze(-1), lambda weights: back(weights.unsqueeze(-1))


def _critic(net: MLP) -> Conditional:
    """Heads of Q(s, x): s [K, S], x [K, D] -> [E, K]."""

    def prepare() -> Prepared:
        given = net.prepared()

        return lambda s, times: _Heads(given(s, times))

    return Conditional(lambda s, x: net(torch.cat([s, x], dim=-1)).squeeze(-1), prepare)


class Critics(nn.Module):
    """Critics Q_e(s, x), their Polyak target, and V(s)."""

    def __init__(self, sizes: NetSizes) -> None:
        super().__init__()
        pair = sizes.observation + sizes.particle
        self.q = MLP(pair, 1, sizes.widths, heads=sizes.heads, activation=sizes.activation)
        self.v = MLP(sizes.observation, 1, sizes.widths, activation=sizes.activation)
        self.q_target = copy.deepcopy(self.q).requires_grad_(False)

    @property
    def critic(self) -> Conditional:
        """Online critics: s [K, S], x [K, D] -> [E, K]."""
        return _critic(self.q)

    @property
    def target_critic(self) -> Conditional:
        """Polyak-averaged critics: s [K, S], x [K, D] -> [E, K]."""
        return _critic(self.q_target)

    def value(self, s: Tensor) -> Tensor:
        """State value: s [K, S] -> [K]."""
        return self.v(s)[0, :, 0]


class ActorCritic(Critics):
    """Sources, critics, judge and extras, with the call signatures that ``vgf.transport`` expects."""

    def __init__(self, sizes: NetSizes) -> None:
        # Each network takes its initial weights from one stream of random numbers, in the order that is written here:
        # the reference's do not depend on how many critics there are, and only what is optional comes after those.
        flow = _source(sizes.reference, sizes)
        super().__init__(sizes)
        self.sizes, self.flow = sizes, flow
        shape = sizes.observation, sizes.particle, sizes.widths, sizes.heads
        self.extras = nn.ModuleDict({name: EXTRAS[name][0](*shape) for name in sizes.extras})
        self.policy = _source(sizes.policy, sizes) if sizes.policy else None
        self.judge = Critics(sizes) if sizes.judge else None

    @property
    def source(self) -> Any:
        """What carries noise to actions: the trained policy, or else the reference."""
        return self.flow if self.policy is None else self.policy

    @property
    def velocity(self) -> Conditional:
        """Velocity of the source: s [K, S], x [K, D], t [K, 1] -> [K, D]."""
        return Conditional(self.source.velocity, self.source.prepared_velocity)

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """Every target network, beside the online one that it is the moving average of."""
        pairs: list[tuple[Any, Any]] = [(nets.q_target, nets.q) for nets in (self, self.judge) if nets is not None]
        others: list[Any] = [self.policy, *self.extras.values()]
        return pairs + [(net.target, net.online) for net in others if hasattr(net, "target")]


def _source(name: str, sizes: NetSizes) -> Any:
    """A new source of particles, a key of ``SOURCES``."""
    shape = sizes.observation, sizes.particle, sizes.widths
    return SOURCES[name](*shape, layer_norm=sizes.policy_norm, activation=sizes.activation)


def network_of(parameter: str) -> str:
    """Which network a parameter belongs to, such as ``flow`` or ``extras.noisy``."""
    parts = parameter.split(".")
    return ".".join(parts[:2]) if parts[0] == "extras" else parts[0]


def trained_networks(manifest: Mapping[str, Any], parameters: Iterable[str]) -> list[str]:
    """Networks that a checkpoint's run has trained; of older checkpoints, which do not say, all it holds."""
    return sorted(manifest.get("trained") or {network_of(name) for name in parameters})
