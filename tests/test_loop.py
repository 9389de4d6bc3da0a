"""The loop: what a report says, which epoch counts, and the arithmetic of one step."""

import math
import tempfile
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import differences, finish, run_python, state_of, tiny, untimed

from trainables import snapshot
from trainables.config import Config
from trainables.data.dataset import Dataset, prepare, probe_images
from trainables.data.resident import scaled
from trainables.loop import WORST_NATS, Loop
from trainables.methods.base import Score
from trainables.schedule import Constant, Cosine, Schedule, Step

KEYS = {
    "epoch", "step", "scored", "score", "last", "kept", "diverged", "done", "lr",
    "train/loss", "train/acc", "train/memorised", "train/corrected", "seconds", "seconds/epoch",
}  # fmt: skip
SCORED = {"val/loss", "val/acc"}  # in reports that end an epoch


def scripted(loop: Loop, values: list[float], metric: str = "acc") -> None:
    """Let validation give these values, one an epoch."""

    def validate() -> Score:
        value = values[loop.epoch]
        return Score(loss=value, acc=0.5) if metric == "loss" else Score(loss=1.0, acc=value)

    loop.validate = validate


def spied(loop: Loop, at: dict[int, Any]) -> None:
    """Call a function at the end of a step, as a method's `step` hook would."""
    hooks = loop.chain.step

    def step(batch: Any, run: Any) -> None:
        hooks(batch, run)
        at.get(loop.step, lambda: None)()

    loop.chain.step = step


# Reports


def test_an_epoch_s_report(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    first, second = finish(loop)
    assert set(first) == KEYS | SCORED
    assert (first["epoch"], first["step"], first["scored"], first["kept"]) == (1.0, 10, 1, 0)
    assert (first["done"], second["done"], first["diverged"]) == (False, True, 0)
    assert second["epoch"] == 2.0
    assert second["score"] == second["last"] == second["val/acc"]
    assert loop.validate() == Score(second["val/loss"], second["val/acc"])
    assert 0 < first["seconds"] < second["seconds"]
    assert second["seconds/epoch"] == pytest.approx(second["seconds"] / 2)


def test_a_report_s_training_numbers_are_means_over_the_epoch_s_rows(data: Dataset) -> None:
    """Hits and losses as the model was when it met each row; the last batch has 12 rows."""
    loop = Loop(tiny(epochs=1, model="cnn", optim={"lr": 1e-12}), data)
    report = loop.train()
    untouched = Loop(tiny(epochs=1, model="cnn"), data)
    nats, hits = 0.0, 0.0
    for step in range(10):
        untouched.step = step
        index = untouched._next_index()
        logits = untouched.forward(untouched.view(index)).detach()
        labels = untouched.data.labels[index]
        nats += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        hits += float((logits.argmax(1) == labels).sum())
    assert report["train/loss"] == pytest.approx(nats / 300, rel=1e-5)
    assert report["train/acc"] == pytest.approx(hits / 300)


def test_a_keep_ends_the_report_early(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    spied(loop, {3: loop.keep, 9: loop.keep})
    early, shared, last = finish(loop)
    assert set(early) == KEYS
    assert (early["step"], early["epoch"], early["kept"], early["scored"]) == (4, 0.4, 1, 0)
    assert early["score"] == early["last"] == 0.0, "nothing measured yet: the worst finite value"
    # a keep on the last step of an epoch shares that epoch's report
    assert (shared["step"], shared["kept"], shared["scored"]) == (10, 1, 1)
    assert (last["step"], last["kept"], last["done"]) == (20, 0, True)


def test_before_the_first_epoch_the_worst_loss_counts(data: Dataset) -> None:
    loop = Loop(tiny(metric="val/loss"), data)
    spied(loop, {0: loop.keep})
    assert loop.train()["score"] == pytest.approx(WORST_NATS * math.log(10))


def test_keeping_early_changes_nothing_but_the_reports(data: Dataset) -> None:
    plain, keeping = Loop(tiny(), data), Loop(tiny(), data)
    spied(keeping, dict.fromkeys((2, 3, 14), keeping.keep))
    ends = [untimed(report) for report in finish(keeping) if report["scored"]]
    assert ends == [untimed(report) for report in finish(plain)]
    assert differences(keeping.state_dict()["model"], plain.state_dict()["model"]) == []


# Which epoch counts


@pytest.mark.parametrize(
    ("select", "scores", "chosen"),
    [
        ("last", [0.5, 0.9, 0.1, 0.6, 0.8, 0.7], 5),
        ("best", [0.5, 0.9, 0.9, 0.9, 0.9, 0.9], 1),
        ("mean3", [0.5, 0.7, 0.7, 0.7, 0.7, 0.7], 1),
    ],
)
def test_select_decides_score_and_weights(
    select: str, scores: list[float], chosen: int, data: Dataset
) -> None:
    loop = Loop(tiny(select=select, epochs=6, optim={"batch": 100}), data)
    values = [0.5, 0.9, 0.1, 0.6, 0.8, 0.7 - 1e-9]
    scripted(loop, values)
    weights, reports = [], []
    while not loop.ended:
        reports.append(loop.train())
        weights.append(snapshot.weights(loop.model))
    assert [report["score"] for report in reports] == pytest.approx(scores)
    assert [report["last"] for report in reports] == values
    assert loop.selected is not None
    assert differences(loop.selected, weights[chosen]) == []


@pytest.mark.parametrize(("select", "best"), [("last", 3.0), ("best", 1.0), ("mean3", 1.5)])
def test_a_loss_is_better_when_smaller(select: str, best: float, data: Dataset) -> None:
    loop = Loop(tiny(select=select, metric="val/loss", epochs=4, optim={"batch": 300}), data)
    scripted(loop, [2.0, 1.0, 2.0, 3.0], metric="loss")
    assert finish(loop)[-1]["score"] == pytest.approx(best)


# Divergence


@pytest.mark.parametrize("chain", ["ce", "mr", "mr+mixup+reset"])
@pytest.mark.parametrize(("metric", "worst"), [("val/acc", 0.0), ("val/loss", 23.02585)])
def test_a_diverged_trial_ends_with_a_finite_report(
    chain: str, metric: str, worst: float, data: Dataset
) -> None:
    live = {"mr": {"period": 0.2}, "mixup": {}, "reset": {"r": 1.0, "patience": 0.05, "every": 0.1}}
    methods = {name: live[name] for name in chain.split("+") if name != "ce"}
    loop = Loop(tiny(methods, metric=metric, optim={"lr": 1e6}, epochs=3), data)
    reports = finish(loop)
    report = reports[-1]
    assert (report["diverged"], report["done"], report["scored"]) == (1, True, 1)
    assert report["epoch"] == 1.0, "it ends with the epoch it diverged in"
    assert report["score"] == report["last"] == pytest.approx(worst)
    assert loop.selected is None
    for one in reports:
        assert all(math.isfinite(value) for value in one.values()), one


def test_a_score_measured_before_divergence_stays_with_its_weights(data: Dataset) -> None:
    loop = Loop(tiny(epochs=4), data)
    first = loop.train()
    weights = snapshot.weights(loop.model)
    with torch.no_grad():
        next(loop.model.parameters()).fill_(float("nan"))
    second = loop.train()
    assert (second["diverged"], second["done"]) == (1, True)
    assert second["score"] == second["last"] == first["score"] > 0
    assert loop.selected is not None
    assert differences(loop.selected, weights) == []


def test_a_state_is_not_kept_in_the_step_that_shows_divergence(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    spied(loop, {9: loop.keep})
    with torch.no_grad():
        next(loop.model.parameters()).fill_(float("nan"))
    report = loop.train()
    assert (report["diverged"], report["kept"]) == (1, 0)
    assert loop.kept is None


# Schedules


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        (Constant(), 0.7, 1.0),
        (Cosine(), 0.0, 1.0),
        (Cosine(), 1 / 3, 0.75),
        (Cosine(), 0.5, 0.5),
        (Cosine(), 1.0, 0.0),
        (Cosine(floor=0.2), 0.5, 0.6),
        (Cosine(floor=0.2), 1.0, 0.2),
        (Step(), 0.499, 1.0),
        (Step(), 0.5, 0.1),
        (Step(), 0.75, 0.01),
        (Step(floor=0.05), 0.75, 0.05),
        (Step(milestones=(0.3,), factor=0.5), 3 / 10, 0.5),
        (Step(milestones=(0.1, 0.2, 0.7), factor=0.5), 0.7, 0.125),
    ],
)
def test_schedules_by_hand(schedule: Schedule, progress: float, factor: float) -> None:
    assert schedule(progress) == pytest.approx(factor, abs=1e-12)


def test_a_milestone_is_met_at_its_very_step() -> None:
    for steps in range(1, 400):
        met = [k for k in range(steps + 1) if Step(milestones=(0.3,))(k / steps) < 1]
        assert met[0] == -(-3 * steps // 10)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.1] * 4),
        ("cosine", [0.1, 0.0853553391, 0.05, 0.0146446609]),
        ({"step": {"milestones": [0.5], "factor": 0.2}}, [0.1, 0.1, 0.02, 0.02]),
    ],
)
def test_the_loop_follows_the_schedule(schedule: Any, rates: list[float], data: Dataset) -> None:
    optim = {"lr": 0.1, "schedule": schedule, "batch": 150}
    loop = Loop(tiny(optim=optim), data)
    used = [loop.advance()[0] for _ in range(4)]
    assert used == pytest.approx(rates)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_lr_on_reset_checkpoint_is_torch_s_recursive_cosine(name: str, data: Dataset) -> None:
    """torch's scheduler decays whatever rate it finds: here the one restored with the optimizer."""
    keeps, backs = (3, 12), (7, 10, 15, 18)
    loop = Loop(tiny(optim={"name": name, "lr": 0.1}), data)
    events = dict.fromkeys(keeps, loop.keep) | dict.fromkeys(backs, lambda: loop.back(lr=True))
    spied(loop, events)
    used = [loop.advance()[0] for _ in range(20)]

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    group, rates, kept = optimizer.param_groups[0], [], math.nan
    for step in range(20):
        rates.append(group["lr"])
        optimizer.step()
        if step in backs:
            group["lr"] = kept
        if step in keeps:
            kept = group["lr"]
        scheduler.step()
    assert used == pytest.approx(rates, rel=1e-9)
    assert used[8] > used[7], "a reset brings a higher rate back"


def test_lr_on_reset_continue_stays_on_the_schedule(data: Dataset) -> None:
    loop = Loop(tiny(optim={"lr": 0.1}), data)
    spied(loop, {3: loop.keep, 7: loop.back, 15: loop.back})
    used = [loop.advance()[0] for _ in range(20)]
    assert used == [0.1 * Cosine()(step / 20) for step in range(20)]
    assert loop.lr_scale == 1


# Copies


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_training_does_not_reach_what_is_kept(name: str, data: Dataset) -> None:
    """torch's load_state_dict shares momentum buffers: a second reset would find others."""
    loop = Loop(tiny({"mr": {}}, optim={"name": name}), data)
    spied(loop, {4: loop.keep})
    loop.train()
    then = loop.state_dict()
    kept = snapshot.copied(loop.kept)
    for _ in range(2):
        loop.advance()
        assert differences(loop.state_dict()["optimizer"], then["optimizer"])
        loop.back()
        assert differences(loop.state_dict()["optimizer"], then["optimizer"]) == []
        assert differences(loop.state_dict()["model"], then["model"]) == []
        assert differences(loop.kept, kept) == []


def test_a_saved_state_holds_no_hyperparameter(data: Dataset) -> None:
    saved = Loop(tiny(optim={"lr": 0.5, "momentum": 0.5}), data)
    saved.advance()
    loop = Loop(tiny(optim={"lr": 0.01, "momentum": 0.9, "schedule": "constant"}), data)
    loop.load_state_dict(saved.state_dict())
    assert loop.advance()[0] == 0.01
    assert loop.optimizer.param_groups[0]["momentum"] == 0.9


# The probe


def test_the_probe_records_float16_logits_each_epoch(data: Dataset) -> None:
    images = probe_images("digits")[:40]
    loop, without = Loop(tiny(), data, probe=images), Loop(tiny(), data)
    finish(loop)
    finish(without)
    assert [(tensor.dtype, tensor.shape) for tensor in loop.probed] == [
        (torch.float16, (40, 10))
    ] * 2
    assert not torch.equal(*loop.probed)
    loop.model.eval()
    with torch.no_grad():
        logits = loop.forward(images.float() / 255)
    assert torch.equal(loop.probed[-1], logits.half())
    assert differences(loop.state_dict()["model"], without.state_dict()["model"]) == []
    assert without.probed == []


# What methods may ask for


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_touch_no_state(mode: str, data: Dataset) -> None:
    loop = Loop(tiny(), data)
    loop.advance()
    before = state_of(loop)
    losses = loop.losses(mode)
    assert losses.shape == (300,)
    assert not losses.requires_grad
    assert differences(state_of(loop), before) == []
    assert loop.model.training


def test_losses_in_eval_mode_are_those_of_the_unaugmented_images(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    loop.advance()
    losses = loop.losses()
    loop.model.eval()
    with torch.no_grad():
        logits = loop.forward(scaled(loop.data.training(torch.arange(300))))
    by_hand = torch.logsumexp(logits, 1) - logits[torch.arange(300), loop.data.labels]
    torch.testing.assert_close(losses, by_hand, rtol=1e-5, atol=1e-5)
    assert differences(losses, loop.losses("train")) != []


def test_validation_is_a_plain_mean_and_runs_once_a_step(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    loop.advance()
    before = state_of(loop)
    score = loop.validate()
    loop.model.eval()
    with torch.no_grad():
        logits = loop.forward(scaled(loop.data.validation(slice(None))))
    by_hand = torch.nn.functional.cross_entropy(logits, loop.data.validation_labels)
    assert score.loss == pytest.approx(float(by_hand), rel=1e-5)
    assert score.acc == pytest.approx(
        float((logits.argmax(1) == loop.data.validation_labels).float().mean())
    )
    assert loop.validate() is score
    assert differences(state_of(loop), before) == []


def test_validation_sees_a_reset(data: Dataset) -> None:
    """`back` in a step must not leave the score of the model it replaced."""
    loop = Loop(tiny(optim={"lr": 0.5}), data)
    seen: list[Score] = []
    events = {3: lambda: (loop.keep(), seen.append(loop.validate()))}
    events[6] = lambda: (loop.validate(), loop.back(), seen.append(loop.validate()))
    spied(loop, events)
    finish(loop)
    assert seen[0] == seen[1]


def test_a_stream_is_one_generator_within_a_step_and_another_in_the_next(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    first = torch.rand(2, generator=loop.stream("a"))
    more = torch.rand(2, generator=loop.stream("a"))
    assert not torch.equal(first, more)
    assert not torch.equal(first, torch.rand(2, generator=loop.stream("b")))
    loop.step = 1
    assert not torch.equal(first, torch.rand(2, generator=loop.stream("a")))
    loop.step = 0
    assert torch.equal(first, torch.rand(2, generator=loop.stream("a")))


# Seeds and batches


def test_a_seed_decides_everything(data: Dataset) -> None:
    methods = {"mr": {"eta": 0.5, "period": 0.3}, "mixup": {}, "reset": {"r": 0.3, "every": 0.2}}
    torch.manual_seed(7)
    one = Loop(tiny(methods), data)
    reports = [untimed(report) for report in finish(one)]
    torch.manual_seed(8)  # the state of torch's global stream is nobody's business
    two = Loop(tiny(methods), data)
    assert [untimed(report) for report in finish(two)] == reports
    assert differences(state_of(one), state_of(two)) == []
    other = Loop(tiny(methods, seed=1), data)
    assert [untimed(report) for report in finish(other)] != reports


def test_a_seed_moves_initialisation_order_and_views(data: Dataset) -> None:
    loops = [Loop(tiny(seed=seed), data) for seed in (0, 1)]
    assert differences(*(snapshot.weights(loop.model) for loop in loops))
    assert differences(*(loop._next_index() for loop in loops))
    assert differences(*(loop.view(torch.arange(32)) for loop in loops))


def test_building_a_loop_leaves_torch_s_global_stream_alone(data: Dataset) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    Loop(tiny(), data)
    assert torch.equal(torch.rand(3), expected)


def test_every_row_once_an_epoch_in_another_order_each(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    seen: list[torch.Tensor] = []
    hooks = loop.chain.step
    loop.chain.step = lambda batch, run: (seen.append(batch.index), hooks(batch, run))
    finish(loop)
    assert [len(index) for index in seen] == [*[32] * 9, 12] * 2
    epochs = torch.cat(seen[:10]), torch.cat(seen[10:])
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, torch.arange(300))
    assert not torch.equal(*epochs)


def test_a_batch_is_rows_of_the_training_split(data: Dataset) -> None:
    loop = Loop(tiny(), data)
    batches: list[Any] = []
    hooks = loop.chain.step
    loop.chain.step = lambda batch, run: (batches.append(batch), hooks(batch, run))
    loop.advance()
    (batch,) = batches
    given = data.given[torch.from_numpy(data.train)][batch.index]
    assert torch.equal(batch.label, given)
    assert torch.equal(batch.y, torch.nn.functional.one_hot(given, 10).float())
    (part,) = batch.parts
    assert (part.index is batch.index, part.label is batch.label, part.share) == (True, True, 1)
    assert 0 <= batch.x.min() < batch.x.max() <= 1


def test_validation_rows_are_never_trained_on() -> None:
    data = prepare(Config().task)
    assert not set(data.train) & set(data.validation)
    assert len(data.train) + len(data.validation) == len(data.rows)


# Optimizers


@pytest.mark.parametrize(
    ("optim", "build"),
    [
        (
            {"name": "sgd", "momentum": 0.9},
            lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.01),
        ),
        (
            {"name": "sgd", "momentum": 0.9, "nesterov": True},
            lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.01, nesterov=True),
        ),
        ({"name": "sgd", "momentum": 0.0}, lambda p: torch.optim.SGD(p, weight_decay=0.01)),
        (
            {"name": "adam", "momentum": 0.8, "beta2": 0.95},
            lambda p: torch.optim.Adam(p, betas=(0.8, 0.95), weight_decay=0.01),
        ),
        (
            {"name": "adamw", "momentum": 0.8, "beta2": 0.95},
            lambda p: torch.optim.AdamW(p, betas=(0.8, 0.95), weight_decay=0.01),
        ),
    ],
)
def test_optimizers_are_torch_s(optim: dict[str, Any], build: Any, data: Dataset) -> None:
    loop = Loop(tiny(optim={**optim, "lr": 0.02, "decay": 0.01}), data)
    mine = list(loop.model.parameters())
    theirs = [parameter.detach().clone().requires_grad_() for parameter in mine]
    optimizer = build(theirs)
    for _ in range(3):
        rate = loop.advance()[0]
        for parameter, other in zip(mine, theirs, strict=True):
            other.grad = parameter.grad.clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    for parameter, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(parameter.detach(), other.detach(), rtol=1e-5, atol=1e-7)


def test_bf16_is_close_to_fp32_and_keeps_fp32_weights(data: Dataset) -> None:
    loops = [Loop(tiny(precision=name), data) for name in ("fp32", "bf16")]
    losses = [loop.losses() for loop in loops]
    assert losses[1].dtype == torch.float32
    assert 0 < (losses[0] - losses[1]).abs().max() < 0.05
    finish(loops[1])
    assert {tensor.dtype for tensor in loops[1].parameters} == {torch.float32}
    assert loops[1].latest > 0.2  # it learns


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["", "/nonexistent"])
def test_a_compiled_network_trains_the_same_with_a_compiler_or_without(compiler: str) -> None:
    code = (
        "import torch; from toys import finish, small, tiny; from trainables.loop import Loop\n"
        "torch.set_num_threads(1)\n"
        "configs = [tiny(compile=x, epochs=1, model='cnn') for x in (False, True)]\n"
        "told = [finish(Loop(config, small()))[-1]['train/loss'] for config in configs]\n"
        "print(told, abs(told[0] - told[1]) < 1e-4 * told[0])"
    )
    with tempfile.TemporaryDirectory() as folder:
        more = {"CXX": compiler} if compiler else {}
        process = run_python(code, TORCHINDUCTOR_CACHE_DIR=folder, **more)
        out, err = process.communicate(timeout=300)
    assert out.strip().endswith("True"), out + err
    assert ("WON'T CONVERT" in err) == bool(compiler), err


@pytest.mark.parametrize(("batch", "sizes"), [(23, [23] * 12 + [24]), (299, [300]), (1, [1] * 300)])
def test_no_batch_of_one_row_is_left_over(data: Dataset, batch: int, sizes: list[int]) -> None:
    loop = Loop(tiny(optim={"batch": batch}), data)
    assert loop.steps_per_epoch == len(sizes)
    seen: list[Tensor] = []
    while loop.step < loop.steps_per_epoch:
        seen.append(loop._next_index())
        loop.step += 1
    assert [len(index) for index in seen] == sizes
    assert sorted(torch.cat(seen).tolist()) == list(range(300))


def test_training_loss_counts_every_row_once(data: Dataset) -> None:
    loop = Loop(tiny(optim={"batch": 23, "lr": 1e-9}, epochs=1, model="cnn"), data)
    loop.model.eval()  # the same weights and statistics all along
    loop.model.train = lambda mode=True: loop.model  # type: ignore[method-assign]
    expected = float(loop.losses().mean())
    assert loop.train()["train/loss"] == pytest.approx(expected, rel=1e-4)


def test_networks_with_flat_batch_norm_train_whatever_is_left_over(data: Dataset) -> None:
    loop = Loop(tiny(optim={"batch": 23}, epochs=1, model="fcnn"), data)
    assert loop.size % 23 == 1
    assert len(loop.losses("train")) == loop.size
    assert finish(loop)[-1]["done"]
