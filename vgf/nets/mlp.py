"""Multi-layer perceptron, one or an ensemble of E: every layer is one (batched) matmul.

Dense, activation, LayerNorm in this order, as in OGBench's and FQL's Flax code, on which QAM's builds; weights uniform
by fan average (Glorot), biases zero; the last layer is linear.

``MLP.given`` is partial evaluation: the perceptron for many rows that share their first inputs (N particles of one
observation), without computing again for each of them what these inputs alone decide.

Deviations: VGF's code (utils/networks.py, ``ln_first``) and QGF's (read in a public copy, Sjtu-hyg/qgf) normalise
*before* the activation, the latter not in the flow's last hidden layer. Exact GELU where Flax uses the tanh
approximation (they differ by less than 5e-4; on a CPU the exact one is four times faster).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgf.nets.given import Given
from vgf.nets.layers import ACTIVATIONS, EPS, affine, output

__all__ = ["MLP", "hidden_weights", "time_embedding"]


class _Dense(nn.Module):
    """Affine layer of E heads: weight [E, in, out], bias [E, 1, out]."""

    def __init__(self, heads: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(heads, 1, outputs))
        limit = math.sqrt(6 / (inputs + outputs))
        nn.init.uniform_(self.weight, -limit, limit)

    def forward(self, x: Tensor) -> Tensor:  # [E, K, in] -> [E, K, out]
        return affine(x, self.weight, self.bias)


class _LayerNorm(nn.Module):
    """LayerNorm over the features, with each head's own scale and shift [E, 1, H]."""

    def __init__(self, heads: int, features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads, 1, features))
        self.shift = nn.Parameter(torch.zeros(heads, 1, features))

    def forward(self, x: Tensor) -> Tensor:  # [E, K, H] -> [E, K, H]
        heads = zip(x.unbind(0), self.scale.squeeze(1).unbind(0), self.shift.squeeze(1).unbind(0), strict=True)
        # Head by head: scale and shift are applied on the way, in float32, whatever the precision of x.
        normalised = [F.layer_norm(head, head.shape[-1:], scale, shift, EPS) for head, scale, shift in heads]
        return normalised[0].unsqueeze(0) if len(normalised) == 1 else torch.stack(normalised)


class MLP(nn.Module):
    """Ensemble of E perceptrons that see the same input.

    Args:
        inputs, outputs: feature counts.
        hidden: widths of the hidden layers.
        heads: E, ensemble members.
        layer_norm: normalise after every hidden layer.
        activation: ``gelu`` (QGF, QAM) or ``relu`` (VGF).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int],
        heads: int = 1,
        layer_norm: bool = True,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.heads, self.layer_norm = heads, layer_norm
        self._activation = ACTIVATIONS[activation]
        widths = [inputs, *hidden]
        self.dense = nn.ModuleList(_Dense(heads, i, o) for i, o in zip(widths[:-1], hidden, strict=True))
        self.norm = nn.ModuleList(_LayerNorm(heads, h) if layer_norm else nn.Identity() for h in hidden)
        self.output = _Dense(heads, widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[K, inputs] -> [E, K, outputs]."""
        x = x.expand(self.heads, *x.shape)
        for dense, norm in zip(self.dense, self.norm, strict=True):
            x = norm(self._activation.value(dense(x)))
        return output(x, self.output.weight, self.output.bias)

    def given(self, known: Tensor, times: int = 1) -> Given:
        """The same function of the remaining inputs, equal to :meth:`forward` within rounding; see :meth:`prepared`.

        Computed once, here: the known inputs' share of the first layer, for ``times`` rows each.

        Args:
            known: the first C inputs, [K, C].
            times: N, how many consecutive rows share a row of ``known``.

        Returns:
            [K * N, inputs - C] -> [E, K * N, outputs].
        """
        return self.prepared()(known, times)

    def prepared(self) -> Callable[[Tensor, int], Given]:
        """:meth:`given` for several ``known``, with the parameters as they are now.

        Computed once, here: parameters in the precision of autocast; LayerNorm's scale and shift, which the next
        layer's weight and bias take in.
        """
        (first, bias), *inner, last = self._with_norms_taken_in()
        first = _as_autocast(first)
        inner = [(_as_autocast(weight), _as_autocast(bias)) for weight, bias in inner]

        def given(known: Tensor, times: int) -> Given:
            split = known.shape[-1]
            start = affine(known.expand(self.heads, *known.shape), first[:, :split], bias)
            start = start.repeat_interleave(times, dim=1)
            return Given(start, first[:, split:], inner, last, self._activation, self.layer_norm)

        return given

    def _with_norms_taken_in(self) -> list[tuple[Tensor, Tensor]]:
        """(weight, bias) of every dense layer that sees features without LayerNorm's scale and shift."""
        layers = [(dense.weight, dense.bias) for dense in (*self.dense, self.output)]
        norms = [norm for norm in self.norm if isinstance(norm, _LayerNorm)]
        if not norms:
            return layers
        with torch.autocast(self.output.weight.device.type, enabled=False):
            taken_in = [
                (norm.scale.mT * weight, torch.baddbmm(bias, norm.shift, weight.to(bias.dtype)))
                for norm, (weight, bias) in zip(norms, layers[1:], strict=True)
            ]
        return [layers[0], *taken_in]


def hidden_weights(networks: nn.Module) -> list[nn.Parameter]:
    """Weights of all hidden layers of all perceptrons: those that autocast multiplies in bfloat16."""
    perceptrons = [module for module in networks.modules() if isinstance(module, MLP)]
    return [parameter for net in perceptrons for name, parameter in net.dense.named_parameters() if "weight" in name]


def _as_autocast(parameter: Tensor) -> Tensor:
    """The parameter in the precision in which autocast multiplies it."""
    kind = parameter.device.type
    return parameter.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else parameter


def time_embedding(t: Tensor, features: int = 16) -> Tensor:
    """Sinusoidal embedding of flow time: t [K, 1] in [0, 1] -> [K, features].

    Angles t * 1e4 * w, w from 1 down to 1e-4 in geometric steps; sines, then cosines. Deviation: QGF's code puts
    cosines first and stops one step short, at 1e-4 ** (7/8). VGF's gives the network t itself.
    """
    half = features // 2
    w = torch.exp(torch.arange(half, dtype=t.dtype, device=t.device) * (-math.log(1e4) / (half - 1)))
    angles = t * 1e4 * w
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
