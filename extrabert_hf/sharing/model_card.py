"""The model card, rendered from the files of a run: every number in the card comes from a file."""

import json
import shlex
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from extrabert_hf.errors import printable, shorten
from extrabert_hf.evaluation.scores import baseline_warning, interval_text
from extrabert_hf.inference.calibration import CalibrationReport
from extrabert_hf.models import pipeline_names_extrabert
from extrabert_hf.pretrained.packaged_encoders import PACKAGED_ENCODERS, TRAINED_ON
from extrabert_hf.runs.class_figures import MOST_CLASSES
from extrabert_hf.runs.folder import CARD_MARK
from extrabert_hf.runs.run_metrics import TaskMetrics
from extrabert_hf.runs.tables import markdown_text, number_cell
from extrabert_hf.sharing.shared_run import SharedRun


@dataclass
class HubArguments:
    """The repository on the Hub, and the metadata of the model card."""

    hub_private_repo: bool | None = field(
        default=None,
        metadata={"help": "Whether a new repository is private. The default is the setting of the owner's account."},
    )
    hub_update: bool = field(
        default=False,
        metadata={
            "help": "Add a new version to a repository that already has another model. The repository keeps its "
            "history."
        },
    )
    hub_license: str = field(
        default="mit",
        metadata={"help": "Licence of the model as an id of the Hub: 'mit', 'apache-2.0', 'cc-by-4.0', ..."},
    )
    hub_language: str | None = field(
        default=None, metadata={"help": "Language code of the texts for the model card, such as 'en'."}
    )


TEMPLATES = [folder / "hub_cards" for folder in Path(__file__).parents[1:3]]
"""Folder of the templates: in the package of an installed wheel, beside the package in a checkout."""

THIS_FOLDER = "."
"""The name that the examples of a card load before a push: the examples run in the folder of the model."""

HUB_TASKS = {
    "sentiment": "text-classification",
    "paraphrase": "text-classification",
    "similarity": "sentence-similarity",
}
HUB_METRICS = {"pearson": "pearsonr", "spearman": "spearmanr", "macro_f1": "f1"}
"""Names of metrics on the Hub that differ from the names here."""
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "within_1_accuracy": "Accuracy within one class",
    "quadratic_kappa": "Quadratic weighted kappa",
    "f1": "F1",
    "pearson": "Pearson r",
    "spearman": "Spearman rho",
    "mse": "Mean squared error",
}


def render_card(
    run: SharedRun, model_id: str, sharing: HubArguments, figures: dict[str, str], *, adapter_of: str | None = None
) -> str:
    """
    Renders `hub_cards/model_card.md.jinja` for a trained model.

    Args:
        run ([`SharedRun`]):
            The trained model.
        model_id (`str`):
            The name that the card's examples load: `"owner/name"` on the Hub, or [`THIS_FOLDER`].
        sharing ([`HubArguments`]):
            Licence and language.
        figures (`dict[str, str]`):
            Captions of the figures by their paths in the repository.
        adapter_of (`str`, *optional*):
            Hub id of the encoder, for a repository with an adapter only.

    Returns:
        `str`: the card with metadata. The `model-index` of the metadata has an entry for each task.
    """
    title = Path(model_id).name or run.path.resolve().name
    body = card_template("model_card.md.jinja").render(
        mark=Markup(CARD_MARK),
        title=title,
        is_folder=model_id == THIS_FOLDER,
        model_id=python_string(model_id),
        model_word=Markup(shlex.quote(printable(model_id))),
        heads=run.heads,
        with_vectors=_with_vectors(run),
        outputs={
            name: len(task.get("class_names") or ["..."]) for name, task in (run.model_config.tasks or {}).items()
        },
        tokenizer_has_code=run.tokenizer_has_code,
        width=getattr(run.model_config.backbone_config, "hidden_size", "..."),
        labels=list(run.config.get("id2label", {}).values()),
        most_classes=MOST_CLASSES,
        has_adapters=any("adapter" in task for task in (run.config.get("tasks") or {}).values()),
        metrics=run.metrics,
        tasks=run.tasks,
        metric_names=METRIC_NAMES,
        calibrations={name: _calibration_text(report) for name, report in run.calibrations.items()},
        conformals=_conformal_texts(run),
        fields_of={name: _fields_of_head(entry) for name, entry in run.tasks.items()},
        is_bi_encoder=_is_bi_encoder(run),
        is_cross_encoder=any(_is_cross_encoder(run, name) for name in run.heads),
        max_length=run.max_length,
        rejected=run.rejected,
        warnings=_warnings(run),
        findings=run.findings,
        figures=figures,
        has_report=run.folder.report_file.is_file(),
        adapter_of=adapter_of,
        encoder_trained_on=_encoder_trained_on(run),
        licence=sharing.hub_license,
    )
    return f"---\n{card_data(run, title, sharing, adapter_of).to_yaml()}\n---\n\n{body}"


def card_template(name: str) -> Template:
    """Returns a template of `hub_cards/`; the texts that it gets are escaped for Markdown, see [`card_text`]."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
        finalize=card_text,
    )
    environment.filters["score"] = number_cell
    environment.filters["interval"] = lambda bounds: interval_text(bounds[0], bounds[1], number_cell)
    return environment.get_template(name)


def python_string(text: str) -> Markup:
    """Returns a string of Python code with a text."""
    return Markup(json.dumps(text, ensure_ascii=not text.isprintable()))


def card_text(value: Any) -> Any:
    """Returns a value of the card: a text cannot become a format, a link or HTML. Names of models and tasks stay."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = value.strip(" ")
    start = len(value) - len(value.lstrip(" "))
    return f"{value[:start]}{markdown_text(shorten(text, 500))}{value[start + len(text) :]}"


def _warnings(run: SharedRun) -> list[str]:
    found = (
        baseline_warning(f"{name} {split}", entry.task, scores)
        for name, entry in run.tasks.items()
        for split, scores in entry.scores.items()
    )
    return [warning for warning in found if warning is not None]


def card_data(run: SharedRun, title: str, sharing: HubArguments, adapter_of: str | None = None) -> ModelCardData:
    """Returns the metadata of the card, which the Hub uses to filter, link and list models."""
    heads = set(run.heads.values())
    results = eval_results(run)
    kinds = {HUB_TASKS[head] for head in heads}
    return ModelCardData(
        language=sharing.hub_language,
        license=sharing.hub_license,
        library_name="transformers",
        pipeline_tag=kinds.pop() if len(kinds) == 1 else None,
        tags=["extrabert", *sorted(heads), *(["lora"] if adapter_of else [])],
        base_model=adapter_of or run.hub_encoder,
        base_model_relation="adapter" if adapter_of else ("finetune" if run.tasks else None),
        datasets=sorted({entry.dataset.hub_id for entry in run.tasks.values()} - {None}) or None,
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=title if results else None,
        eval_results=results or None,
    )


def eval_results(run: SharedRun) -> list[EvalResult]:
    """Returns each score as an entry of the Hub's `model-index`, with interval and baseline in `metric_args`."""
    results = []
    used = Counter((entry.dataset.hub_id, entry.dataset.config) for entry in run.tasks.values())
    for name, entry in run.tasks.items():
        dataset = entry.dataset
        is_shared = dataset.hub_id is not None and used[dataset.hub_id, dataset.config] > 1
        for split, scores in entry.scores.items():
            for metric, value in scores.metrics.items():
                extra: dict[str, Any] = {"confidence_interval_95": list(scores.intervals[metric]), "rows": scores.rows}
                if metric in (scores.majority_baseline or {}):
                    extra["majority_baseline"] = scores.majority_baseline[metric]
                results.append(
                    EvalResult(
                        task_type=HUB_TASKS[entry.task.head],
                        task_name=name,
                        dataset_type=dataset.hub_id or name,
                        dataset_name=dataset.name,
                        dataset_config=name if is_shared else dataset.config,  # an entry for each task
                        dataset_split=split,
                        metric_type=HUB_METRICS.get(metric, metric),
                        metric_name=METRIC_NAMES[metric],
                        metric_value=value,
                        metric_args=extra,
                    )
                )
    return results


def _calibration_text(calibration: CalibrationReport) -> str:
    """Returns the parameters of a calibration, and each score before and after it."""
    bias = f", bias {calibration.bias:.2f}" if calibration.bias else ""
    after = asdict(calibration.after)
    names = {"nll": "mean negative log-likelihood", "expected_calibration_error": "expected calibration error"}
    changes = (
        f"{names.get(name, name)} {number_cell(value)} -> {number_cell(after[name])}"
        for name, value in asdict(calibration.before).items()
    )
    return f"(temperature {calibration.temperature:.2f}{bias}). Cross-validated scores: {', '.join(changes)}."


def _conformal_texts(run: SharedRun) -> dict[str, str]:
    """Returns what the prediction sets or intervals of each task that has quantiles for them guarantee."""
    config = run.model_config
    by_task = {name: (config.tasks or {}).get(name, {}).get("conformal", config.conformal) for name in run.heads}
    return {
        name: f"{'interval' if run.heads[name] == 'similarity' else 'prediction set'} of a new row holds the label "
        f"with a probability of {conformal['coverage']:g} or more (conformal prediction, method "
        f"{conformal['method']}, {conformal['rows']:,} rows)"
        for name, conformal in by_task.items()
        if conformal is not None
    }


def _encoder_trained_on(run: SharedRun) -> str | None:
    """Returns the sentence pairs that the encoder was trained on before, if known, for heads over pairs."""
    known = {encoder.hub_id for encoder in PACKAGED_ENCODERS.values()}
    over_pairs = (entry for entry in run.tasks.values() if entry.task.head != "sentiment")
    return TRAINED_ON if any(entry.model.encoder in known for entry in over_pairs) else None


def _is_bi_encoder(run: SharedRun) -> bool:
    """Returns whether some task encodes the two sentences of a pair separately."""
    return any(head != "sentiment" and not _is_cross_encoder(run, name) for name, head in run.heads.items())


def _with_vectors(run: SharedRun) -> list[str]:
    """Returns the tasks whose sentences have vectors; none if the code in the folder has no `embed`."""
    code = (run.path / f"{pipeline_names_extrabert.__name__.rpartition('.')[2]}.py").is_file()
    return [name for name in run.heads if code and not _is_cross_encoder(run, name)]


def _is_cross_encoder(run: SharedRun, task: str) -> bool:
    """Returns whether a task encodes the two sentences of a pair together, so that no sentence has a vector."""
    config = run.model_config
    encoding = (config.tasks or {}).get(task, {}).get("pair_encoding", config.pair_encoding)
    return run.heads[task] != "sentiment" and encoding == "cross_encoder"


def _fields_of_head(entry: TaskMetrics) -> list[str]:
    """Returns the names of the config's fields that the head and the pooling of a task use."""
    model, head = entry.model, entry.task.head
    is_cross_encoder = head != "sentiment" and model.is_cross_encoder
    is_cosine = head == "similarity" and model.similarity == "cosine" and not is_cross_encoder
    fields = ["pair_encoding"] if is_cross_encoder else []
    fields += ["pooling", *(["multiplicative_weight"] if model.pooling == "multiplicative" else [])]
    if head == "similarity":
        fields += ["similarity_bounds"] if is_cross_encoder else ["similarity", "similarity_bounds"]
    else:
        fields += ["feed_forward_depth", "feed_forward_residual"]
    if head != "sentiment" and not is_cosine and not is_cross_encoder:
        fields.append("pair_features")
    fields += [] if is_cosine else ["head_dropout"]
    return [field for field in fields if field in model.config_fields]
