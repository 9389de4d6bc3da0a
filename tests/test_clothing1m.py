"""Clothing1M from a generated miniature of its release."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import cache
from trainables.data.cache import open_data
from trainables.data.sources import clothing1m
from trainables.data.sources.roots import home
from trainables.errors import ConfigError

TRAINING = {"images/3/25/b,1.jpg": 13, "images/0/01/a,2.jpg": 0, "images/9/99/c,3.jpg": 5}
TESTING = {"images/5/55/d,4.jpg": 2}
SIZES = [(300, 400), (512, 256), (224, 230), (90, 100)]  # width and height


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training images and a test image, each of one colour."""
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path))
    place = tmp_path / "clothing1m"
    both = {**TRAINING, **TESTING}
    for i, key in enumerate(both):
        (place / key).parent.mkdir(parents=True)
        Image.new("RGB", SIZES[i], (60 * i, 100, 200)).save(place / key, quality=100)
    for name, keys in ((clothing1m.TRAINING, TRAINING), (clothing1m.TESTING, TESTING)):
        (place / name).write_text("".join(f"{key}\n" for key in keys))
        monkeypatch.setitem(clothing1m.SIZES, name, len(keys))
    # real lists of labels name more images than either list of keys
    noisy = {**TRAINING, "images/1/11/e.jpg": 7, **dict.fromkeys(TESTING, 11)}
    for name, labels in (("noisy_label_kv.txt", noisy), ("clean_label_kv.txt", TESTING)):
        (place / name).write_text("".join(f"{key} {label}\n" for key, label in labels.items()))
    return place


def annotations(place: Path) -> None:
    (place / "annotations").mkdir()
    for path in place.glob("*.txt"):
        path.rename(place / "annotations" / path.name)


@pytest.mark.parametrize("move", [lambda place: None, annotations])
def test_lists_give_the_images_and_their_labels(
    move: Callable[[Path], object], place: Path
) -> None:
    move(place)
    data = open_data("clothing1m")
    assert data.labels.tolist() == list(TRAINING.values())
    assert data.images.shape == (3, 3, 224, 224)
    assert data.test_images.shape == (1, 3, 224, 224)
    for i, image in enumerate([*data.images, *data.test_images]):
        assert np.abs(image.mean((1, 2)) - [60 * i, 100, 200]).max() < 2
        assert np.ptp(image, axis=(1, 2)).max() < 4
    assert len(data.classes) == 14
    assert (data.strong.view, data.strong.policy, data.strong.cutout) == (data.view, True, 112)
    assert data.validation is None
    assert np.load(home() / "sealed" / "clothing1m.npy").tolist() == [2]


def test_images_are_decoded_into_the_files_that_stay(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    reserved = clothing1m.reserved

    def spied(path: Path, shape: tuple[int, ...]) -> np.memmap:
        array = reserved(path, shape)
        written.append(os.stat(path).st_ino)
        return array

    monkeypatch.setattr(clothing1m, "reserved", spied)
    address = open_data("clothing1m").address
    folder = home() / "data" / address
    assert [(folder / f"{name}.npy").stat().st_ino for name in ("images", "test_images")] == written
    assert not cache.verify("clothing1m")


def test_the_middle_of_a_picture_is_kept() -> None:
    across = np.arange(512, dtype=np.uint8) // 2 + np.zeros((256, 1), np.uint8)
    cropped = np.asarray(clothing1m.middle(Image.fromarray(across)))
    np.testing.assert_array_equal(cropped, across[16:240, 144:368])
    tall = Image.fromarray(across).transpose(Image.Transpose.ROTATE_90).resize((128, 256))
    assert clothing1m.middle(tall).size == (224, 224)


def cut(name: str, wanted: str, put: str = "") -> Callable[[Path], object]:
    def spoil(place: Path) -> None:
        text = (place / name).read_text()
        assert wanted in text
        (place / name).write_text(text.replace(wanted, put))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda at: at.rename(at.parent / "clothes"), "clothing1m: no folder images in"),
        (lambda at: (at / clothing1m.TESTING).unlink(), "no clean_test_key_list.txt, nor in"),
        (lambda at: (at / "noisy_label_kv.txt").unlink(), "no noisy_label_kv.txt, nor in"),
        (
            cut(clothing1m.TRAINING, "images/9/99/c,3.jpg\n"),
            "noisy_train_key_list.txt: lists 2 images, the original 3",
        ),
        (
            cut("noisy_label_kv.txt", "images/9/99/c,3.jpg 5\n"),
            "noisy_label_kv.txt: no label of images/9/99/c,3.jpg",
        ),
        (
            cut("clean_label_kv.txt", "jpg 2", "jpg 14"),
            r"clean_label_kv.txt: images/5/55/d,4.jpg has the label 14, classes are 0 to 13",
        ),
        (
            lambda at: shutil.rmtree(at / "images/9"),
            r"images/9/99/c,3.jpg: no such image, noisy_train_key_list.txt lists it",
        ),
        (
            lambda at: (at / "images/9/99/c,3.jpg").write_bytes(b"\xff\xd8"),
            r"images/9/99/c,3.jpg: cannot be decoded",
        ),
    ],
)
def test_files_that_are_not_the_original_leave_nothing_behind(
    spoil: Callable[[Path], object], told: str, place: Path
) -> None:
    spoil(place)
    with pytest.raises(ConfigError, match=told) as error:
        open_data("clothing1m")
    assert "\n" not in str(error.value)
    assert [path for path in (home() / "data").rglob("*") if path.suffix != ".lock"] == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_decoded(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(place)._replace(free=4 * 3 * 224 * 224 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(clothing1m, "fill", None)
    told = r"clothing1m: takes .* GB free \(set NOISETUNE_HOME to"
    with pytest.raises(ConfigError, match=told):
        open_data("clothing1m")


def test_the_sizes_of_the_release_are_asked_for() -> None:
    assert list(clothing1m.SIZES.values()) == [1_000_000, 10_526]
