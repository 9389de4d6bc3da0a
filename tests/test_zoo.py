"""Networks of torchvision: any name, one channel, and weights that are fetched once."""

import pickle
import threading
import time
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import hub, nn
from torchvision import models

from trainables.errors import ConfigError
from trainables.models import zoo
from trainables.models.zoo import Repeated, Torchvision, fetched

NAME = "squeezenet1_1"  # 5 MB of weights, and a convolution for a head
HASH = "b8a52dc0"  # in its file's name
FILE = f"{NAME}-{HASH}.pth"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where weights lie, empty, and out of the user's way."""
    before = hub.get_dir()
    hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    hub.set_dir(before)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file has the hash that is asked for: real weights are too large for a test."""
    digest = SimpleNamespace(hexdigest=lambda: HASH + "0" * 56)
    monkeypatch.setattr(zoo, "file_digest", lambda file, name: digest)


def state(classes: int = 1000) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return dict(models.get_model(NAME, num_classes=classes).state_dict())


def put(folder: Path, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / FILE)
    return folder / FILE


@pytest.mark.parametrize(
    "name",
    ["convnext_tiny", "efficientnet_b0", "googlenet", "inception_v3", "regnet_x_400mf",
     "resnet18", "shufflenet_v2_x0_5", "squeezenet1_0", "swin_t", "vgg11", "vit_b_16",
     "maxvit_t", "densenet121", "mnasnet0_5", "mobilenet_v3_small", "alexnet"],
)  # fmt: skip
def test_every_family_builds_without_memory_and_draws_nothing(name: str) -> None:
    before = torch.get_rng_state()
    with torch.device("meta"), torch.no_grad():
        model = Torchvision(name).build((3, 224, 224), 7)
        assert all(tensor.is_meta for tensor in model.state_dict().values())
        assert model.eval()(torch.empty(2, 3, 224, 224)).shape == (2, 7)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_channel_is_given_three_times() -> None:
    torch.manual_seed(0)
    grey = Torchvision(NAME).build((1, 32, 32), 10).eval()
    torch.manual_seed(0)
    coloured = Torchvision(NAME).build((3, 32, 32), 10).eval()
    assert isinstance(grey, Repeated)
    assert not isinstance(coloured, Repeated)
    x = torch.rand(2, 1, 32, 32)
    assert torch.equal(grey(x), coloured(x.repeat(1, 3, 1, 1)))


def test_pretrained_weights_keep_all_but_the_head(folder: Path, trusted: None) -> None:
    put(folder, state())
    model = Torchvision(NAME, "default").build((3, 64, 64), 10)
    mine, theirs = model.state_dict(), state()
    different = [key for key in theirs if not torch.equal(mine[key], theirs[key])]
    assert different == ["classifier.1.weight", "classifier.1.bias"]
    assert mine["classifier.1.weight"].shape == (10, 512, 1, 1)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 10)
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_pretrained_weights_have_no_weight_on_the_meta_device(folder: Path, trusted: None) -> None:
    put(folder, state())
    before = torch.get_rng_state()
    with torch.device("meta"):
        model = Torchvision(NAME, "default").build((1, 64, 64), 10)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_linear_head_is_replaced_too(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(zoo, "fetched", lambda name: folder)
    torch.manual_seed(0)
    original = models.get_model("mobilenet_v3_small")
    monkeypatch.setattr(models, "get_model", lambda name, **options: original)
    model = Torchvision("mobilenet_v3_small", "default").build((3, 64, 64), 4)
    head = model.classifier[-1]  # type: ignore[index]
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (1024, 4)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = models.get_model(name, aux_logits=True, init_weights=False).state_dict()
    kind = models.get_model_weights(name)
    monkeypatch.setattr(kind, "get_state_dict", lambda self, **options: made)
    monkeypatch.setattr(zoo, "fetched", lambda name: Path())
    for weights in ("none", "default"):
        with torch.device("meta"):
            model = Torchvision(name, weights).build((3, 96, 96), 4)  # type: ignore[arg-type]
            assert model.train()(torch.empty(2, 3, 96, 96)).shape == (2, 4)
        heads = [path for path, _ in model.named_parameters() if "aux" in path.lower()]
        assert heads == []


def test_weights_that_cannot_be_downloaded_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise URLError("no route\nto host")

    monkeypatch.setattr(hub, "download_url_to_file", fail)
    with pytest.raises(ConfigError) as refused:
        Torchvision(NAME, "default").build((3, 64, 64), 10)
    told = str(refused.value)
    assert told.startswith(f"model.torchvision.weights = default: the weights of {NAME} cannot be")
    assert told.endswith(f"use weights: none, or put the file at {folder / FILE}")
    assert "no route to host" in told
    assert not (folder / FILE).exists()


def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    folder.parent.write_text("a file in its place")
    with pytest.raises(ConfigError, match=r"cannot be had from .*; use weights: none, or put the"):
        fetched(NAME)


def test_another_file_is_refused(folder: Path) -> None:
    path = put(folder, {"a": torch.zeros(1)})
    told = rf"{path} is not the file of .*{FILE} \(sha256 .{{8}}, not {HASH}\); delete it"
    with pytest.raises(ConfigError, match=told):
        fetched(NAME)


class Harmful:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "how", [torch.save, partial(pickle.dump, protocol=2)], ids=["torch", "pickle"]
)
def test_a_pickle_s_code_does_not_run(folder: Path, trusted: None, how: Any) -> None:
    ran = folder.parent.parent / "ran"
    buffer = BytesIO()
    how({"a": Harmful(ran)}, buffer)
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(buffer.getvalue())
    with pytest.raises(ConfigError, match="holds more than tensors"):
        Torchvision(NAME, "default").build((3, 64, 64), 10)
    assert not ran.exists()


def test_two_at_once_download_once(
    folder: Path, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(url: str, path: str, prefix: str, progress: bool) -> None:
        asked.append(prefix)
        time.sleep(0.2)
        torch.save({}, path)

    monkeypatch.setattr(hub, "download_url_to_file", download)
    threads = [threading.Thread(target=fetched, args=(NAME,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [HASH]
    assert fetched(NAME) == folder / FILE
