"""What Ray is given before it starts: a token that only its owner reads, and no telemetry."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_IMODE

import pytest

from trainables.errors import ConfigError
from tuning import session

ASKS = "from tuning.session import token_file; print(token_file().read_text())"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty NOISETUNE_HOME, and none of Ray's variables."""
    for name in [*os.environ]:
        if name.startswith(("RAY_", "TUNE_")):
            monkeypatch.delenv(name)
    # what quieten() sets is then undone with the rest
    for name in (*session.QUIET, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_token_is_made_once_and_read_by_its_owner_alone(home: Path) -> None:
    before = os.umask(0)  # even where files are made for everybody
    try:
        path = session.token_file()
    finally:
        os.umask(before)
    token = path.read_text()
    assert path == home / "ray_token"
    assert len(bytes.fromhex(token)) == 32
    assert S_IMODE(path.stat().st_mode) == 0o600
    assert session.token_file().read_text() == token
    assert [file.name for file in home.iterdir()] == ["ray_token"]


def test_a_token_that_others_could_read_is_closed(home: Path) -> None:
    path = session.token_file()
    path.chmod(0o644)
    session.token_file()
    assert S_IMODE(path.stat().st_mode) == 0o600


def test_two_homes_have_two_tokens(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.token_file().read_text()
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "other"))
    assert session.token_file().read_text() != first


def test_makers_at_the_same_time_agree(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loses the race, however late, reads the winner's token."""
    monkeypatch.setattr(Path, "exists", lambda path: False)  # all of them see none
    first = session.token_file().read_text()
    assert session.token_file().read_text() == first
    assert [file.name for file in home.iterdir()] == ["ray_token"]


@pytest.mark.slow
def test_processes_at_the_same_time_agree(home: Path) -> None:
    def ask(number: int) -> str:
        run = [sys.executable, "-c", ASKS]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(ask, range(4)))
    assert told == [session.token_file().read_text() + "\n"] * 4


def test_threads_at_the_same_time_agree(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: session.token_file().read_text(), range(8)))
    assert told == [session.token_file().read_text()] * 8


def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match=r"ray_token: .*Not a directory.*NOISETUNE_HOME") as said:
        session.token_file()
    assert "\n" not in str(said.value)


def test_quieten_asks_for_a_token_and_no_telemetry(home: Path) -> None:
    session.quieten()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(home / "ray_token")
    assert (home / "ray_token").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAY_USAGE_STATS_ENABLED", "1"),
        ("RAY_AUTH_MODE", "disabled"),
        ("RAY_AUTH_TOKEN_PATH", "/elsewhere/token"),
        ("TUNE_RESULT_BUFFER_LENGTH", "3"),
    ],
)
def test_quieten_keeps_what_the_user_set(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    session.quieten()
    assert os.environ[name] == value


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_quieten_makes_no_token_beside_the_users(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "0123")
    session.quieten()
    assert not home.exists()


@pytest.mark.parametrize("made", [None, b"", b" \n", b"\xff\xfe"])
@pytest.mark.parametrize("address", [None, "auto"])
def test_a_token_of_the_user_s_that_cannot_be_read_is_one_line(
    made: bytes | None, address: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.parent / "token"
    if made is not None:
        path.write_bytes(made)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    session.quieten()
    with pytest.raises(ConfigError, match=r"RAY_AUTH_TOKEN_PATH .*token: .*unset it") as told:
        session.cluster(address).__enter__()
    assert "\n" not in str(told.value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123")  # which Ray takes first
    session.refuse_token()


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert session.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert session.cores() == 1


@pytest.mark.parametrize("address", ["nonsense", "ray://host:10001", "local", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        session.answering(address)


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises a bare exception where one of its processes is late."""

    tried: list[object] = []

    def late(**given: object) -> None:
        tried.append(given)
        raise Exception("The current node timed out during startup.\nThis could happen because")

    monkeypatch.setattr("ray.init", late)
    with pytest.raises(session.NotStartedError, match="tried 2 times") as told:
        session.cluster(None).__enter__()
    assert len(tried) == 2
    assert "timed out during startup" in str(told.value)
    assert "\n" not in str(told.value)
