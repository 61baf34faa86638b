"""A perceptron whose first inputs are known: the function of the rest, and its gradient written out.

Autograd finds the same gradient by the same operations, but at few particles takes longer to keep its books than the
processor takes to multiply: see ``act`` in docs/speed.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from vgf.nets.layers import Activation, affine, affine_slope, normalised, normalised_slope, output

__all__ = ["Given"]


@dataclass(frozen=True)
class Given:
    """[K, in] -> [E, K, out], by weights in the precision of autocast.

    Attributes:
        start: [E, K, H], what the known inputs and the first bias add to every row of the first layer.
        first: [E, in, H], the first layer's weights for the other inputs.
        inner: weight and bias of each hidden layer after the first; LayerNorm's scale and shift are in them.
        last: those of the output layer, in float32.
        activation: of the hidden layers.
        layer_norm: whether each of them ends in a LayerNorm.
    """

    start: Tensor
    first: Tensor
    inner: Sequence[tuple[Tensor, Tensor]]
    last: tuple[Tensor, Tensor]
    activation: Activation
    layer_norm: bool

    def __call__(self, x: Tensor) -> Tensor:
        z = affine(x.expand(self.first.shape[0], *x.shape), self.first, self.start)
        for weight, bias in self.inner:
            z = affine(self._features(z), weight, bias)
        return output(self._features(z), *self.last)

    def _features(self, z: Tensor) -> Tensor:
        a = self.activation.value(z)
        return normalised(a)[0] if self.layer_norm else a

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The outputs of a network that has one, and their gradient.

        Returns:
            :meth:`__call__` of x, [E, K, 1]; and a function, to be called once, of weights w [E, K, 1] that gives the
            gradient of sum(w * outputs) with respect to x, [K, in].
        """
        z = affine(x.expand(self.first.shape[0], *x.shape), self.first, self.start)
        f, slope = self._recorded(z)
        tape = [(self.first, slope)]  # of every layer: its weight, and the slope of the features after it
        for weight, bias in self.inner:
            z = affine(f, weight, bias)
            f, slope = self._recorded(z)
            tape.append((weight, slope))
        precision, own_precision = z.dtype, x.dtype

        def back(w: Tensor) -> Tensor:
            g = (w * self.last[0].mT).to(precision)
            while tape:  # what was used makes room in the cache
                weight, slope = tape.pop()
                g = affine_slope(slope(g), weight)
            return g.to(own_precision).sum(0)

        return output(f, *self.last), back

    def _recorded(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Features of a hidden layer, and the function that carries a gradient of them back to z."""
        a = self.activation.value(z)
        if not self.layer_norm:
            return a, lambda g: self.activation.slope(g, z)
        f, mean, inverse = normalised(a)
        return f, lambda g: self.activation.slope(normalised_slope(g, a, mean, inverse), z)
