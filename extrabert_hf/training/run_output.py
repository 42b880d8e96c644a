"""What a training run prints: its rows, its model, one progress bar, the scores, and the output folder."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import has_length

from extrabert_hf.data.loading import LoadedData
from extrabert_hf.errors import printable
from extrabert_hf.evaluation.scores import baseline_warning, score_table
from extrabert_hf.library_output import shows_details
from extrabert_hf.machine import PRECISIONS
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.gradient_conflicts import ConflictSummary
from extrabert_hf.runs.run_metrics import TaskMetrics
from extrabert_hf.terminal import in_columns, progress_bar
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.trainer import ExtraBertTrainer, plain_model

logger = logging.getLogger(__name__)

REFRESH = 0.2
"""Seconds between two changes of the bar's text in an evaluation."""
MOST_PAIRS = 6
"""Largest number of pairs of tasks in the line on gradient conflicts."""


def log_rows(loaded: Mapping[str, LoadedData]) -> None:
    """Logs a table with the numbers of rows and the names of columns of each task, and then the notices."""
    splits = [split for split in ("train", "dev", "test") if any(split in rows.splits for rows in loaded.values())]
    columns = {name: vars(rows.columns[0]) for name, rows in loaded.items()}
    roles = [role for role in ("sentence1", "sentence2", "label") if any(own[role] for own in columns.values())]
    lines = [["rows", *splits, *roles]]
    for name, rows in loaded.items():
        sizes = [_size(rows.splits.get(split)) for split in splits]
        lines.append([printable(name, 40), *sizes, *(printable(columns[name][role] or "-", 30) for role in roles)])
    logger.info("\n".join(in_columns(lines, right=[False, *[True] * len(splits)])))
    for rows in loaded.values():
        for index, notice in enumerate(rows.notices):
            is_said = index == 0 and len(rows.columns) == 1
            logger.log(logging.DEBUG if is_said else logging.INFO, notice)


def _size(rows: Dataset | None) -> str:
    if rows is None:
        return "-"
    return f"{len(rows):,}" if "label" in rows.column_names else f"{len(rows):,} unlabelled"


def log_what_is_trained(trainer: ExtraBertTrainer) -> None:
    """Logs the model and the device in a line, and in another the steps, the precision and the padding."""
    model, args, state = trainer.model, trainer.args, trainer.state
    logger.info(
        "training %s on %s: %.1f of %.1f M parameters",
        type(plain_model(model)).__name__,
        args.device,
        sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) / 1e6,
        sum(parameter.numel() for parameter in model.parameters()) / 1e6,
    )
    batch = trainer.global_batch_size
    logger.info(
        "%s steps of %s, %s, %s",
        f"{state.max_steps:,}",
        _size_of_step(trainer, batch) if batch is not None else f"up to {args.max_tokens_per_batch:,} tokens",
        PRECISIONS[args.mixed_precision],
        "without padding" if (reason := trainer.why_padded()) is None else f"padded ({reason})",
    )


def _size_of_step(trainer: ExtraBertTrainer, batch: int) -> str:
    """Describes the rows of a step, and for several tasks the mixing or the aggregator."""
    if not isinstance(trainer, MultiTaskTrainer) or len(trainer.multitask.trained) == 1:
        return f"{batch} rows"
    multitask = trainer.multitask
    if multitask.mixing != "together":
        return f"{batch} rows of one task (mixing: {multitask.mixing})"
    sizes = f"{batch} rows of each task"
    if multitask.examples_per_item is not None:
        multiples = zip(multitask.trained, multitask.examples_per_item, strict=True)
        sizes = " and ".join(f"{number * batch} rows of {name}" for name, number in multiples)
    weighting = "" if multitask.loss_weighting == "none" else f", loss weighting: {multitask.loss_weighting}"
    return f"{sizes} (aggregator: {multitask.aggregator}{weighting})"


def log_scores(tasks: Mapping[str, TaskMetrics]) -> None:
    """Logs a table of all scores of a run, and a warning for each main score that may be chance."""
    scores = {f"{name} {split}": of for name, entry in tasks.items() for split, of in entry.scores.items()}
    logger.info("\n%s", score_table(scores))
    for name, entry in tasks.items():
        for split, of_split in entry.scores.items():
            if (warning := baseline_warning(f"{name} {split}", entry.task, of_split)) is not None:
                logger.warning("warning: %s", warning)


def log_conflicts(summary: ConflictSummary) -> None:
    """Logs in a line how far the gradients of the tasks conflict; each pair of tasks is a detail."""
    for pair, entry in summary.pairs.items():
        share = 100 * entry.conflicting_steps
        logger.debug("gradients %s: mean cosine %.2f, below 0 at %.0f %% of the steps", pair, entry.mean_cosine, share)
    if summary.pairs:
        lowest = sorted(summary.pairs.items(), key=lambda item: item[1].mean_cosine)[:MOST_PAIRS]
        logger.info(
            "gradients of two tasks conflict at %.0f %% of the steps; %smean cosines: %s",
            100 * summary.conflicting_steps,
            "lowest " if len(lowest) < len(summary.pairs) else "",
            ", ".join(f"{pair} {entry.mean_cosine:.2f}" for pair, entry in lowest),
        )


def log_loss_weights(weights: Mapping[str, float]) -> None:
    """Logs in a line the weights of the tasks' losses at the last step."""
    logger.info("weights of the losses at the last step: %s", ", ".join(f"{t} {w:.3g}" for t, w in weights.items()))


def log_results(folder: RunFolder) -> None:
    """Logs where the results of a run are."""
    written = (folder.REPORT, "README.md", folder.METRICS, folder.predictions.name)
    names = ", ".join(name for name in written if (folder.path / name).exists())
    logger.info("\nthe model is in %s, with %s", folder.path, names)


@contextmanager
def one_bar(trainer: Trainer) -> Iterator[None]:
    """Replaces the progress of the `Trainer`, except that of a notebook, by [`OneBar`], and closes it at the end."""
    if not any(map(trainer.pop_callback, (ProgressCallback, PrinterCallback))):
        yield
        return
    bar = OneBar()
    trainer.add_callback(bar)
    try:
        yield
    finally:
        bar.close()


class OneBar(ProgressCallback):
    """
    Shows training and its evaluations in one bar, with the last loss and the last dev score.

    What the `Trainer` logs is shown with [`shows_details`] only; `trainer_state.json` has all of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.evaluated, self.shown = 0, 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the bar."""
        self.close()  # the `Trainer` begins again with a smaller batch
        if state.is_world_process_zero:
            self.training_bar = progress_bar(
                state.max_steps,
                desc="training",
                units="steps",
                initial=state.global_step,
                leave=True,
                disable=args.disable_tqdm,
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Moves the bar."""
        if self.training_bar is not None:
            self.training_bar.update(state.global_step - self.training_bar.n)

    def on_prediction_step(self, *args: Any, eval_dataloader: Any = None, **kwargs: Any) -> None:
        """Names the evaluation in the bar, with the share of the batches that are done."""
        if self.training_bar is None:
            return
        self.evaluated += 1
        if time.monotonic() - self.shown > REFRESH:
            share = f" {self.evaluated / len(eval_dataloader):.0%}" if has_length(eval_dataloader) else ""
            self.training_bar.set_description(f"evaluating{share}")
            self.shown = time.monotonic()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        metrics: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Shows the score that chooses the best model, or the loss."""
        if self.training_bar is not None:
            metric = (args.metric_for_best_model or "loss").removeprefix("eval_")
            self._show(f"dev {metric}", metrics.get(f"eval_{metric}"))
            self.training_bar.set_description("training")
        self.evaluated = 0

    def on_predict(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the bar of the `Trainer` is not used."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        logs: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Shows the loss in the bar, and with [`shows_details`] all values in a line."""
        if self.training_bar is not None:
            self._show("loss", logs.get("loss"))
            if shows_details():
                values = {name: value for name, value in logs.items() if name != "total_flos"}
                logger.debug(", ".join(f"{name} {_short(value)}" for name, value in values.items()))

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Closes the bar."""
        self.close()

    def close(self) -> None:
        """Ends the line of the bar; without effect if no bar is open."""
        if self.training_bar is not None:
            self.training_bar.close()
        self.training_bar = None

    def _show(self, name: str, value: Any) -> None:
        if value is not None:
            self.values[name] = f"{name} {_short(value)}"
            self.training_bar.set_postfix_str(", ".join(self.values.values()), refresh=False)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
