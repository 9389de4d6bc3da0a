"""Forward passes in ranges: every row once, in order, in ranges that the device takes."""

import pytest
import torch
from torch import Tensor

from trainables.passes import Passes

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shape", "device", "rows"),
    [
        ((1, 8, 8), "cpu", 512),
        ((1, 28, 28), "cpu", 256),
        ((3, 32, 32), "cpu", 64),
        ((3, 2000, 2000), "cpu", 1),
        ((3, 32, 32), "cuda", 4096),
    ],
)
def test_ranges_fit_the_device(shape: tuple[int, int, int], device: str, rows: int) -> None:
    assert Passes(shape, torch.device(device)).rows == rows


def test_a_device_that_is_too_small_gets_smaller_ranges() -> None:
    tried: list[int] = []

    def logits(part: slice) -> Tensor:
        tried.append(part.stop - part.start)
        if part.stop - part.start > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.arange(part.start, part.stop)[:, None].float()

    passes = Passes((1, 8, 8), CPU)
    for _ in range(2):
        assert torch.equal(passes.over(logits, 150)[:, 0], torch.arange(150.0))
    assert tried == [150, 150, 128, 64, 64, 22, 64, 64, 22]


def test_a_device_without_room_for_one_row_is_an_error() -> None:
    def logits(part: slice) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Passes((1, 8, 8), CPU).over(logits, 3)
