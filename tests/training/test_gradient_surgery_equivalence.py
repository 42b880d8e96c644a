"""
What the update of several tasks must equal, whoever computes it.

From the same start and the same global batch the same update: by one process, by two, over accumulated steps, with the
batch in any order, for each aggregator. And PCGrad's is Algorithm 1 on the gradients of the encoder, each head keeping
its own task's gradient. `multitask_runs.py` makes the runs; broken trainers at the end show that it sees mistakes.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from extrabert_hf.data.samplers import mixed_generator
from extrabert_hf.pretrained.lora import with_lora
from extrabert_hf.training.callbacks import StopAtNaN
from extrabert_hf.training.gradient_surgery import combine
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from tests.training.literal_pcgrad import literal_pcgrad
from tests.training.multitask_runs import ALL_AGGREGATORS, RUNS_OF_TWO, WEIGHTED, is_installed, make_trainer, record

TASKS = ("sst", "para", "sts")
STEPS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Makes a run of one process, each kind once."""
    made = {}

    def make(**options):
        key = tuple(sorted(options.items(), key=lambda item: item[0]))
        if key not in made:
            made[key] = record(make_trainer(tmp_path_factory.mktemp("run"), **options))
        return made[key]

    return make


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    """What two processes recorded, each for itself, of every run in `RUNS_OF_TWO`."""
    folder = tmp_path_factory.mktemp("two")
    program = Path(__file__).with_name("multitask_runs.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([*torchrun, program, folder], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"process-{rank}.pt") for rank in (0, 1)]


def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients.values() if gradient is not None])


def distance(run, other, step):
    """How far the update of a step is from the other's, as a share of its length."""
    first, second = flat(run["gradients"][step]), flat(other["gradients"][step])
    return ((first - second).norm() / second.norm()).item()


def assert_same_updates(run, other, within=1e-6):
    """The first update `within` so much, the next ones within what rounding makes of that, all weights within 1e-6."""
    assert len(run["gradients"]) == len(other["gradients"]) == STEPS
    reached = [{name for name, g in each["gradients"][0].items() if g is not None} for each in (run, other)]
    assert reached[0] == reached[1]
    assert distance(run, other, 0) < within
    assert max(distance(run, other, step) for step in range(1, STEPS)) < 10 * within
    for name, weight in other["weights"].items():
        assert_close(
            run["weights"][name], weight, rtol=0, atol=1e-6, msg=lambda message, name=name: f"{name}: {message}"
        )


def test_the_runs_are_worth_comparing(run):
    """At each step every two tasks oppose each other, and all weights move far more than the tolerance."""
    for options in ({}, {"aggregator": "mean"}):
        conflicts = run(**options)["conflicts"]
        assert len(conflicts) == 3 * STEPS
    assert max(cosine for *_, cosine in run(aggregator="mean")["conflicts"]) < -0.03
    of_pcgrad, of_mean = run(), run(aggregator="mean")
    assert distance(of_pcgrad, of_mean, 0) > 0.1
    for name, gradient in of_pcgrad["gradients"][0].items():
        assert gradient is not None, name
    moved = max((of_pcgrad["weights"][name] - start).abs().max() for name, start in of_pcgrad["start"].items())
    assert moved > 1e-2


for_each_aggregator = pytest.mark.parametrize("aggregator", ALL_AGGREGATORS)


def skip_without_torchjd(aggregator):
    if not is_installed(aggregator):
        pytest.skip(f"{aggregator} needs torchjd")


@for_each_aggregator
@pytest.mark.parametrize("accumulated", [2, 4, 8])
def test_accumulated_steps_make_the_update_of_one(aggregator, accumulated, run):
    skip_without_torchjd(aggregator)
    parts = {"per_device_train_batch_size": 8 // accumulated, "gradient_accumulation_steps": accumulated}
    assert_same_updates(run(aggregator=aggregator, **parts), run(aggregator=aggregator))


@for_each_aggregator
def test_the_order_of_the_batch_changes_nothing(aggregator, run):
    skip_without_torchjd(aggregator)
    assert_same_updates(run(aggregator=aggregator, data_seed=5), run(aggregator=aggregator))


@pytest.mark.launch
@for_each_aggregator
@pytest.mark.parametrize("how", ["two processes", "two processes, accumulated"])
def test_two_processes_make_the_update_of_one(aggregator, how, run, of_two_processes):
    skip_without_torchjd(aggregator)
    for process in of_two_processes:
        assert_same_updates(process[f"{aggregator}, {how}"], run(aggregator=aggregator))


@pytest.mark.launch
@pytest.mark.parametrize("kind", [name for name, options in RUNS_OF_TWO.items() if "aggregator" not in options])
def test_two_processes_make_the_update_of_one_with(kind, run, of_two_processes):
    options = {name: value for name, value in RUNS_OF_TWO[kind].items() if name != "per_device_train_batch_size"}
    for process in of_two_processes:
        assert_same_updates(process[kind], run(**options))
        assert process[kind]["losses"] == pytest.approx(run(**options)["losses"], rel=1e-3)
        assert [row[:3] for row in process[kind]["conflicts"]] == [row[:3] for row in run(**options)["conflicts"]]


@pytest.mark.launch
def test_two_processes_hold_the_same_weights_bit_for_bit(of_two_processes):
    first, second = of_two_processes
    for kind in RUNS_OF_TWO.keys() & first.keys():
        assert all(
            torch.equal(weight, second[kind]["weights"][name]) for name, weight in first[kind]["weights"].items()
        )


@pytest.mark.launch
def test_two_processes_score_every_row_once(of_two_processes, tmp_path):
    trainer = make_trainer(tmp_path, mixing="proportional")
    trainer.train()
    inexact = ("loss", "second", "time")  # the Trainer's own loss weighs a short last batch as a full one
    expected = {name: score for name, score in trainer.evaluate().items() if not name.endswith(inexact)}
    assert expected.keys() >= {
        "eval_sst_accuracy",
        "eval_para_accuracy",
        "eval_sts_pearson",
        "eval_mean",
        "eval_worst",
    }
    for process in of_two_processes:
        scores = {name: process["scores"][name] for name in expected}
        assert scores == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.launch
def test_a_gradient_that_one_process_lacks_counts_as_zero_there(of_two_processes):
    for process in of_two_processes:
        (of_both, of_one, of_none), *_ = process["averaged"]
        assert of_both.tolist() == [2.0, 2.0]
        assert of_one.tolist() == [0.5, 0.5]
        assert of_none is None


for_each_weighting = pytest.mark.parametrize("weighting", WEIGHTED)


def assert_same_weighting(run, other):
    """What the weighting learned is equal, and it moved far more than the tolerance."""
    assert run["weighting"]["steps"] == other["weighting"]["steps"] == STEPS
    for name in ("numbers", "last_weights"):
        assert run["weighting"][name] == pytest.approx(other["weighting"][name], rel=1e-3, abs=1e-5), name
    assert min(abs(number) for number in other["weighting"]["numbers"]) > 1e-3


@for_each_weighting
@pytest.mark.parametrize("accumulated", [2, 8])
def test_accumulated_steps_make_the_weighted_update_of_one(weighting, accumulated, run):
    parts = {"per_device_train_batch_size": 8 // accumulated, "gradient_accumulation_steps": accumulated}
    weighted, whole = run(**WEIGHTED[weighting], **parts), run(**WEIGHTED[weighting])
    assert_same_updates(weighted, whole)
    assert_same_weighting(weighted, whole)


@pytest.mark.launch
@for_each_weighting
@pytest.mark.parametrize("how", ["two processes", "two processes, accumulated"])
def test_two_processes_make_the_weighted_update_of_one(weighting, how, run, of_two_processes):
    for process in of_two_processes:
        assert_same_updates(process[f"{weighting}, {how}"], run(**WEIGHTED[weighting]))
        assert_same_weighting(process[f"{weighting}, {how}"], run(**WEIGHTED[weighting]))
        assert process[f"{weighting}, {how}"]["weighting"] == of_two_processes[0][f"{weighting}, {how}"]["weighting"]


@pytest.fixture
def task_gradients(tmp_path):
    """Each task's gradient at the start, by autograd on all rows and nothing of the trainer: `{task: {name: g}}`."""
    trainer = make_trainer(tmp_path)
    rows = {task: [trainer.train_dataset[{task: (row,)}] for row in range(8)] for task in TASKS}
    gradients = {}
    for task in TASKS:
        trainer.model.zero_grad()
        trainer.model(task=task, **trainer.data_collator(rows[task])[task]).loss.backward()
        gradients[task] = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return gradients


def assert_algorithm_1(run, task_gradients):
    encoder = [name for name in run["gradients"][0] if name.startswith("backbone.")]
    zeros = {name: torch.zeros_like(run["start"][name]) for name in encoder}
    vectors = torch.stack([flat({name: (zeros | task_gradients[task])[name] for name in encoder}) for task in TASKS])
    expected = literal_pcgrad(vectors.double(), mixed_generator(42, 0)).float()
    update = flat({name: run["gradients"][0][name] for name in encoder})
    assert ((update - expected).norm() / expected.norm()).item() < 1e-6


def assert_heads_are_their_own(run, task_gradients):
    for name, gradient in run["gradients"][0].items():
        if not name.startswith("backbone."):
            (own,) = [gradients[name] for gradients in task_gradients.values() if name in gradients]
            assert_close(gradient, own, rtol=1e-4, atol=1e-6)


def test_the_encoders_update_is_algorithm_1_on_the_tasks_gradients(run, task_gradients):
    assert_algorithm_1(run(), task_gradients)


def test_a_head_keeps_its_own_tasks_gradient(run, task_gradients):
    for options in ({}, {"aggregator": "mean"}):
        assert_heads_are_their_own(run(**options), task_gradients)


def test_the_mean_of_the_encoder_is_the_gradient_of_the_mean_loss(run, task_gradients):
    for name, gradient in run(aggregator="mean")["gradients"][0].items():
        if name.startswith("backbone."):
            parts = [gradients[name] for gradients in task_gradients.values() if name in gradients]
            assert_close(gradient, sum(parts) / 3, rtol=1e-4, atol=1e-6)


def test_of_two_tasks_the_update_opposes_neither(run, task_gradients):
    update = run(train_tasks=("sst", "sts"))["gradients"][0]
    for task in ("sst", "sts"):
        own = {name: gradient for name, gradient in task_gradients[task].items() if name.startswith("backbone.")}
        product = sum((update[name] * gradient).sum() for name, gradient in own.items())
        assert product > -1e-6
    product = sum(
        (gradient * task_gradients["sts"][name]).sum()
        for name, gradient in task_gradients["sst"].items()
        if name.startswith("backbone.") and name in task_gradients["sts"]
    )
    assert product < 0


@for_each_aggregator
def test_one_task_gets_its_plain_gradient(aggregator, run, task_gradients):
    skip_without_torchjd(aggregator)
    for name, gradient in run(train_tasks=("para",), aggregator=aggregator)["gradients"][0].items():
        own = task_gradients["para"].get(name)
        assert (gradient is None) == (own is None), name
        if own is not None:
            assert_close(gradient, own, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing_changes_nothing(run):
    assert_same_updates(run(activation_checkpointing=True), run())


def test_frozen_layers_stay_and_the_others_have_surgery_among_themselves(run):
    frozen = ("backbone.embeddings", "backbone.encoder.layer.0")
    frozen_run = run(frozen=frozen)
    for name, weight in frozen_run["weights"].items():
        if name.endswith("key.bias"):
            continue  # a softmax does not see it: its gradient is 0 but for rounding
        assert torch.equal(weight, frozen_run["start"][name]) == name.startswith(frozen), name
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert_same_updates(run(frozen=frozen, **parts), frozen_run)


def test_clipping_shortens_the_joined_update(run):
    whole, clipped = run()["gradients"][0], run(max_grad_norm=0.5)["gradients"][0]
    assert flat(whole).norm() > 1
    assert_close(flat(clipped), flat(whole) * 0.5 / flat(whole).norm(), rtol=1e-4, atol=1e-6)


def test_bfloat16_makes_nearly_the_update_of_float32(run):
    halved = run(bf16=True)
    assert 1e-5 < distance(halved, run(), 0) < 0.1
    assert {gradient.dtype for gradient in halved["gradients"][0].values()} == {torch.float32}
    assert distance(run(bf16=True, per_device_train_batch_size=4, gradient_accumulation_steps=2), halved, 0) < 0.05


SCALE = 2.0**16


class ScaledTrainer(MultiTaskTrainer):
    """A trainer under the loss scale of fp16, which accelerate sets up on a GPU only."""

    def create_optimizer(self, model=None):
        self.remove_callback(StopAtNaN)  # it lets the gradients of float16 overflow, by `args.fp16`
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
        return super().create_optimizer(model)


def divided(gradients, scale):
    return {name: gradient / scale for name, gradient in gradients.items()}


def test_the_loss_scale_of_float16_changes_nothing(run):
    scaled = run(trainer_class=ScaledTrainer)
    assert distance(scaled, run(), 0) > SCALE / 2
    assert_same_updates(scaled | {"gradients": [divided(each, SCALE) for each in scaled["gradients"]]}, run())


class OverflowingTrainer(ScaledTrainer):
    """At the second step one task's gradient overflows, as it does under a scale that has become too large."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return loss * float("inf") if self.state.global_step == 1 and inputs["task"] == "para" else loss


def test_an_overflow_skips_the_step_and_no_more(run):
    skipped, plain = run(trainer_class=OverflowingTrainer, aggregator="mean"), run(aggregator="mean")
    assert_close(flat(divided(skipped["gradients"][0], SCALE)), flat(plain["gradients"][0]))
    assert not flat(skipped["gradients"][1]).isfinite().all()
    halved = SCALE / 2  # the third step is the second anew
    assert_close(flat(divided(skipped["gradients"][2], halved)), flat(plain["gradients"][1]), rtol=1e-4, atol=1e-5)
    noted = [row[0:3] for row in skipped["conflicts"]]  # what has no cosine is not noted
    assert noted == [row[0:3] for row in plain["conflicts"] if row[0] != 2 or row[1:3] == ("sst", "sts")]


class AdaptedTrainer(MultiTaskTrainer):
    """A trainer of adapters in a frozen encoder."""

    def __init__(self, **kwargs):
        torch.manual_seed(0)
        model = with_lora(kwargs.pop("model"), r=2, dropout=0.0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:  # which starts at zero, and then `lora_A` has no gradient
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        super().__init__(model=model, **kwargs)


def test_adapters_have_surgery_and_accumulate_as_a_whole_encoder_does(run):
    whole = run(trainer_class=AdaptedTrainer)
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert_same_updates(run(trainer_class=AdaptedTrainer, **parts), whole)
    adapters = {name for name, gradient in whole["gradients"][0].items() if gradient is not None and "lora" in name}
    assert len(adapters) > 10
    of_mean = run(trainer_class=AdaptedTrainer, aggregator="mean")
    assert distance(whole, of_mean, 0) > 0.1
    frozen = [n for n in whole["start"] if "backbone" in n and "lora" not in n and "pooler" not in n]
    assert all(torch.equal(whole["weights"][name], whole["start"][name]) for name in frozen)


@pytest.mark.slow
def test_a_compiled_model_makes_the_same_update(run):
    # its operations are taken apart and round otherwise, by 1.2e-6 on a processor with AVX-512
    assert_same_updates(run(torch_compile=True, torch_compile_backend="aot_eager"), run(), within=3e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_gpu_makes_nearly_the_update_of_float32(precision, run):
    on_gpu = {"use_cpu": False, "bf16": precision == "bf16", "fp16": precision == "fp16", "max_grad_norm": 1e6}
    assert distance(run(**on_gpu), run(use_cpu=False, max_grad_norm=1e6), 0) < 0.1


# What the kit is for: each of these is a way to get it wrong that trains without complaint.


class ProjectsBeforeAveraging(MultiTaskTrainer):
    """Joins the gradients of each micro-batch, and adds up what comes out."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        shared = self._shared_parameters()
        earlier = [parameter.grad for parameter in shared]
        syncs, self.accelerator.gradient_state.sync_gradients = self.accelerator.sync_gradients, True
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.accelerator.gradient_state.sync_gradients = syncs
        for parameter, gradient in zip(shared, earlier, strict=True):
            if gradient is not None:
                parameter.grad += gradient
        return loss


class ProjectsHeads(MultiTaskTrainer):
    """Takes all parameters for shared ones."""

    def _shared_parameters(self):
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


class WithoutSurgery(MultiTaskTrainer):
    """Adds the gradients up."""

    def _join_gradients(self, shared):
        gradients = list(self._gradients.values())
        self._gradients.clear()
        for parameter, update in zip(shared, combine(torch.ones(3), gradients), strict=True):
            parameter.grad = update


def test_the_kit_sees_projection_before_averaging(run):
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    broken = run(trainer_class=ProjectsBeforeAveraging, **parts)
    with pytest.raises(AssertionError):
        assert_same_updates(broken, run())
    assert_same_updates(run(trainer_class=ProjectsBeforeAveraging), run())  # and only there is it wrong


def test_the_kit_sees_heads_in_the_gram_matrix(run, task_gradients):
    broken = run(trainer_class=ProjectsHeads)
    with pytest.raises(AssertionError):
        assert_algorithm_1(broken, task_gradients)


def test_the_kit_sees_that_no_surgery_is_done(run, task_gradients):
    with pytest.raises(AssertionError):
        assert_algorithm_1(run(trainer_class=WithoutSurgery), task_gradients)
