"""ANIMAL-10N: 55,000 photographs of animals that people mistake for each other, 64 x 64.

The layout is the raw-image version's, as public loaders read it: folders `training` and `testing`
of files `<label>_<number>.jpg`. It was tried on generated miniatures only, not on the real files;
the binary version of the release is not read.

Source: H. Song, M. Kim, J. Lee, "SELFIE: Refurbishing Unclean Samples for Robust Deep Learning",
ICML 2019. The given labels are people's, about 8 % of them wrong; no clean ones exist, so a task
adds no noise.
"""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.sources.base import Source
from trainables.data.sources.pictures import fill
from trainables.data.sources.roots import roots
from trainables.data.strong import Strong
from trainables.data.views import View
from trainables.errors import ConfigError

CLASSES = (
    "cat",
    "lynx",
    "wolf",
    "coyote",
    "cheetah",
    "jaguar",
    "chimpanzee",
    "orangutan",
    "hamster",
    "guinea pig",
)
SIZES = {"training": 50_000, "testing": 5_000}
SIDE = 64
FOLDERS = ("animal-10n", "animal10n", "ANIMAL-10N", "Animal-10N")
SITE = "https://dm.kaist.ac.kr/datasets/animal-10n"
NAME = re.compile(r"(\d)_.+\.jpe?g", re.IGNORECASE)

Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def animals() -> Source:
    """50,000 training images with people's labels, 5,000 test images whose labels are trusted.

    Rows are in the order of the sorted file names. The views are ours: CIFAR's move of 4 and hole
    of 16 in 32; the hole is grey, since the mean colour of the real files is not known.
    """
    place = _place()
    images, labels = _part(place / "training")
    test_images, test_labels = _part(place / "testing")
    view = View(pixels=8, flip=True)
    strong = Strong(view, policy=True, cutout=SIDE // 2, hole=(128,))
    return Source(images, labels, test_images, test_labels, CLASSES, view, strong)


def _place() -> Path:
    places = [root / folder for root in roots() for folder in FOLDERS]
    for place in places:
        if all((place / part).is_dir() for part in SIZES):
            return place
    raise ConfigError(
        f"data animal-10n: no folders training and testing in {', '.join(map(str, places))} (ask "
        f"for the raw image version at {SITE} and unzip it into one of these, or name the folder "
        "that holds animal-10n by --data-root or NOISETUNE_DATA)"
    )


def _part(folder: Path) -> Part:
    paths = sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))
    if len(paths) != SIZES[folder.name]:
        raise ConfigError(
            f"{folder}: holds {len(paths):,} files named <label>_<number>.jpg, the original "
            f"{SIZES[folder.name]:,} (unzip the raw image version of {SITE} anew)"
        )
    images = np.empty((len(paths), 3, SIDE, SIDE), np.uint8)
    fill(images, [str(path) for path in paths], _square)
    return images, np.array([int(path.name[0]) for path in paths], np.int64)


def _square(picture: Image.Image) -> Image.Image:
    if picture.size != (SIDE, SIDE):
        raise ValueError(f"is {picture.width} x {picture.height}, not {SIDE} x {SIDE}")
    return picture
