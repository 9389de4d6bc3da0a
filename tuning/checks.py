"""The doctor's checks of programs and machine. Each imports what it looks at, and only then."""

import importlib
import os
import platform
import shutil
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from tuning.findings import Finding, fail, ok, warn

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
DRIVER = Path("/proc/driver/nvidia/version")
TRIAL_BYTES, STORE_BYTES = 500_000_000, 200_000_000  # of a small trial, of Ray's object store
PATIENCE = 120.0  # seconds that Ray may take to run a task


def asked() -> tuple[str, list[str]]:
    """The Python and the packages that noisetune asks for."""
    if PROJECT.exists():
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], project["dependencies"]
    own = metadata.metadata("noisetune")
    needed = [line for line in metadata.requires("noisetune") or [] if "extra ==" not in line]
    return own["Requires-Python"], needed


def python() -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    needed, found = asked()[0], platform.python_version()
    value = f"{found} on {platform.system()} {platform.machine()}"
    if SpecifierSet(needed).contains(found, prereleases=True):
        yield ok("Python", value)
    else:
        yield fail("Python", f"{value}; noisetune needs {needed}", "use another Python")


def packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    good = []
    for text in asked()[1]:
        needed = Requirement(text)
        if needed.marker and not needed.marker.evaluate():
            continue
        cure = f"pip install '{needed.name}{needed.specifier}'"
        try:
            found = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield fail(needed.name, "is not installed", cure)
            continue
        if needed.specifier.contains(found, prereleases=True):
            good.append(f"{needed.name} {found}")
        else:
            yield fail(needed.name, f"{found}; noisetune needs {needed.specifier}", cure)
    yield ok("packages", ", ".join(good))


def torchvision() -> Iterator[Finding]:
    """Its compiled operators belong to one torch; another one's crash or are not found."""
    from packaging.requirements import Requirement

    found = metadata.version("torch")
    needs = [Requirement(line) for line in metadata.requires("torchvision") or []]
    for needed in needs:
        if needed.name == "torch" and not needed.specifier.contains(found, prereleases=True):
            told = f"{metadata.version('torchvision')} needs torch{needed.specifier}, not {found}"
            yield fail("torchvision", told, "pip install --upgrade torch torchvision, in one go")
            return
    try:
        import torch

        ops = importlib.import_module("torchvision.ops")
        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.1], [5.0, 5.0, 6.0, 6.0]])
        kept = ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
        assert kept == [0, 2], f"nms gave {kept}"
    except Exception as error:
        told = f"does not work with torch {found}: {' '.join(str(error).split())}"
        yield fail("torchvision", told, "pip install --force-reinstall torch torchvision")
        return
    value = f"{metadata.version('torchvision')} runs its operators with torch {found}"
    yield ok("torchvision", value)


def cuda() -> Iterator[Finding]:
    """torch's build and the driver, then each GPU."""
    import torch

    built = torch.version.cuda or torch.version.hip
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = "" if hidden is None else f"; CUDA_VISIBLE_DEVICES={hidden!r}"
    driver = DRIVER.exists() or shutil.which("nvidia-smi") is not None
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        yield ok("CUDA", f"torch is built for {built}; {count} GPU{'s' * (count > 1)}{shown}")
        for number in range(count):
            yield from gpu(torch, number)
    elif not driver:
        what = f"torch is built for CUDA {built}" if built else "torch is built for the CPU"
        yield ok("CUDA", f"no GPU and no driver here, trials run on the CPU ({what})")
    elif built is None:
        cure = "install a CUDA build of torch, see https://pytorch.org/get-started/locally"
        yield warn("CUDA", "there is an NVIDIA driver, but torch is built for the CPU", cure)
    elif hidden is not None and hidden.strip() in ("", "-1"):
        yield ok("CUDA", f"GPUs are hidden{shown}")
    else:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
            told = "torch finds no GPU"
        except Exception as error:
            told = " ".join(str(error).split())
        cure = "update the driver, or install a torch built for an older CUDA"
        yield fail("CUDA", f"torch is built for {built}; {told}{shown}", cure)


def gpu(torch: Any, number: int) -> Iterator[Finding]:
    """One GPU: what it is, and whether it computes."""
    name = f"GPU {number}"
    facts = torch.cuda.get_device_properties(number)
    code = f"sm_{facts.major}{facts.minor}"
    try:
        device = f"cuda:{number}"
        product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
        assert float(product.sum()) == 64**3, "it computes wrongly"
        free, total = torch.cuda.mem_get_info(number)
        bf16 = "bf16" if facts.major >= 8 else "no bf16"
    except Exception as error:
        told = " ".join(str(error).split())
        cure = "end what else runs there, or install a torch with " + code
        yield fail(name, f"{facts.name}, {code}: {told}", cure)
        return
    size = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    value = f"{facts.name}, {size}, capability {facts.major}.{facts.minor}, {bf16}"
    if free < total / 2:
        cure = "see who uses it: nvidia-smi; or leave it out: CUDA_VISIBLE_DEVICES"
        yield warn(name, value, cure)
    else:
        yield ok(name, value)


def processor() -> Iterator[Finding]:
    from tuning.session import cores, quota

    there, usable = os.cpu_count() or 1, cores()
    parts = [f"{usable} of {there} cores for this process"]
    if quota() <= there:
        parts.append(f"the container's quota is {max(1, quota())}")
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None:
        parts.append(f"OMP_NUM_THREADS={threads}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    parts.append(f"load {load:.1f}")
    if load > 1.5 * usable:
        yield warn("CPU", ", ".join(parts), "others compute here: trials will take longer")
    else:
        yield ok("CPU", ", ".join(parts))


def memory() -> Iterator[Finding]:
    from tuning.resources import free_memory
    from tuning.session import cores

    free = free_memory()
    if free is None:
        yield ok("memory", "this system does not tell what is free")
        return
    fit = int(free / TRIAL_BYTES)
    value = f"{free / 1e9:.1f} GB free, room for {fit} small trials"
    if fit < cores():
        yield warn("memory", value, f"run fewer at a time: --concurrency {max(1, fit)}")
    else:
        yield ok("memory", value)
    shared = Path("/dev/shm")
    if shared.exists():
        left = shutil.disk_usage(shared).free
        told = f"{left / 1e6:,.0f} MB free; Ray's object store takes {STORE_BYTES / 1e6:.0f} MB"
        if left < STORE_BYTES:
            yield warn("/dev/shm", told, "give a container more: docker run --shm-size=1g")
        else:
            yield ok("/dev/shm", told)


def ray() -> Iterator[Finding]:
    """Ray's settings, as `tuning.search` starts it; it is not started."""
    sent = os.environ.get("RAY_USAGE_STATS_ENABLED", "0")
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    value = f"{metadata.version('ray')}; its ports are open on all interfaces"
    if mode == "token":
        yield ok("Ray", f"{value}, a token is asked for")
    else:
        cure = "unset RAY_AUTH_MODE: whoever reaches the ports runs code as you"
        yield warn("Ray", f"{value}, RAY_AUTH_MODE={mode}", cure)
    if sent == "0":
        yield ok("telemetry", "off")
    else:
        yield warn("telemetry", f"RAY_USAGE_STATS_ENABLED={sent}", "unset it to send nothing")
    temp = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
    longest = f"{temp}/session_2000-01-01_00-00-00_000000_1234567/sockets/plasma_store"
    free = shutil.disk_usage(next(p for p in (temp, *temp.parents) if p.exists())).free
    if len(longest) > 107:
        yield fail("Ray's folder", f"{temp}: too long for a socket", "choose a short RAY_TMPDIR")
    elif free < 1e9:
        yield warn("Ray's folder", f"{temp}: {free / 1e6:.0f} MB free", "make room, or RAY_TMPDIR")
    else:
        yield ok("Ray's folder", f"{temp}: {free / 1e9:.1f} GB free")


def ray_start() -> Iterator[Finding]:
    """Really start Ray and run a task."""
    from tuning.session import cluster, quieten

    quieten()
    began = time.perf_counter()
    with cluster(None) as nodes:
        started = time.perf_counter()
        started_ray = importlib.import_module("ray")
        task = started_ray.remote(num_cpus=1)(lambda: os.getpid())
        other = started_ray.get(task.remote(), timeout=PATIENCE)
        ran = time.perf_counter()
        assert other != os.getpid(), "the task ran in this process"
    cpus, gpus = nodes[0]
    value = f"started in {started - began:.1f} s with {cpus:g} CPUs and {gpus:g} GPUs; "
    yield ok("Ray start", f"{value}a task ran in {ran - started:.1f} s")
