"""ANIMAL-10N from a generated miniature of its raw-image version."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.config import Config
from trainables.data.cache import open_data
from trainables.data.dataset import prepare
from trainables.data.sources import SOURCES, animal10n
from trainables.errors import ConfigError

TRAINING = ["3_7.jpg", "0_12.jpg", "9_5.JPG", "0_2.jpg"]
TESTING = ["8_1.jpg", "1_3.jpg"]
GREY = {name: 20 * i for i, name in enumerate(TRAINING + TESTING)}


def picture(folder: Path, name: str, side: int = 64) -> None:
    grey = GREY[name]
    colours = np.zeros((side, side, 3), np.uint8) + np.array([grey, 255 - grey, 100], np.uint8)
    Image.fromarray(colours).save(folder / name, quality=100, subsampling=0)


@pytest.fixture(params=["animal-10n", "ANIMAL-10N"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four training images and two test images."""
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path))
    place = tmp_path / str(request.param)
    for part, names in (("training", TRAINING), ("testing", TESTING)):
        (place / part).mkdir(parents=True)
        monkeypatch.setitem(animal10n.SIZES, part, len(names))
        for name in names:
            picture(place / part, name)
    (place / "training" / "Thumbs.db").write_text("not a picture")
    return place


def test_names_hold_the_labels_and_give_the_order(place: Path) -> None:
    source = SOURCES["animal-10n"]()
    assert source.labels.tolist() == [0, 0, 3, 9]
    assert source.test_labels.tolist() == [1, 8]
    assert len(source.classes) == 10
    assert (source.classes[3], source.classes[9]) == ("coyote", "guinea pig")
    for images, names in ((source.images, TRAINING), (source.test_images, TESTING)):
        assert images.shape == (len(names), 3, 64, 64)
        assert images.dtype == np.uint8
        for image, name in zip(images, sorted(names), strict=True):
            colours = np.array([GREY[name], 255 - GREY[name], 100])
            assert np.abs(image.mean((1, 2)) - colours).max() < 2


def test_it_is_cached_like_any_other(place: Path) -> None:
    source, data = SOURCES["animal-10n"](), open_data("animal-10n")
    np.testing.assert_array_equal(data.images, source.images)
    np.testing.assert_array_equal(data.labels, source.labels)
    assert (data.view, data.strong) == (source.view, source.strong)
    assert (data.strong.view, data.strong.policy, data.strong.cutout) == (data.view, True, 32)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda at: (at / "training/0_2.jpg").unlink(), "training: holds 3 files .* original 4"),
        (lambda at: (at / "testing").rename(at / "test"), "no folders training and testing in"),
        (lambda at: (at / "training/0_2.jpg").write_bytes(b""), "0_2.jpg: cannot be decoded"),
        (lambda at: picture(at / "training", "0_2.jpg", side=32), "is 32 x 32, not 64 x 64"),
        (
            lambda at: (at / "training/0_2.jpg").write_bytes(
                (at / "training/0_2.jpg").read_bytes()[:300]
            ),
            "0_2.jpg: cannot be decoded",
        ),
    ],
)
def test_files_that_are_not_the_original_are_told_in_one_line(
    spoil: object, told: str, place: Path
) -> None:
    assert callable(spoil)
    spoil(place)
    with pytest.raises(ConfigError, match=told) as error:
        SOURCES["animal-10n"]()
    assert "\n" not in str(error.value)
    assert str(place.parent) in str(error.value)


def test_the_sizes_of_the_release_are_asked_for() -> None:
    assert animal10n.SIZES == {"training": 50_000, "testing": 5_000}


def test_a_task_adds_no_noise_to_labels_that_are_noisy(place: Path) -> None:
    kept = prepare(Config.parse({"data": "animal-10n", "noise": {"kind": "none"}}).task)
    assert kept.given.tolist() == [0, 0, 3, 9]
    told = r"noise.kind = symmetric: the labels of animal-10n are noisy as they are \(take none\)"
    with pytest.raises(ConfigError, match=told):
        prepare(Config.parse({"data": "animal-10n"}).task)
