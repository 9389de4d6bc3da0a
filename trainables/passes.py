"""Forward passes over many images without gradients, in ranges as large as the device likes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Numbers of a range: what a CPU's cache likes (benchmarks/RESULTS.md), and a GPU's first attempt.
CPU_NUMBERS, GPU_NUMBERS = 2**18, 2**24
MOST = 512  # rows on a CPU


class Passes:
    """Runs a network over ranges of rows; halves them when the device runs out of memory.

    Args:
        shape: C, H, W of an image.
        device: where the network is.

    Attributes:
        rows: of a range, a power of two.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        cpu = device.type == "cpu"
        fit = (CPU_NUMBERS if cpu else GPU_NUMBERS) // math.prod(shape)
        self.rows = 2 ** int(math.log2(max(1, min(fit, MOST) if cpu else fit)))

    def over(self, logits: Callable[[slice], Tensor], count: int) -> Tensor:
        """(count, K) logits.

        Args:
            logits: gives those of a range of rows.
            count: of all rows.

        Raises:
            torch.OutOfMemoryError: not even one row fits.
        """
        done: list[Tensor] = []
        start = 0
        while start < count:
            try:
                done.append(logits(slice(start, min(start + self.rows, count))))
            except torch.OutOfMemoryError:
                if self.rows == 1:
                    raise
                self.rows //= 2
                torch.cuda.empty_cache()
            else:
                start += self.rows
        return torch.cat(done)
