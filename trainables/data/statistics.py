"""Mean and deviation that images are normalised with, by the name of the convention.

The field is not of one mind: most code for CIFAR-10 divides by the mean of the per-image
deviations, some by the deviation over all pixels; CDR's uses CIFAR-10's numbers on CIFAR-100, too.
"""

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

# `source` is measured on the training source, over all pixels; see trainables.data.cache.
STATISTICS: dict[str, Statistics | None] = {
    "source": None,
    "none": ((0.0,), (1.0,)),  # images stay in [0, 1]: CDR on Fashion-MNIST
    "mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),  # SOP, MR, CDR, mixup
    "cifar10-pixels": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),  # stochastic resetting
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # what pretrained weights expect
    "clothing1m": ((0.6959, 0.6537, 0.6371), (0.3113, 0.3192, 0.3214)),
}
