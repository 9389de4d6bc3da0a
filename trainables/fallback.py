"""Which checkpoints a trial may go on from when the one that Tune gives it is not whole."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from pyarrow import fs as arrow


def candidates(opened: Callable[..., Any], *given: Any) -> Iterator[Any]:
    """What a trial may go on from: each that is given, and then those beside it, newest first.

    Args:
        opened: Tune's `Checkpoint`.
        given: checkpoints, paths of them, what Tune's `save` gives, or None.
    """
    for one in given:
        if one is None:
            continue
        checkpoint = opened(one) if isinstance(one, str) else one
        checkpoint = getattr(checkpoint, "checkpoint", checkpoint)  # of what Tune gives back
        path, system = PurePosixPath(checkpoint.path), checkpoint.filesystem
        if _plain(system, path):
            yield one
        selector = arrow.FileSelector(str(path.parent), allow_not_found=True)
        beside = (PurePosixPath(info.path) for info in system.get_file_info(selector))
        for other in sorted((at for at in beside if at.name != path.name), reverse=True):
            if other.name.startswith("checkpoint_") and _plain(system, other):
                yield opened(str(other), filesystem=system)


def _plain(system: Any, path: PurePosixPath) -> bool:
    """Whether a checkpoint is there, without the file that Tune would unpickle; ours have none."""
    folder, pickled = system.get_file_info([str(path), str(path / "_dict_checkpoint.pkl")])
    absent = arrow.FileType.NotFound
    return bool(folder.type != absent and pickled.type == absent)
