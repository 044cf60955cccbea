r"""Where training fields come from: a problem draws fresh ones for ever, a set is reshuffled every epoch.

A set is an array (:class:`~pirf.Fields`), or files of any size that stay on disk (:class:`~pirf.Stored`).  A source may say
of every sample what a conditional model is told of it, so that the pairs (x, c) are drawn from :math:`p(x, c)`: a set with an
array for every name, or :class:`~pirf.Conditional`, whose conditions are channels of another source.
"""

from pirf.data.base import Conditioned, Source
from pirf.data.conditional import Conditional
from pirf.data.fields import Fields
from pirf.data.stored import Stored

__all__ = ["Conditional", "Conditioned", "Fields", "Source", "Stored"]
