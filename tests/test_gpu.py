"""What only a CUDA device can show. Deselected where there is none."""

import pytest
import torch
from toys import differences, finish, plain, state_of, through_disk, tiny

from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.trial import Trial

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_trial_ends_like_an_undisturbed_one(name: str, data: Dataset) -> None:
    whole = Loop(tiny({name: {}}), data, device="cuda")
    finish(whole)
    first = Loop(tiny({name: {}}), data, device="cuda")
    for _ in range(13):  # inside the second epoch
        first.advance()
    second = Loop(tiny({name: {}}), data, device="cuda")
    second.load_state_dict(through_disk(first.state_dict()), through_disk(first.kept))
    finish(second)
    assert differences(state_of(second), state_of(whole)) == []


def test_the_first_loss_is_that_of_the_cpu(data: Dataset) -> None:
    config = tiny(model="cnn", augment=False)  # the same images, no draw on the device
    losses = [Loop(config, data, device=device).losses().cpu() for device in ("cpu", "cuda")]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)


def test_a_reused_actor_gives_its_memory_back() -> None:
    trial = Trial(plain({"mr": {}}))
    trial.step()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    trial.reset(plain({"reset": {}}, model={"cnn": {"width": 64}}))
    trial.step()
    trial.reset(plain({"mr": {}}))
    trial.step()
    torch.cuda.empty_cache()
    assert before > 0
    assert abs(torch.cuda.memory_allocated() - before) <= 0.01 * before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_images_gathered_ahead_train_the_same_weights(
    precision: str, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny({"mr": {}}, augment=True, precision=precision)
    resident = Loop(config, data, device="cuda")
    finish(resident)
    monkeypatch.setattr("trainables.data.resident.SHARE", 0.0)
    ahead = Loop(config, data, device="cuda")
    finish(ahead)
    ahead.close()
    assert differences(state_of(ahead)["model"], state_of(resident)["model"]) == []


def test_bf16_is_close_to_fp32(data: Dataset) -> None:
    losses = [Loop(tiny(precision=x), data, device="cuda").losses() for x in ("fp32", "bf16")]
    assert losses[1].dtype == torch.float32
    assert 0 < (losses[0] - losses[1]).abs().max() < 0.05


def test_a_compiled_network_trains_like_the_plain_one(data: Dataset) -> None:
    losses = [
        finish(Loop(tiny(model="cnn", epochs=1, compile=x), data, device="cuda"))[-1]["train/loss"]
        for x in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_step_waits_for_nothing(data: Dataset) -> None:
    loop = Loop(tiny({"mr": {}, "mixup": {}, "smooth": {}}, augment=True), data, device="cuda")
    for _ in range(11):  # what is done once an epoch may wait
        loop.advance()
    with torch.cuda.device(0):
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(5):
                loop.advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
