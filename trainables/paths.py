"""Paths as users write them."""

from pathlib import Path

from trainables.errors import ConfigError


def expanded(text: str, place: str) -> Path:
    """A path with its ~ or ~user replaced by that home folder.

    Args:
        text: the path.
        place: the flag, variable or field that names it, with its value, for the message.

    Raises:
        ConfigError: nobody knows that home folder.

    >>> expanded("a/b", "--task a/b").as_posix()
    'a/b'
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        who = Path(text).parts[0]
        raise ConfigError(
            f"{place}: no home folder {who} is known (write the path in full, from /)"
        ) from error
