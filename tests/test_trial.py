"""Trial, driven as Tune drives it: every checkpoint it asks for is saved right after its report."""

import json
import math
import pickle
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import cloudpickle, tune
from ray.train._internal.session import _TrainingResult
from toys import differences, state_of, through_disk, untimed

import trainables.trial
from trainables.config import Config, Task
from trainables.data.dataset import Dataset, prepare
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.seal import seal, sealed
from trainables.trial import Trial, trainable_for

# ten steps an epoch, validated every three: most improvements are found inside an epoch
RESET = {"r": 0.5, "every": 0.3, "patience": 0.05}
CONFIG = {
    "epochs": 3,
    "model": {"cnn": {"dropout": 0.2}},
    "augment": True,
    "optim": {"batch": 108, "lr": 0.05},
    "seed": 1,
    "methods": {"mr": {"eta": 0.5, "period": 0.5}, "mixup": {"alpha": 0.5}, "reset": RESET},
}
AUTOMATIC = {"date", "timestamp", "pid", "time_total_s", "time_this_iter_s", "time_since_restore"}
AUTOMATIC |= {"iterations_since_restore"}
ASKED = {"should_checkpoint", "config"}  # what the platform asks of Tune, or Tune of the trial


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives a Trainable without a storage a folder here, not in the user's home."""
    folder = str(tmp_path / "ray")
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", folder)


def run(trial: Trial, folder: Path) -> list[dict[str, Any]]:
    """Train to the end, saving what is asked for; only the newest two checkpoints stay."""
    reports: list[dict[str, Any]] = []
    saved: list[Path] = []
    while not (reports and reports[-1]["done"]):
        reports.append(trial.train())
        if reports[-1]["should_checkpoint"] or reports[-1]["done"]:
            saved.append(folder / f"checkpoint_{len(reports):06d}")
            trial.save(str(saved[-1]))
            if len(saved) > 2:
                shutil.rmtree(saved.pop(0))
    return reports


def told(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What training says in the reports: no clocks, no process numbers."""
    return [
        {key: value for key, value in untimed(report).items() if key not in AUTOMATIC | ASKED}
        for report in reports
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any]]:
    """Final state and reports of a trial that nothing happens to."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("undisturbed")
        patch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(folder / "ray"))
        trial = Trial(config=CONFIG)
        reports = run(trial, folder)
        return state_of(trial.loop), told(reports)


def test_the_scenario_is_worth_testing(undisturbed: tuple[dict[str, Any], list[Any]]) -> None:
    _, reports = undisturbed
    kept = [report for report in reports if report["kept"]]
    assert sum(report["step"] % 10 != 0 for report in kept) >= 2, "keeps inside an epoch"
    assert reports[-1]["reset/count"] >= 3
    later = [report for report in reports if report["reset/count"] and not report["kept"]]
    assert later, "reports after a reset that are no kept states"
    assert len(reports) >= 6
    assert reports[-1]["epoch"] == 3.0


# Keep: what Tune saves is the kept state


def test_the_saved_state_is_the_validated_one(tmp_path: Path) -> None:
    trial = Trial(config=CONFIG)
    steps = []
    while not trial.loop.ended:
        report = trial.train()
        if not report["kept"] or report["done"]:
            continue
        folder = tmp_path / str(report["step"])
        trial.save(str(folder))
        steps.append(report["step"])
        assert report["should_checkpoint"]
        assert not (folder / "kept.pt").exists(), "this state is the kept one"

        fresh = Loop(Config.parse(CONFIG))
        state = torch.load(folder / "state.pt", weights_only=True) | {"selected": None}
        fresh.load_state_dict(state)
        assert -fresh.validate().loss == state["methods"]["reset"]["value"]
        assert trial.loop.kept is not None
        assert differences(fresh.state_dict()["model"], trial.loop.kept["model"]) == []
        assert differences(fresh.target(fresh.state_dict()), trial.loop.kept) == []
    assert any(step % 10 for step in steps)


def test_reports_count_from_one_and_time_only_goes_on(tmp_path: Path) -> None:
    """A reset goes through Tune's restore, which sets its clock back; ours puts it right again."""
    trial = Trial(config=CONFIG)
    reports = run(trial, tmp_path)
    assert reports[-1]["reset/count"] >= 3
    numbers = list(range(1, len(reports) + 1))
    assert [report["report"] for report in reports] == numbers
    assert [report["training_iteration"] for report in reports] == numbers
    assert [report["iterations_since_restore"] for report in reports] == numbers
    for key in ("time_total_s", "step", "epoch", "seconds", "reset/count"):
        pairs = pairwise(report[key] for report in reports)
        assert all(before <= after for before, after in pairs), key
    total = sum(report["time_this_iter_s"] for report in reports)
    assert reports[-1]["time_total_s"] == pytest.approx(total)


# Save and restore


@pytest.mark.parametrize("share", [0.01, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_trial_restored_at_any_report_ends_like_an_undisturbed_one(
    share: float, undisturbed: tuple[dict[str, Any], list[Any]], tmp_path: Path
) -> None:
    state, reports = undisturbed
    cut = math.ceil(share * (len(reports) - 1))  # from the first to the last but one
    first = Trial(config=CONFIG)
    for number in range(1, cut + 1):
        report = first.train()
        if report["should_checkpoint"] or number == cut:
            saved = first.save(str(tmp_path / str(number)))
    assert told([report]) == [reports[cut - 1]]
    first.train()  # lost, as in a crash

    second = Trial(config=CONFIG)
    second.restore(saved)
    rest = run(second, tmp_path / "second")
    assert told(rest) == reports[cut:]
    assert differences(state_of(second.loop), state) == []
    counts = [one["reset/count"] for one in told([report, *rest])]
    assert counts == sorted(counts)


def test_a_trial_restored_twice_ends_like_an_undisturbed_one(
    undisturbed: tuple[dict[str, Any], list[Any]], tmp_path: Path
) -> None:
    """Also the checkpoint of a restored trial that has kept nothing itself brings its target."""
    state, reports = undisturbed
    trial = Trial(config=CONFIG)
    for number in range(len(reports) - 1):
        trial.train()
        saved = trial.save(str(tmp_path / str(number)))
        trial = Trial(config=CONFIG)
        trial.restore(saved)
    assert told([trial.train()]) == reports[-1:]
    assert differences(state_of(trial.loop), state) == []


@pytest.mark.parametrize("seconds", [0.0, 300.0])
@pytest.mark.parametrize("memory", [True, False])
def test_resets_from_disk_equal_resets_from_memory(
    memory: bool,
    seconds: float,
    undisturbed: tuple[dict[str, Any], list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, reports = undisturbed
    monkeypatch.setattr(Trial, "memory_resets", memory)
    # 0: also the checkpoints of unkept states, which bring the target in a file of its own
    monkeypatch.setattr(Trial, "checkpoint_seconds", seconds)
    reads = []
    tensors = trainables.trial._tensors
    monkeypatch.setattr(
        "trainables.trial._tensors", lambda *given: reads.append(1) or tensors(*given)
    )
    trial = Trial(config=CONFIG)
    assert told(run(trial, tmp_path)) == reports
    assert differences(state_of(trial.loop), state) == []
    assert len(reads) >= (0 if memory else reports[-1]["reset/count"])
    assert not (memory and reads)


@pytest.mark.parametrize("reused", [False, True])
def test_a_later_life_goes_on_from_a_path(
    reused: bool, undisturbed: tuple[dict[str, Any], list[Any]], tmp_path: Path
) -> None:
    """`trial.from` names an earlier life's folder, which no Tune of this life knows."""
    state, reports = undisturbed
    first = Trial(config=CONFIG)
    for _ in range(4):
        earlier = first.train()
    first.save(str(tmp_path / "earlier"))
    saved = tune.Checkpoint.from_directory(tmp_path / "earlier")
    config = {**CONFIG, "trial": {"name": "mr-0000", "from": saved}}
    if reused:
        second = Trial(config={"epochs": 1, "optim": {"batch": 500}})
        second.train()
        assert second.reset(config)
    else:
        second = Trial(config=config)
    rest = run(second, tmp_path / "second")
    assert told(rest) == reports[4:]
    assert rest[0]["training_iteration"] == 5
    assert rest[0]["time_total_s"] > earlier["time_total_s"]
    assert differences(state_of(second.loop), state) == []


# Which files a checkpoint has, and which it believes


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """After a report that is no kept state, but has one to return to; both are saved."""
    trial = Trial(config=CONFIG)
    while True:
        report = trial.train()
        if report["kept"]:
            trial.save(str(tmp_path / "kept"))
        elif trial.loop.kept is not None:
            trial.save(str(tmp_path / "later"))
            return trial


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


ALWAYS = {"state.pt", "progress.json", "seal.json"}


def test_kept_pt_is_there_only_when_the_state_is_another(trial: Trial, tmp_path: Path) -> None:
    assert names(tmp_path / "kept") - {"weights.pt"} == ALWAYS
    assert names(tmp_path / "later") == {*ALWAYS, "weights.pt", "kept.pt"}
    kept = torch.load(tmp_path / "later" / "kept.pt", weights_only=True)
    assert differences(kept, trial.loop.kept) == []


def test_a_chain_without_resets_keeps_nothing(tmp_path: Path) -> None:
    trial = Trial(config=CONFIG | {"methods": {"mr": {}}})
    trial.train()
    trial.save(str(tmp_path / "saved"))
    assert names(tmp_path / "saved") == {*ALWAYS, "weights.pt"}


def test_a_file_that_no_seal_names_is_not_read(trial: Trial, tmp_path: Path) -> None:
    """An actor that died after its copy leaves files in the folder the next one writes into."""
    (tmp_path / "kept" / "kept.pt").write_bytes(b"of another process")
    other = Trial(config=CONFIG)
    other.restore(str(tmp_path / "kept"))
    assert other.loop.kept is not None
    assert differences(other.loop.kept, trial.loop.kept) == []


def truncated(folder: Path, donor: Path) -> None:
    data = (folder / "state.pt").read_bytes()
    (folder / "state.pt").write_bytes(data[:-1])


def damaged(folder: Path, donor: Path) -> None:
    data = bytearray((folder / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "state.pt").write_bytes(data)


def unsealed(folder: Path, donor: Path) -> None:
    (folder / "seal.json").unlink()


def half_sealed(folder: Path, donor: Path) -> None:
    text = (folder / "seal.json").read_text()
    (folder / "seal.json").write_text(text[: len(text) // 2])


def missing(folder: Path, donor: Path) -> None:
    (folder / "progress.json").unlink()


def mixed(folder: Path, donor: Path) -> None:
    shutil.copy(donor / "state.pt", folder / "state.pt")


def no_table(folder: Path, donor: Path) -> None:
    (folder / "seal.json").write_text("null")


HARMS = [truncated, damaged, unsealed, half_sealed, missing, mixed, no_table]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.usefixtures("trial")
def test_a_folder_that_is_not_whole_is_not_loaded(harm: Any, tmp_path: Path) -> None:
    """It lies beside no other `checkpoint_*`, so the trial starts again."""
    harm(tmp_path / "later", tmp_path / "kept")
    assert sealed(tmp_path / "later") is None
    other = Trial(config=CONFIG)
    before = through_disk(state_of(other.loop))
    other.restore(str(tmp_path / "later"))
    assert differences(state_of(other.loop), before) == []


# What it falls back to


def cut(folder: Path) -> None:
    (folder / "state.pt").write_bytes(b"half")


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def pickled(folder: Path) -> None:
    (folder / "_dict_checkpoint.pkl").write_bytes(b"Tune would unpickle this")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial's checkpoints after its first, third and fifth report."""
    folder = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(folder / "ray"))
        trial = Trial(config=CONFIG)
        for number in range(1, 6):
            trial.train()
            if number % 2:
                trial.save(str(folder / f"checkpoint_{number // 2:06d}"))
    return folder


@pytest.mark.parametrize("harm", [cut, gone, pickled])
@pytest.mark.parametrize(("harmed", "left"), [(1, 3), (2, 1), (3, 0)])
def test_a_trial_falls_back_to_the_checkpoint_before(
    harm: Any,
    harmed: int,
    left: int,
    three: Path,
    undisturbed: tuple[dict[str, Any], list[Any]],
    tmp_path: Path,
) -> None:
    """Restored as Tune does it, with the clock of what was lost; with none left it starts again."""
    state, reports = undisturbed
    shutil.copytree(three, tmp_path / "trial")
    folders = sorted((tmp_path / "trial").glob("checkpoint_*"), reverse=True)
    for folder in folders[:harmed]:
        harm(folder)
    given = tune.Checkpoint.from_directory(folders[0])
    trial = Trial(config=CONFIG)
    trial.restore(_TrainingResult(given, {"training_iteration": 5, "time_total_s": 50.0}))
    rest = run(trial, tmp_path / "rest")
    assert [report.pop("fell_back", 0) for report in rest] == [1] + [0] * (len(rest) - 1)
    assert told(rest) == reports[left:]
    assert [report["report"] for report in rest] == [*range(left + 1, len(reports) + 1)]
    assert rest[0]["time_total_s"] < 50.0
    assert differences(state_of(trial.loop), state) == []


def test_a_whole_checkpoint_is_no_fall(three: Path, tmp_path: Path) -> None:
    trial = Trial(config=CONFIG)
    trial.restore(str(three / "checkpoint_000002"))
    assert "fell_back" not in trial.train()


@pytest.mark.parametrize("restored", [False, True])
def test_a_later_life_falls_back_within_the_earlier_one(
    restored: bool, three: Path, tmp_path: Path
) -> None:
    """Both as it begins, and when a retry of it finds nothing whole of its own."""
    shutil.copytree(three, tmp_path / "trial")
    cut(tmp_path / "trial" / "checkpoint_000002")
    saved = tune.Checkpoint.from_directory(tmp_path / "trial" / "checkpoint_000002")
    trial = Trial(config={**CONFIG, "trial": {"name": "mr-0000", "from": saved}})
    if restored:
        (tmp_path / "own" / "checkpoint_000000").mkdir(parents=True)
        trial.restore(str(tmp_path / "own" / "checkpoint_000000"))
    report = trial.train()
    assert (report["report"], report["fell_back"]) == (4, 1)
    assert "fell_back" not in trial.train()


def test_a_save_that_fails_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(config=CONFIG | {"methods": {}, "optim": {"batch": 500}})
    trial.train()
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(drafts))
    monkeypatch.setattr(trial, "_storage", FullStorage(), raising=False)
    with pytest.raises(OSError, match="No space left"):
        trial.save()
    assert list(drafts.iterdir()) == []


class FullStorage:
    """Tune's, of a disk that takes no checkpoint."""

    def _update_checkpoint_index(self, metrics: dict[str, Any]) -> None: ...

    def persist_current_checkpoint(self, checkpoint: tune.Checkpoint) -> Any:
        assert sealed(Path(checkpoint.path)), "it is whole before it is copied"
        raise OSError(28, "No space left on device")


def test_a_seal_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    seal(tmp_path / "folder", {"state.pt": b"x"})
    facts = json.loads((tmp_path / "folder" / "seal.json").read_text())
    facts = {"../secret": facts["state.pt"]}
    (tmp_path / "folder" / "seal.json").write_text(json.dumps(facts))
    assert sealed(tmp_path / "folder") is None


@pytest.mark.parametrize("methods", [{}, {"reset": RESET}])
def test_an_ended_trial_leaves_weights_only(methods: dict[str, Any], tmp_path: Path) -> None:
    trial = Trial(config=CONFIG | {"methods": methods, "select": "best"})
    run(trial, tmp_path)
    newest = max(path for path in tmp_path.iterdir() if path.name.startswith("checkpoint"))
    assert names(newest) == {"weights.pt", "seal.json"}
    weights = torch.load(newest / "weights.pt", weights_only=True)
    assert differences(weights, trial.loop.selected) == []
    with pytest.raises(RuntimeError, match="no whole checkpoint of a running trial"):
        Trial(config=CONFIG).load_checkpoint(str(newest))


def test_a_checkpoint_is_asked_for_at_an_epoch_s_end_when_one_is_due(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick = CONFIG | {"methods": {}, "optim": {"batch": 500}}
    assert not Trial(config=quick).train()["should_checkpoint"], "five minutes have not passed"
    monkeypatch.setattr(Trial, "checkpoint_seconds", 0.0)
    assert Trial(config=quick).train()["should_checkpoint"]


def test_a_reused_actor_forgets_the_last_trial_s_result(tmp_path: Path) -> None:
    quick = CONFIG | {"methods": {}, "optim": {"batch": 500}}
    trial = Trial(config=quick)
    assert trial.train()["training_iteration"] == 1
    trial.reset(dict(quick))
    assert trial.save(str(tmp_path / "first")).metrics == {}
    assert trial.train()["training_iteration"] == 1


def test_ending_a_trial_gives_its_memory_back() -> None:
    trial = Trial(config=CONFIG | {"methods": {}, "optim": {"batch": 500}})
    trial.train()
    trial.stop()
    assert not hasattr(trial, "loop")


# A Trainable of one's own


def test_trainable_for_binds_a_chain() -> None:
    bound = trainable_for("reset+mr")
    trial = bound(config={"epochs": 1, "optim": {"batch": 500}, "methods": {"mr": {"eta": 0.5}}})
    assert bound.__name__ == "Trial_mr_reset"
    assert trial.loop.config.chain == "mr+reset"
    assert trial.loop.config.methods == {"mr": {"eta": 0.5}, "reset": {}}
    assert {"mr/ess", "reset/count", "score"} <= set(trial.train())


def test_trainable_for_travels_to_a_worker() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(trainable_for("mr+random-weights")))
    assert (again.__name__, again.chain) == ("Trial_mr_random_weights", "mr+random-weights")


@pytest.mark.parametrize("chain", ["ce", *METHODS])
def test_trainable_for_runs_on_the_defaults(chain: str) -> None:
    assert trainable_for(chain)(config={}).loop.config.chain == chain


@pytest.mark.parametrize(
    ("chain", "told"),
    [
        ("mrr", r"unknown method 'mrr' \(did you mean mr\?\)"),
        ("mr+mr", "stands twice"),
        ("mr+ce", "ce is the empty chain"),
    ],
)
def test_trainable_for_refuses(chain: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        trainable_for(chain)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"methods": {"mixup": {}}}, r"methods.mixup: this Trainable runs mr \(leave mixup out\)"),
        ({"methods": {"mr": {"etaa": 1}}}, r"methods.mr.etaa: unknown field \(did you mean eta"),
        ({"epochs": 0}, "epochs = 0: must be at least 1"),
        ({"lr": 0.1}, "lr: unknown field 'lr'"),
    ],
)
def test_a_bound_trial_refuses_a_wrong_config(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        trainable_for("mr")(config=config)


def test_trials_of_one_actor_prepare_their_data_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Task] = []

    def noting(task: Task) -> Dataset:
        prepared.append(task)
        return prepare(task)

    monkeypatch.setattr("trainables.trial.prepare", noting)
    trial = Trial({"epochs": 1})
    for config in ({"optim": {"lr": 0.1}}, {"noise": {"rate": 0.2}}):
        trial.reset({"epochs": 1, **config})
        expected = prepare(Config.parse(config).task)
        assert trial.loop.data.labels.tolist() == expected.given[expected.train].tolist()
    assert len(prepared) == 2


CLOCK = dict.fromkeys(trainables.trial.CLOCK, 3)


def test_of_a_clock_only_what_is_one_is_taken_over() -> None:
    found = {"clock": CLOCK | {"_storage": "/etc", "step": 1}, "kept": True}
    assert trainables.trial._progress(json.dumps(found).encode()) == (True, CLOCK)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"{",
        b'{"kept": true}',
        json.dumps({"clock": CLOCK, "kept": 1}).encode(),
        json.dumps({"clock": CLOCK | {"_iteration": "3"}, "kept": True}).encode(),
        json.dumps({"clock": [], "kept": True}).encode(),
    ],
)
def test_a_clock_that_is_none_makes_a_checkpoint_that_is_not_whole(told: bytes) -> None:
    with pytest.raises(trainables.trial.NotWholeError):
        trainables.trial._progress(told)


def test_tensors_that_torch_does_not_read_make_a_checkpoint_that_is_not_whole() -> None:
    for data in (b"", b"state", pickle.dumps(print)):
        with pytest.raises(trainables.trial.NotWholeError):
            trainables.trial._tensors(data, torch.device("cpu"))
