"""Any classifier of torchvision by its name, fresh or with torchvision's pretrained weights."""

import pickle
import sys
from dataclasses import dataclass
from hashlib import file_digest
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock
from torch import Tensor, hub, nn

from trainables.errors import ConfigError, unknown


@dataclass(frozen=True)
class Torchvision:
    """A network of `torchvision.models`, its last layer made for K classes.

    Images of one channel are given to it three times over. Pretrained weights are the newest that
    torchvision lists for the name. They were trained on images normalised with ImageNet's
    statistics: say `statistics` accordingly. Weights that are not pretrained start as torchvision
    starts them. Auxiliary heads are left out.
    """

    name: str = "resnet18"
    weights: Literal["none", "default"] = "none"

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torchvision import models  # here, since it takes seconds and few trials need it

        known = models.list_models(module=models)
        if self.name not in known:
            told = unknown("name", self.name, known)
            raise ConfigError(f"model.torchvision.name = {self.name}: {told}")
        channels, height, width = shape
        if channels not in (1, 3):
            raise ValueError(f"{self.name} takes images of one or three channels")
        pretrained = self.weights == "default"
        if pretrained:
            fetched(self.name)
        made = _pretrained if pretrained else _fresh
        where = torch.get_default_device()
        # RegNets compute their widths with tensors, and weights are read into memory, so that
        # neither can be built on the meta device; there, nothing may draw either
        real = pretrained or self.name.startswith("regnet_")
        with torch.random.fork_rng(devices=[], enabled=where.type == "meta"):
            with torch.device("cpu") if real else where:
                network = made(models, self.name, (height, width), classes)
            network.to(where)
        size = getattr(network, "image_size", None)  # of a transformer that takes no other
        if size is not None and (height, width) != (size, size):
            raise ValueError(f"{self.name} takes images of {size} x {size}")
        return network if channels == 3 else Repeated(network)


class Repeated(nn.Module):
    """Gives a network for three channels (B, 1, H, W) images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.expand(-1, 3, -1, -1))
        return logits


def fetched(name: str) -> Path:
    """The file of a network's pretrained weights, in torch's hub folder; downloaded once.

    Processes that ask for it at the same time wait for one download.

    Raises:
        ConfigError: it cannot be downloaded, or what lies there is another file.
    """
    from torchvision import models

    url = models.get_model_weights(name).DEFAULT.url
    path = Path(hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    prefix = path.stem.rpartition("-")[2]  # torchvision puts the hash's first digits there
    cure = f"use weights: none, or put the file at {path}"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.exists():
                    shown = sys.stderr.isatty()
                    hub.download_url_to_file(url, str(path), prefix, progress=shown)
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except (OSError, RuntimeError, HTTPException) as error:
        problem = f"the weights of {name} cannot be had from {url} ({error})"
        raise ConfigError(f"model.torchvision.weights = default: {problem}; {cure}") from error
    if not found.startswith(prefix):
        problem = f"{path} is not the file of {url} (sha256 {found[:8]}, not {prefix})"
        raise ConfigError(f"model.torchvision.weights = default: {problem}; delete it, or {cure}")
    try:  # torchvision itself would run a pickle's code
        torch.load(path, map_location="meta", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        problem = f"{path} holds more than tensors, or less"
        raise ConfigError(f"model.torchvision.weights = default: {problem}; {cure}") from error
    return path


def _fresh(models: Any, name: str, size: tuple[int, int], classes: int) -> nn.Module:
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": size[0]}
    elif name == "maxvit_t":
        options = {"input_size": size}
    try:
        network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    except AssertionError as error:  # how a transformer refuses a size its patches leave a rest of
        raise ValueError(str(error)) from error
    return network


def _pretrained(models: Any, name: str, size: tuple[int, int], classes: int) -> nn.Module:
    network: Any = models.get_model(name, weights="DEFAULT", progress=False)
    if name == "inception_v3":  # torchvision itself drops GoogLeNet's
        network.aux_logits, network.AuxLogits = False, None
    place, last = [
        (place, layer)
        for place, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ][-1]
    head: nn.Module
    if isinstance(last, nn.Linear):
        head = nn.Linear(last.in_features, classes)
    else:  # SqueezeNet's
        head = nn.Conv2d(last.in_channels, classes, 1)
    network.set_submodule(place, head)
    made: nn.Module = network
    return made
