"""The methods, in the order in which their hooks run, whatever order a user types.

Weights and targets are set, and strong views added, before examples are mixed, so that a mixed row
carries the weights of both partners; CDR masks the gradient before RDI pulls; a reset comes last,
after everything the step has changed.
"""

from trainables.methods.auxiliary import Aux
from trainables.methods.base import Method
from trainables.methods.cdr import CDR
from trainables.methods.elr import ELR
from trainables.methods.gce import GCE
from trainables.methods.mae import MAE
from trainables.methods.mixup import Mixup
from trainables.methods.mr import MR
from trainables.methods.random_weights import RandomWeights
from trainables.methods.rdi import RDI
from trainables.methods.reset import Reset
from trainables.methods.sce import SCE
from trainables.methods.smooth import Smooth
from trainables.methods.sop import SOP
from trainables.methods.sop_plus import SOPPlus

METHODS: dict[str, type[Method]] = {
    "mr": MR,
    "smooth": Smooth,
    "sop": SOP,
    "sop-plus": SOPPlus,
    "gce": GCE,
    "sce": SCE,
    "mae": MAE,
    "elr": ELR,
    "aux": Aux,
    "mixup": Mixup,
    "random-weights": RandomWeights,
    "cdr": CDR,
    "rdi": RDI,
    "reset": Reset,
}
