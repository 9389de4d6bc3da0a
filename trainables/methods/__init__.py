"""The methods, in the order in which their hooks run, whatever order a user types.

Weights and targets are set before examples are mixed, so that a mixed row carries the weights of
both partners; a reset comes last, after everything the step has changed.
"""

from trainables.methods.base import Method
from trainables.methods.mixup import Mixup
from trainables.methods.mr import MR
from trainables.methods.random_weights import RandomWeights
from trainables.methods.reset import Reset
from trainables.methods.smooth import Smooth

METHODS: dict[str, type[Method]] = {
    "mr": MR,
    "smooth": Smooth,
    "mixup": Mixup,
    "random-weights": RandomWeights,
    "reset": Reset,
}
