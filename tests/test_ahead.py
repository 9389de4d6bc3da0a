"""Batches gathered ahead: the planned ones in order, any others at once, and no thread is left."""

import gc
import threading
import time

import pytest
import torch
from torch import Tensor
from toys import differences, finish, state_of, tiny

from trainables.data.ahead import DEPTH, Ahead
from trainables.data.dataset import Dataset
from trainables.data.resident import Resident
from trainables.loop import Loop

CPU = torch.device("cpu")
IMAGES = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
ROWS = torch.arange(199, -1, -1)  # training row i is image 199 - i


def seen(images: Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_planned_batches_come_in_order() -> None:
    ahead = Ahead(IMAGES, ROWS, CPU)
    for seed in (0, 1):
        order = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
        parts = list(torch.split(order, 32))
        ahead.plan(parts)
        for part in parts:
            again = order[part.storage_offset() :][: len(part)]  # another view of the same memory
            assert seen(ahead.take(again)) == (199 - part).tolist()
    ahead.close()


def test_other_rows_are_gathered_at_once() -> None:
    ahead = Ahead(IMAGES, ROWS, CPU)
    assert seen(ahead.take(torch.tensor([3, 1]))) == [196, 198]
    parts = list(torch.split(torch.arange(200), 50))
    ahead.plan(parts)
    assert seen(ahead.take(torch.tensor([5]))) == [194]
    assert seen(ahead.take(parts[0])) == list(range(199, 149, -1))
    for part in parts[1:]:
        ahead.take(part)
    assert seen(ahead.take(torch.tensor([7]))) == [192]  # after the plan's end
    ahead.close()


def test_only_a_few_batches_wait() -> None:
    ahead = Ahead(IMAGES, ROWS, CPU)
    ahead.plan(list(torch.split(torch.arange(200), 10)))
    end = time.monotonic() + 10
    while ahead._ready.qsize() < DEPTH:
        assert time.monotonic() < end
    time.sleep(0.05)
    assert ahead._ready.qsize() == DEPTH
    ahead.close()


@pytest.mark.parametrize("close", [True, False])
def test_no_thread_is_left(close: bool) -> None:
    before = threading.active_count()
    ahead = Ahead(IMAGES, ROWS, CPU)
    ahead.plan(list(torch.split(torch.arange(200), 10)))
    assert threading.active_count() == before + 1
    if close:
        ahead.close()
    del ahead
    gc.collect()
    end = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < end


def test_what_breaks_the_thread_breaks_the_training() -> None:
    ahead = Ahead(IMAGES, ROWS, CPU)
    part = torch.tensor([1000])  # no such row
    ahead.plan([part])
    with pytest.raises(IndexError):
        ahead.take(part)


def test_a_loop_over_a_map_trains_the_same_weights(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny({"mr": {"eta": 0.5, "period": 0.3}, "mixup": {}}, augment=True)
    plain = Loop(config, data)
    finish(plain)

    class Streaming(Resident):
        def __init__(self, data: Dataset, device: torch.device, probe: Tensor | None) -> None:
            super().__init__(data, device, probe)
            self._ahead = Ahead(data.images, self._train, device)

    monkeypatch.setattr("trainables.loop.Resident", Streaming)
    loop = Loop(config, data)
    for _ in range(13):  # inside an epoch
        loop.advance()
    other = Loop(config, data)
    other.load_state_dict(loop.state_dict(), loop.kept)
    for streaming in (loop, other):
        finish(streaming)
        assert differences(state_of(streaming)["model"], state_of(plain)["model"]) == []
        streaming.close()
