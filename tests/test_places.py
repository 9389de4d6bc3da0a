"""Places: a folder and an object store answer alike; a study's files and claims in both."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import bucket

from trainables.errors import ConfigError
from trainables.seal import seal
from tuning import claims, journal, segments
from tuning.checkpoints import newest, strip, weights
from tuning.journal import Journal, read
from tuning.places import Place, Remote, children, make, move, place_of, remove, write
from tuning.store import Store, next_life
from tuning.study import Record


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path / "study" if request.param == "folder" else bucket() / "studies" / "study"


def test_what_is_written_is_listed_read_moved_and_removed(place: Place) -> None:
    make(place)
    assert children(place) == []
    for name in ("b.txt", "a.txt"):
        write(place / name, name.encode())
    write(place / "a.txt", b"newer")
    assert [child.name for child in children(place, "*.txt")] == ["a.txt", "b.txt"]
    assert children(place, "*.pkl") == []
    assert (place / "a.txt").read_bytes() == b"newer"
    assert (place / "a.txt").read_text() == "newer"
    assert (place / "a.txt").exists()
    assert place.is_dir()
    assert not (place / "a.txt").is_dir()
    move(place / "a.txt", place / "b.txt")
    assert [child.name for child in children(place)] == ["b.txt"]
    assert (place / "b.txt").read_bytes() == b"newer"
    assert (place / "b.txt").parent == place
    remove(place / "none")
    remove(place)
    assert not place.exists()
    with pytest.raises(FileNotFoundError):
        (place / "b.txt").read_bytes()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "name a folder"),
        ("hdfs://node/x", "unknown scheme"),
        ("s4://bucket/x", "known: file, s3, gs"),
        ("file://elsewhere/x", "names another machine"),
        ("s3:///x", "name a bucket"),
        ("s3://bucket/x?endpoint=1", "endpoint_override"),
        ("s3://bucket/../x", "must not hold"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        place_of(text, "--storage")
    assert "--storage" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert place_of("~/studies", "--storage") == tmp_path / "studies"
    assert place_of("results", "--storage") == tmp_path / "results"
    assert place_of((tmp_path / "a b").as_uri(), "--storage") == tmp_path / "a b"


def test_a_uri_comes_back_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    text = "s3://bucket/a/b?endpoint_override=127.0.0.1:9&scheme=http"
    place = place_of(text, "--storage")
    assert isinstance(place, Remote)
    assert str(place) == text
    assert place.key.as_posix() == "bucket/a/b"
    function, arguments = place.fs.__reduce__()  # in a trial's process it is as patient as here
    assert type(function(*arguments)) is type(place.fs)
    assert arguments == ({"endpoint_override": "127.0.0.1:9", "scheme": "http"},)


def entries(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"kind": "life", "life": 1, "time": float(number)} for number in range(start, count)]


def test_a_journal_of_objects_reads_as_one_of_a_file(tmp_path: Path) -> None:
    places: list[Place] = [tmp_path / "journal", bucket() / "journal"]
    for place in places:
        for life in range(3):
            book = Journal(place)
            for number, entry in enumerate(entries(5)):
                book.append(entry, flush=number % 2 == life % 2)
            book.close()
    assert list(read(places[0])) == list(read(places[1])) == entries(5) * 3


def test_nothing_is_lost_or_doubled_while_objects_are_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A driver may die between any two requests; each entry is there once all the same."""
    monkeypatch.setattr(segments, "TOGETHER", 4)
    folder = bucket() / "journal"
    written: list[dict[str, Any]] = []
    seen: list[list[dict[str, Any]]] = []
    for name in ("write", "remove"):
        real = getattr(segments, name)

        def watched(*args: Any, real: Any = real) -> None:
            real(*args)
            seen.append(list(read(folder)))

        monkeypatch.setattr(segments, name, watched)
    book = Journal(folder)
    for entry in entries(11):
        written.append(entry)
        book.append(entry, flush=True)
    book.close()
    assert len(seen) == 11 + 2 * (1 + 4)
    assert all(found == written[: len(found)] for found in seen)
    assert [len(found) for found in seen] == sorted(len(found) for found in seen)
    assert seen[-1] == written
    names = [place.name for place in children(folder)]
    assert names == [
        "000001-000001-000004.jsonl",
        "000001-000005-000008.jsonl",
        *(f"000001-{n:06d}-{n:06d}.jsonl" for n in (9, 10, 11)),
    ]


def test_an_object_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bucket() / "journal"
    book = Journal(folder)
    for entry in entries(4):
        book.append(entry, flush=True)
    remove(folder / "000001-000003-000003.jsonl")
    with pytest.raises(ConfigError, match=r"000001-000003-000003.jsonl: is not there \(restore"):
        list(read(folder))


def test_a_store_that_fails_ends_the_journal_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    place = bucket() / "study" / "journal"

    def away(*args: Any) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION\nmore")

    def live(book: Journal) -> None:
        with book:
            book.append(entries(1)[0], flush=True)
            monkeypatch.setattr(segments, "write", away)
            book.append(entries(1)[0], flush=True)

    with pytest.raises(journal.BrokenError, match=r"NETWORK_CONNECTION\); put that right") as told:
        live(Journal(place))
    assert "--resume s3://bucket/study" in str(told.value)
    assert "\n" not in str(told.value)
    assert list(read(place)) == entries(1)


def test_tables_and_the_best_weights(place: Place, tmp_path: Path) -> None:
    store = Store(place)
    store.create()
    write(place / "manifest.json", b"{}")
    with pytest.raises(ConfigError, match=r"exists already; continue it with --resume"):
        Store(place).create()
    store.write_json("manifest.json", {"lives": [1]})
    assert Store(place).read_json("manifest.json") == {"lives": [1]}
    record = Record("mr-0000", "mr", 0, {"optim/lr": 0.1}, {"epochs": 1}, status="done")
    report = {"epoch": 1.0, "step": 9, "scored": 1, "score": 0.5, "last": 0.5}
    record.reports[1] = report
    store.write_trials([record], {"optim/lr": pa.float64()})
    store.add_history([{**report, "trial": "mr-0000", "chain": "mr", "report": 1}])
    assert len(children(place / "history", "*.parquet")) == 1
    store.finish_history([record])
    assert children(place / "history") == []
    for name, column, value in (("trials", "optim/lr", 0.1), ("history", "score", 0.5)):
        data = pa.BufferReader((place / f"{name}.parquet").read_bytes())
        assert pq.read_table(data).column(column).to_pylist() == [value]
    (tmp_path / "weights.pt").write_bytes(b"weights")
    store.write_best({"epochs": 1}, {"trial": "mr-0000"}, tmp_path / "weights.pt")
    assert (place / "best" / "model.pt").read_bytes() == b"weights"
    store.discard()
    assert not place.exists()


def test_lives_are_counted_and_no_study_is_told(place: Place) -> None:
    with pytest.raises(ConfigError, match=r"is no study: .* is not there; give another"):
        Store.open(place)
    make(place)
    assert [next_life(place) for _ in range(3)] == [1, 2, 3]


def test_of_the_checkpoints_in_an_object_store_the_newest_whole_one_counts(tmp_path: Path) -> None:
    study = bucket() / "study"
    for index in range(3):
        seal(tmp_path, {"state.pt": b"state", "weights.pt": b"w%d" % index, "progress.json": b"{}"})
        for file in tmp_path.iterdir():
            folder = study / "tune" / "life-1" / "mr-0000" / f"checkpoint_{index:06d}"
            write(folder / file.name, file.read_bytes())
    found = newest(study, "mr-0000")
    assert found is not None
    assert found.name == "checkpoint_000002"
    write(found / "state.pt", b"sta")
    assert newest(study, "mr-0000") == found.parent / "checkpoint_000001"
    seal(tmp_path, {"weights.pt": b"last"})  # nothing is left to train
    for name in ("weights.pt", "seal.json"):
        write(found / name, (tmp_path / name).read_bytes())
    strip(study, "mr-0000", keep=True, last=9)
    assert weights(study, "mr-0000").read_bytes() == b"last"
    assert children(study / "tune" / "life-1" / "mr-0000", "checkpoint_*") == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BEAT": 0.05, "WATCHED": 0.25, "SETTLED": 0.02}.items():
        monkeypatch.setattr(claims, name, value)


def test_a_study_is_one_drivers_at_a_time(place: Place, quick: None) -> None:
    make(place)
    with claims.claimed(place):
        with pytest.raises(ConfigError, match="another process"), claims.claimed(place):
            pass
        time.sleep(0.3)  # the lease is renewed
        with pytest.raises(ConfigError, match="another process"), claims.claimed(place):
            pass
    with claims.claimed(place):
        pass


def test_the_lease_of_a_dead_driver_is_taken(quick: None) -> None:
    study = bucket() / "study"
    write(study / "lease.json", b'{"host": "gone", "beat": 7}')
    began = time.monotonic()
    with claims.claimed(study):
        assert time.monotonic() - began >= claims.WATCHED
        assert b"gone" not in (study / "lease.json").read_bytes()
    assert not (study / "lease.json").exists()


def test_a_driver_that_was_silent_for_too_long_learns_that_it_lost_the_study(quick: None) -> None:
    study = bucket() / "study"
    with claims.claimed(study) as claim:
        assert isinstance(claim, claims.Lease)
        assert not claim.lost.wait(0.2)
        write(study / "lease.json", b'{"id": "another"}')
        assert claim.lost.wait(5)
        assert not claim.held()
    assert (study / "lease.json").read_bytes() == b'{"id": "another"}'


def test_a_driver_that_wakes_after_another_came_writes_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was stopped, so it has not yet seen that its lease is gone."""
    now = 1000.0
    monkeypatch.setattr(claims, "clock", lambda: now)
    study = bucket() / "study"
    lease = claims.Lease(study / "lease.json")
    lease.renew()
    book = Journal(study / "journal", lease.held)
    book.append({"kind": "first"}, flush=True)
    now += claims.WATCHED - claims.BEAT - 0.1  # nobody can have come yet: it does not look
    write(study / "lease.json", b'{"id": "another"}')
    book.append({"kind": "second"}, flush=True)
    now += 0.2
    with pytest.raises(OSError, match="another driver has taken the study"):
        book.append({"kind": "third"}, flush=True)
    assert book.broken is not None
    assert [entry["kind"] for entry in read(study / "journal")] == ["first", "second"]
    assert (study / "lease.json").read_bytes() == b'{"id": "another"}'


def test_a_renewal_that_was_written_and_not_answered_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = claims.Lease(bucket() / "study" / "lease.json")
    lease.renew()

    def unanswered(place: Remote, data: bytes) -> None:
        write(place, data)
        raise OSError("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(claims, "write", unanswered)
        with pytest.raises(OSError, match="timed out"):
            lease.renew()
    lease.renew()
    assert lease.held()
