"""A whole fine-tuning run, from the rows to the scores: read it top to bottom."""

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import (
    AutoConfig,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.loading import LoadedData, load_task_data
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.data.validation import write_rejected_rows
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import compute_metrics, predictions_from_logits
from extrabert_hf.evaluation.scoring import score_split
from extrabert_hf.evaluation.submission import write_submission
from extrabert_hf.evaluation.summary import summarize
from extrabert_hf.pretrained import build_model
from extrabert_hf.training.arguments import ExtraBertTrainingArguments
from extrabert_hf.training.command_line import Run
from extrabert_hf.training.trainer import ExtraBertTrainer

logger = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 128


def finetune(run: Run) -> dict[str, Any]:
    """
    Fine-tunes one model on one task and leaves all of it in `run.training.output_dir`.

    The folder then holds the best model and its tokenizer, `metrics.json`, `predictions/{dev,test}.csv`,
    `rejected_rows.jsonl`, `trainer_state.json` with the curves, and the last checkpoints.

    Args:
        run ([`Run`]):
            What [`parse_run`] gives.

    Returns:
        `dict`: what stands in `metrics.json`; of several processes the first gets it, the others an empty one.

    Raises:
        [`InputError`]: for anything in `run` that can't be used.
    """
    checkpoint = find_checkpoint(run.training)
    set_seed(run.training.seed)
    loaded = load_rows(run)
    model, tokenizer = build_model(
        run.model.model_name_or_path,
        run.task,
        attn_implementation=run.model.attn_implementation,
        **run.model.config_fields(),
    )
    if checkpoint is not None:
        check_same_model(model, checkpoint, [*run.model.config_fields(), "id2label", "score_range", "hidden_size"])
    limit_length(tokenizer, model, run.data.max_length)
    trainer = build_trainer(run, model, tokenizer, loaded)
    if checkpoint is None and trainer.is_world_process_zero():
        clear_earlier_run(Path(run.training.output_dir))
    logger.info(
        "training %s on %s: %.1f M parameters, %s rows, %s (%s)",
        type(model).__name__,
        trainer.args.device,
        model.num_parameters() / 1e6,
        f"{len(trainer.train_dataset):,}",
        {"bf16": "bfloat16 autocast", "fp16": "float16 autocast", "no": "float32"}[run.training.mixed_precision],
        run.training.precision_reason,
    )
    train_metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    trainer.save_model()
    trainer.save_state()
    if not trainer.is_world_process_zero():
        return {}
    return score_and_write(run, trainer, tokenizer, loaded, train_metrics)


def find_checkpoint(args: ExtraBertTrainingArguments) -> str | None:
    """Gives the checkpoint to resume from, if any; refuses to mix a new run into an old one's checkpoints."""
    output_dir = Path(args.output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"`output_dir` must be a folder, {output_dir} is a file.")
    last = get_last_checkpoint(output_dir) if output_dir.is_dir() else None
    if args.resume_from_checkpoint == "last":
        if last is None:
            raise InputError(f"`resume_from_checkpoint` 'last' needs a checkpoint in {output_dir}, which has none.")
        return last
    if args.resume_from_checkpoint is not None:
        if not (Path(args.resume_from_checkpoint) / "trainer_state.json").is_file():
            raise InputError(
                f"`resume_from_checkpoint` must be 'last' or a checkpoint folder, got {args.resume_from_checkpoint!r}."
            )
        return args.resume_from_checkpoint
    if last is not None and not args.overwrite_output_dir:
        raise InputError(
            f"`output_dir` {output_dir} holds checkpoints of an earlier run: go on with --resume_from_checkpoint "
            "last, start anew with --overwrite_output_dir, or name another --output_dir."
        )
    return None


def clear_earlier_run(output_dir: Path) -> None:
    """Takes away what an earlier run left and this one might not write again."""
    for folder in [*output_dir.glob("checkpoint-*"), *output_dir.glob("predictions")]:
        shutil.rmtree(folder)
    (output_dir / "metrics.json").unlink(missing_ok=True)


def load_rows(run: Run) -> LoadedData:
    """Loads the splits, says in a line each what a user should know, and writes the rejected rows out."""
    data = run.data
    loaded = load_task_data(
        run.task,
        data.data,
        dev_data=data.dev_data,
        test_data=data.test_data,
        dev_fraction=data.dev_fraction,
        dataset_config=data.dataset_config,
        seed=run.training.seed,
        strict=data.strict_data,
    )
    for notice in loaded.notices:
        logger.info(notice)
    if run.training.process_index == 0:
        output_dir = Path(run.training.output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        write_rejected_rows(output_dir / "rejected_rows.jsonl", loaded.rejected)
    return loaded


def check_same_model(model: PreTrainedModel, checkpoint: str, fields: list[str]) -> None:
    """Refuses to resume from a checkpoint whose model's config differs in one of `fields`."""
    saved = AutoConfig.from_pretrained(checkpoint)
    for name in fields:
        was, now = getattr(saved, name), getattr(model.config, name)
        if was != now:
            raise InputError(
                f"`resume_from_checkpoint` must hold this run's model, whose `{name}` is {now}, got {was}."
            )


def limit_length(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, max_length: int | None) -> None:
    """Notes in the tokenizer, which is saved with the model, after how many tokens it cuts and what it gives."""
    positions = getattr(model.config.backbone_config, "max_position_embeddings", DEFAULT_MAX_LENGTH)
    longest = min(tokenizer.model_max_length, positions)
    if max_length is not None and max_length > longest:
        raise InputError(f"`max_length` must be at most {longest}, what the tokenizer takes, got {max_length}.")
    tokenizer.model_max_length = max_length or min(DEFAULT_MAX_LENGTH, longest)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # what the model takes: `model(**tokenizer(...))`


def build_trainer(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loaded: LoadedData
) -> ExtraBertTrainer:
    """Joins model, tokenised rows and metric in a trainer."""

    def metrics_of(evaluation: EvalPrediction) -> dict[str, float]:
        predictions = predictions_from_logits(run.task, evaluation.predictions)
        return compute_metrics(run.task, predictions, evaluation.label_ids)

    train, dev = (tokenize_dataset(loaded.splits[name], tokenizer) for name in ("train", "dev"))
    patience = run.training.early_stopping_patience
    return ExtraBertTrainer(
        model=model,
        args=run.training,
        train_dataset=train,
        eval_dataset=dev.select(np.argsort(dev["length"][:])[::-1]),  # like lengths stand together: little padding
        data_collator=DataCollatorForSentences(
            tokenizer.pad_token_id, pad_to_multiple_of=8 if run.training.device.type == "cuda" else None
        ),
        processing_class=tokenizer,
        compute_metrics=metrics_of,
        callbacks=[EarlyStoppingCallback(patience)] if patience is not None else None,
    )


def score_and_write(
    run: Run,
    trainer: ExtraBertTrainer,
    tokenizer: PreTrainedTokenizerBase,
    loaded: LoadedData,
    train_metrics: dict[str, float],
) -> dict[str, Any]:
    """Scores dev and test in float32, as `recipes/evaluate_model.py` would, and writes predictions and metrics."""
    output_dir = Path(run.training.output_dir)
    train_labels = np.asarray(loaded.splits["train"]["label"][:])
    scores = {}
    for split in ["dev", "test"] if run.data.predict_test and "test" in loaded.splits else ["dev"]:
        rows = loaded.splits[split]
        predictions, report = score_split(
            trainer.model,
            tokenizer,
            run.task,
            rows,
            train_labels=train_labels,
            batch_size=run.training.eval_batch_size,
            progress=not run.training.disable_tqdm,
        )
        write_submission(output_dir / "predictions" / f"{split}.csv", run.task, rows["id"], predictions)
        if report is not None:
            scores[split] = report
            logger.info("\n%s", summarize(f"{run.task.name} {split}", report))
    metrics = {
        "task": asdict(run.task),
        "scores": scores,
        "rows": {name: len(rows) for name, rows in loaded.splits.items()},
        "rejected_rows": len(loaded.rejected),
        "model": {"model_name_or_path": run.model.model_name_or_path}
        | {name: getattr(trainer.model.config, name) for name in run.model.config_fields()},
        "data": asdict(run.data),
        "training": {
            "best_step": trainer.state.best_global_step,
            "processes": run.training.world_size,
            "precision": run.training.mixed_precision,
            **train_metrics,
        },
        "arguments": run.training.to_dict(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    (output_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    logger.info("\nmodel, metrics.json and predictions are in %s", output_dir)
    return metrics
