"""Clothing1M: a million photographs of clothes from shops, labelled by the words around them.

The layout is the release's, as public loaders read it: `images/<digit>/...`, lists of keys and
lists of (key, label), beside `images` or in `annotations`. It was tried on generated miniatures
only, not on the real files.

Source: T. Xiao et al., "Learning from Massive Noisy Labeled Data for Image Classification", CVPR
2015. The given labels are the shops', about 38 % of them wrong; a task adds no noise to them.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.sources.base import Source
from trainables.data.sources.pictures import fill
from trainables.data.sources.roots import draft, reserved, roots
from trainables.data.strong import Strong
from trainables.data.views import View
from trainables.errors import ConfigError

CLASSES = (
    "t-shirt",
    "shirt",
    "knitwear",
    "chiffon",
    "sweater",
    "hoodie",
    "windbreaker",
    "jacket",
    "down coat",
    "suit",
    "shawl",
    "dress",
    "vest",
    "underwear",
)
SHORTER, SIDE = 256, 224
TRAINING, TESTING = "noisy_train_key_list.txt", "clean_test_key_list.txt"
SIZES = {TRAINING: 1_000_000, TESTING: 10_526}
LABELS = {TRAINING: "noisy_label_kv.txt", TESTING: "clean_label_kv.txt"}
FOLDERS = ("clothing1m", "Clothing1M", "clothing-1m", "Clothing-1M")
VIEW = View(pixels=16, flip=True)
# ours: CIFAR's, the hole half the side; it has the mean colour that public loaders normalise with
STRONG = Strong(VIEW, policy=True, cutout=SIDE // 2, hole=(177, 167, 162))
SITE = "https://github.com/Cysu/noisy_label"

Labels = npt.NDArray[np.int64]


def clothes() -> Source:
    """1,000,000 training images with the shops' labels, 10,526 test images with clean ones.

    Each is resized until its shorter side is 256, then its middle 224 x 224 are kept, to the pixel
    as torchvision's Resize and CenterCrop do it. They take 152 GB, so they are decoded into the
    cache's own files; that takes hours, once. The images with clean labels for training and
    validation are left out.
    """
    place = _place()
    found = {list_: _listed(place, list_) for list_ in SIZES}
    folder = draft("clothing1m")
    _room(folder, sum(len(paths) for paths, _ in found.values()) * 3 * SIDE * SIDE)
    arrays = []
    for name, (paths, _) in zip(("images", "test_images"), found.values(), strict=True):
        array = reserved(folder / f"{name}.npy", (len(paths), 3, SIDE, SIDE))
        fill(array, paths, middle)
        arrays.append(array)
    return Source(
        images=arrays[0],
        labels=found[TRAINING][1],
        test_images=arrays[1],
        test_labels=found[TESTING][1],
        classes=CLASSES,
        view=VIEW,
        strong=STRONG,
    )


def middle(picture: Image.Image) -> Image.Image:
    """The middle of a picture whose shorter side was made 256."""
    shorter = min(picture.size)
    width, height = (SHORTER * side // shorter for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    return resized.crop((left, top, left + SIDE, top + SIDE))


def _place() -> Path:
    places = [root / folder for root in roots() for folder in FOLDERS]
    for place in places:
        if (place / "images").is_dir():
            return place
    raise ConfigError(
        f"data clothing1m: no folder images in {', '.join(map(str, places))} (ask its authors for "
        f"it, {SITE}, unpack it into one of these, or name the folder that holds clothing1m by "
        "--data-root or NOISETUNE_DATA)"
    )


def _listed(place: Path, name: str) -> tuple[list[str], Labels]:
    """Paths and labels of the images in a list of keys, in its order."""
    keys = [line for line in _lines(place, name) if line]
    if len(keys) != SIZES[name]:
        raise ConfigError(
            f"{place}, {name}: lists {len(keys):,} images, the original {SIZES[name]:,} (unpack it "
            "anew)"
        )
    entries = (line.split() for line in _lines(place, LABELS[name]))
    pairs = dict(entry for entry in entries if len(entry) == 2)
    lost = next((key for key in keys if key not in pairs), None)
    if lost is not None:
        raise ConfigError(f"{place}, {LABELS[name]}: no label of {lost} (unpack it anew)")
    labels = [pairs[key] for key in keys]
    known = {str(label): label for label in range(len(CLASSES))}
    wrong = next((key for key, label in zip(keys, labels, strict=True) if label not in known), None)
    if wrong is not None:
        raise ConfigError(
            f"{place}, {LABELS[name]}: {wrong} has the label {pairs[wrong]}, classes are 0 to "
            f"{len(CLASSES) - 1} (unpack it anew)"
        )
    paths = [f"{place}/{key}" for key in keys]
    absent = next((path for path in paths if not os.path.isfile(path)), None)
    if absent is not None:  # told now, not after hours of decoding
        raise ConfigError(f"{absent}: no such image, {name} lists it (unpack all parts of images)")
    return paths, np.array([known[label] for label in labels], np.int64)


def _lines(place: Path, name: str) -> list[str]:
    for path in (place / name, place / "annotations" / name):
        if path.is_file():
            try:
                return path.read_text().splitlines()
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path}: cannot be read: {error} (unpack it anew)") from error
    raise ConfigError(f"{place}: no {name}, nor in its folder annotations (unpack it anew)")


def _room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ConfigError(
            f"data clothing1m: takes {size / 1e9:.0f} GB, {folder} has {free / 1e9:.0f} GB free "
            "(set NOISETUNE_HOME to a folder on a larger disk)"
        )
