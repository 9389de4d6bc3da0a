"""Batches from a map that is larger than the device, gathered ahead of the training."""

import threading
from dataclasses import dataclass
from queue import Empty, Full, Queue

import torch
from torch import Tensor

DEPTH = 4  # batches that wait for the training, at most
POLL = 0.1  # seconds after which a waiting thread looks whether it is still wanted


@dataclass(frozen=True)
class Prepared:
    """A batch on its way to the device.

    Attributes:
        key: the memory of its index.
        images: (B, C, H, W) uint8 on the device, once `copied` has happened.
    """

    key: int
    images: Tensor
    copied: torch.cuda.Event | None


@dataclass(frozen=True)
class Gatherer:
    """Takes rows out of a map and sends them to a device.

    Attributes:
        images: (M, C, H, W) uint8, mapped.
        rows: (N,) positions of the training rows in it, on the CPU.
        device: where batches are to be.
        stream: of the copies, on a GPU.
    """

    images: Tensor
    rows: Tensor
    device: torch.device
    stream: torch.cuda.Stream | None

    def batch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) images of the training rows `index` (B,), a CPU tensor; on the device."""
        shape = (len(index), *self.images.shape[1:])
        # only pinned memory can be copied while the GPU computes
        out = torch.empty(shape, dtype=torch.uint8, pin_memory=self.stream is not None)
        torch.index_select(self.images, 0, self.rows.index_select(0, index), out=out)
        return out.to(self.device, non_blocking=True)

    def prepare(self, key: int, index: Tensor) -> Prepared:
        if self.stream is None:
            return Prepared(key, self.batch(index), None)
        with torch.cuda.stream(self.stream):
            images = self.batch(index)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self.stream)
        return Prepared(key, images, copied)


class Ahead:
    """One thread gathers an epoch's batches and copies them to the device."""

    def __init__(self, images: Tensor, rows: Tensor, device: torch.device) -> None:
        cuda = device.type == "cuda"
        stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self.gatherer = Gatherer(images, rows, device, stream)
        self._stop = threading.Event()
        self._ready: Queue[Prepared | Exception] = Queue(DEPTH)
        self._thread: threading.Thread | None = None
        self._next: Prepared | None = None  # taken from the queue, not asked for yet
        self._last: tuple[Tensor, Tensor] | None = None  # an index and its images, for a 2nd view

    def plan(self, parts: list[Tensor]) -> None:
        """Begin to gather these batches, in this order; what was planned before is dropped.

        Args:
            parts: (B,) positions in the training split each, on the device. `take` knows a batch by
                the memory of its index, so that it need not wait for the device to read it.
        """
        self.close()
        self._stop, self._ready, self._next = threading.Event(), Queue(DEPTH), None
        wanted = [(part.data_ptr(), part.cpu()) for part in parts]
        work = (self.gatherer, wanted, self._stop, self._ready)
        self._thread = threading.Thread(target=_gather, args=work, daemon=True)
        self._thread.start()

    def take(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images of the training rows `index` on the device.

        The next planned batch is there already, and the last one still; any other rows are gathered
        now.
        """
        if self._last is None or self._last[0] is not index:
            self._last = index, self._gathered(index)
        return self._last[1]

    def _gathered(self, index: Tensor) -> Tensor:
        found = self._planned()
        if found is None or found.key != index.data_ptr():
            return self.gatherer.batch(index.cpu())
        self._next = None
        if found.copied is not None:
            current = torch.cuda.current_stream(self.gatherer.device)
            current.wait_event(found.copied)
            found.images.record_stream(current)
        return found.images

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __del__(self) -> None:
        self._stop.set()  # the thread knows nothing of this object and would wait for ever

    def _planned(self) -> Prepared | None:
        while self._next is None and self._thread is not None:
            alive = self._thread.is_alive()  # before looking: what it put last must be found
            try:
                found = self._ready.get(timeout=POLL if alive else 0)
            except Empty:
                if not alive:
                    return None
                continue
            if isinstance(found, Exception):
                raise found
            self._next = found
        return self._next


def _gather(
    gatherer: Gatherer,
    wanted: list[tuple[int, Tensor]],
    stop: threading.Event,
    ready: "Queue[Prepared | Exception]",
) -> None:
    for key, index in wanted:
        item: Prepared | Exception
        try:
            item = gatherer.prepare(key, index)
        except Exception as error:
            item = error
        while not stop.is_set():
            try:
                ready.put(item, timeout=POLL)
                break
            except Full:
                pass
        if stop.is_set() or isinstance(item, Exception):
            return
