"""Transport: value gradients move the particles of a reference model, as far as a budget allows.

``budget``     how far                   ``landscape``  value and velocity, bound to a batch
``rules``      the table, ``transport``  ``fields``     how the value gradient is estimated
``steps``      how a gradient moves      ``kernels``    RBF and SVGD
``select``     which particle acts       ``distance``   how far particles are from their twins
``limits``     where a particle stops    ``posterior``  samples of p(x_1 | x_t)
``gradient``   with respect to particles, by autograd or torch.func
"""

from vgf.transport.budget import Budget
from vgf.transport.rules import RULES, Moved, Rule, get_rule, transport

__all__ = ["RULES", "Budget", "Moved", "Rule", "get_rule", "transport"]
