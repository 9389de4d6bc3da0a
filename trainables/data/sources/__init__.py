"""Where images come from, by the name a task calls them."""

from collections.abc import Callable

from trainables.data.sources.base import Source
from trainables.data.sources.digits import digits

SOURCES: dict[str, Callable[[], Source]] = {"digits": digits}
