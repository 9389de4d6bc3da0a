"""The journal: what was written is read, whatever a kill left at the end."""

import json
import os
import random
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainables.errors import ConfigError
from tuning.journal import BrokenError, Journal, read

ENTRIES: list[dict[str, Any]] = [
    {"kind": "life", "life": 1, "time": 1795000000.25},
    {"kind": "suggest", "trial": "mr-0000", "params": {"mr/on": True, "mr/eta": 0.1}, "n": 0},
    {"kind": "end", "trial": "mr-0000", "status": "failed", "error": "two\nlines, \u2028 é \x00"},
]


def write(folder: Path, *entries: dict[str, Any]) -> Path:
    """One life that writes the entries; its segment."""
    journal = Journal(folder)
    for entry in entries:
        journal.append(entry)
    journal.close()
    return max(folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    segment = write(tmp_path / "study" / "journal", *ENTRIES)
    assert list(read(segment.parent)) == ENTRIES
    lines = segment.read_bytes().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[0]) == {"version": 1}


def test_each_life_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    first = write(tmp_path, ENTRIES[0])
    before = first.read_bytes()
    write(tmp_path, *ENTRIES[1:])
    for _ in range(9):
        write(tmp_path)
    (tmp_path / "notes.txt").write_text("not a segment")
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert names == [f"{number:06d}.jsonl" for number in range(1, 12)]
    assert first.read_bytes() == before
    assert list(read(tmp_path)) == ENTRIES


def test_floats_come_back_to_the_bit(tmp_path: Path) -> None:
    bits = random.Random(0)
    drawn = [struct.unpack("d", bits.randbytes(8))[0] for _ in range(500)]
    floats = [0.1 + 0.2, 5e-324, -0.0, 1.7976931348623157e308]
    floats += [value for value in drawn if abs(value) < float("inf")]
    write(tmp_path, {"kind": "report", "values": floats})
    (entry,) = read(tmp_path)
    assert list(map(float.hex, entry["values"])) == list(map(float.hex, floats))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_refused_and_not_half_written(
    tmp_path: Path, value: float
) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        journal.append({"kind": "report", "score": value}, flush=True)
    journal.append(ENTRIES[0])
    journal.close()
    assert list(read(tmp_path)) == ENTRIES[:1]


@pytest.mark.parametrize(
    "tail",
    [
        b'{"kind":"rep',
        b'{"kind":"rep\n',
        b"\x00\x00\x00",
        b"\x00\x00\n",
        b'{"kind":"life"}',
        b"7\n",
    ],
)
@pytest.mark.parametrize("life", [1, 2])
def test_a_torn_last_line_of_any_segment_is_cut(tmp_path: Path, tail: bytes, life: int) -> None:
    segments = [write(tmp_path, ENTRIES[0]), write(tmp_path, *ENTRIES[1:])]
    with segments[life - 1].open("ab") as file:
        file.write(tail)
    assert list(read(tmp_path)) == ENTRIES


def test_every_prefix_of_a_journal_reads_as_its_whole_lines(tmp_path: Path) -> None:
    segment = write(tmp_path, *ENTRIES)
    whole = segment.read_bytes()
    for length in range(len(whole)):
        segment.write_bytes(whole[:length])
        assert list(read(tmp_path)) == ENTRIES[: max(0, whole[:length].count(b"\n") - 1)]


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, b'{"version":2}\n'),
        (1, b'{"kind":"life","life":1}\n'),
        (1, b"rubbish\n"),
        (2, b'{"kind":"li\n'),
        (2, b"[]\n"),
        (2, b'{"score":NaN}\n'),
        (2, b'{"error":"\xff"}\n'),
        (3, b"\n"),
    ],
)
def test_a_wrong_line_elsewhere_is_told_by_file_and_line(
    tmp_path: Path, number: int, line: bytes
) -> None:
    segment = write(tmp_path, *ENTRIES)
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[number - 1] = line
    segment.write_bytes(b"".join(lines))
    with pytest.raises(ConfigError) as error:
        list(read(tmp_path))
    assert f"{segment}:{number}:" in str(error.value)
    assert "\n" not in str(error.value)


def test_entries_reach_the_disk_at_once_on_demand_and_else_each_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    synced: list[int] = []
    monkeypatch.setattr("tuning.journal.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = Journal(tmp_path)

    def seen() -> int:
        return len(list(read(tmp_path)))

    assert len(synced) > 0  # the version line
    del synced[:]
    journal.append(ENTRIES[0])
    assert (seen(), len(synced)) == (0, 0)
    journal.append(ENTRIES[1], flush=True)
    assert (seen(), len(synced)) == (2, 1)
    now[0] += 0.9
    journal.append(ENTRIES[2])
    assert (seen(), len(synced)) == (2, 1)
    now[0] += 0.2
    journal.append(ENTRIES[0])
    assert (seen(), len(synced)) == (4, 2)
    journal.append(ENTRIES[1])
    journal.flush()
    assert (seen(), len(synced)) == (5, 3)
    journal.append(ENTRIES[2])
    journal.close()
    journal.close()
    assert (seen(), len(synced)) == (6, 4)


def test_a_disk_that_fails_ends_the_journal_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    def live(journal: Journal) -> None:
        with journal:
            journal.append(ENTRIES[0], flush=True)
            with monkeypatch.context() as broken:
                broken.setattr("tuning.segments.os.fsync", full)
                with pytest.raises(OSError, match="No space"):
                    journal.append(ENTRIES[1], flush=True)
            with pytest.raises(OSError, match="No space"):
                journal.append(ENTRIES[2], flush=True)  # there is room again, but maybe a gap
            raise RuntimeError("what Tune makes of it")

    folder = tmp_path / "study" / "journal"
    with pytest.raises(BrokenError, match=r"1\.jsonl: cannot be written \(No space") as told:
        live(Journal(folder))
    assert f"--resume {tmp_path / 'study'}" in str(told.value)
    assert "\n" not in str(told.value)
    assert ENTRIES[2] not in read(folder)


def test_a_journal_is_closed_by_whatever_ends_its_block(tmp_path: Path) -> None:
    def live(journal: Journal) -> None:
        with journal:
            journal.append(ENTRIES[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        live(Journal(tmp_path))
    assert list(read(tmp_path)) == [ENTRIES[0]]


def test_what_waited_for_a_second_is_on_disk_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("tuning.journal.time.monotonic", lambda: now[0])
    book = Journal(tmp_path)
    book.append({"kind": "life", "life": 1})
    assert list(read(tmp_path)) == []
    now[0] += 1.5
    book.flush_due()
    assert list(read(tmp_path)) == [{"kind": "life", "life": 1}]
    book.close()
