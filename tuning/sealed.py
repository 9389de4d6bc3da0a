"""The only reader of test labels, for after a choice is on disk; every opening is recorded."""

import json
import time

import numpy as np
import numpy.typing as npt

from trainables.data.cache import home, open_data


def open_labels(data: str, why: str) -> npt.NDArray[np.int64]:
    """Break the seal of a data set's test part.

    Args:
        data: the data set's name.
        why: recorded with the time in <home>/sealed/openings.jsonl.

    Returns:
        (T,) true classes of the test images.
    """
    open_data(data)
    folder = home() / "sealed"
    with (folder / "openings.jsonl").open("a") as file:
        file.write(json.dumps({"time": time.time(), "data": data, "why": why}) + "\n")
    labels: npt.NDArray[np.int64] = np.load(folder / f"{data}.npy", allow_pickle=False)
    return labels
