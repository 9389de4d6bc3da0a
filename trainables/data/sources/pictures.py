"""Picture files into one array, on all cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.meter import Meter
from trainables.errors import ConfigError

CHUNK = 4096  # pictures handed to the threads at a time


def fill(
    array: npt.NDArray[np.uint8], paths: Sequence[str], shape: Callable[[Image.Image], Image.Image]
) -> None:
    """Decode pictures to (N, 3, H, W), in colour, row i from paths[i].

    Args:
        array: to be written into; a map of a file does.
        paths: N of them.
        shape: gives a picture of any size the array's height and width, or raises ValueError.

    Raises:
        ConfigError: naming the first picture that cannot be decoded.
    """

    def decode(row: int) -> None:
        try:
            with Image.open(paths[row]) as picture:
                array[row] = np.asarray(shape(picture.convert("RGB"))).transpose(2, 0, 1)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ConfigError(
                f"{paths[row]}: cannot be decoded: {error} (unpack it anew)"
            ) from error

    told = f"decoding {len(paths):,} pictures of {os.path.dirname(paths[0])}"
    # Pillow decodes outside Python's lock
    with ThreadPoolExecutor(os.cpu_count()) as pool, Meter(told, len(paths)) as meter:
        for start in range(0, len(paths), CHUNK):
            for _ in pool.map(decode, range(start, min(start + CHUNK, len(paths)))):
                meter.add(1)
