"""A model's card, filled from the files that its run has left; no number in it is typed."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.tables import number_cell


@dataclass
class HubArguments:
    """How a model is shared."""

    hub_private_repo: bool | None = field(
        default=None,
        metadata={"help": "Whether only its owner sees a repository made anew; else the owner's default."},
    )
    hub_update: bool = field(
        default=False,
        metadata={"help": "Add a new version to a repository that holds another model already; its history stays."},
    )
    hub_license: str = field(
        default="mit",
        metadata={"help": "Licence of the model, by the Hub's id: 'mit', 'apache-2.0', 'cc-by-4.0', ..."},
    )
    hub_language: str | None = field(
        default=None, metadata={"help": "Language of the texts by its code, such as 'en', for the model's card."}
    )


TEMPLATES = Path(__file__).parents[2] / "hub_cards"
MARK = "<!-- Written by extrabert_hf from the run's files. Without this line a push leaves the card as it is. -->"

HUB_TASKS = {
    "sentiment": "text-classification",
    "paraphrase": "text-classification",
    "similarity": "sentence-similarity",
}
HUB_METRICS = {"pearson": "pearsonr", "spearman": "spearmanr", "macro_f1": "f1"}
"""The Hub's names of our metrics, where they differ."""
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
    run: RunFolder, model_id: str, sharing: HubArguments, figures: dict[str, str], *, adapter_of: str | None = None
) -> str:
    """
    Renders `hub_cards/model_card.md.jinja` for a run.

    Args:
        run ([`RunFolder`]):
            The run.
        model_id (`str`):
            What the examples load: `"owner/name"` on the Hub.
        sharing ([`HubArguments`]):
            Licence and language.
        figures (`dict[str, str]`):
            Captions by the figures' paths in the repository.
        adapter_of (`str`, *optional*):
            Hub id of the encoder, for a repository that holds an adapter only.

    Returns:
        `str`: the card with its metadata, whose `model-index` has an entry for each task.

    Raises:
        [`InputError`]: if the templates are not there, as where the package was installed without its repository.
    """
    check_templates()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    environment.filters["score"] = number_cell
    body = environment.get_template("model_card.md.jinja").render(
        mark=MARK,
        model_id=model_id,
        heads={name: entry["task"]["head"] for name, entry in run.tasks.items()} or _heads_of(run.config),
        labels=_labels_of(run.config),
        config=run.config,
        metrics=run.metrics,
        tasks=run.tasks,
        metric_names=METRIC_NAMES,
        fields_of={name: _fields_of_head(entry) for name, entry in run.tasks.items()},
        encodes_apart=_encodes_apart(run.config),
        max_length=run.max_length,
        rejected=run.rejected,
        findings=run.findings,
        figures=figures,
        adapter_of=adapter_of,
        licence=sharing.hub_license,
    )
    return f"---\n{card_data(run, model_id, sharing, adapter_of).to_yaml()}\n---\n\n{body}"


def check_templates() -> None:
    """Raises [`InputError`] where the package was installed without the repository's `hub_cards/`."""
    if not TEMPLATES.is_dir():
        raise InputError(f"the card's templates must be in {TEMPLATES}: a push needs a checkout of the repository.")


def card_data(run: RunFolder, model_id: str, sharing: HubArguments, adapter_of: str | None = None) -> ModelCardData:
    """Gives the card's metadata: what the Hub filters, links and lists by."""
    heads = {entry["task"]["head"] for entry in run.tasks.values()} or set(_heads_of(run.config).values())
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
        datasets=sorted({entry["dataset"]["hub_id"] for entry in run.tasks.values()} - {None}) or None,
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=model_id.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )


def eval_results(run: RunFolder) -> list[EvalResult]:
    """Gives each score of a run as the Hub's `model-index` lists it, interval and baseline in its `metric_args`."""
    results = []
    used = Counter((entry["dataset"]["hub_id"], entry["dataset"]["config"]) for entry in run.tasks.values())
    for name, entry in run.tasks.items():
        dataset = entry["dataset"]
        is_shared = dataset["hub_id"] is not None and used[dataset["hub_id"], dataset["config"]] > 1
        for split, report in entry["scores"].items():
            for metric, value in report["metrics"].items():
                extra: dict[str, Any] = {"confidence_interval_95": report["intervals"][metric], "rows": report["rows"]}
                if metric in (report["majority_baseline"] or {}):
                    extra["majority_baseline"] = report["majority_baseline"][metric]
                results.append(
                    EvalResult(
                        task_type=HUB_TASKS[entry["task"]["head"]],
                        task_name=name,
                        dataset_type=dataset["hub_id"] or name,
                        dataset_name=dataset["name"],
                        dataset_config=name if is_shared else dataset["config"],  # an entry for each task
                        dataset_split=split,
                        metric_type=HUB_METRICS.get(metric, metric),
                        metric_name=METRIC_NAMES[metric],
                        metric_value=value,
                        metric_args=extra,
                    )
                )
    return results


def _heads_of(config: dict[str, Any]) -> dict[str, str]:
    if config.get("tasks"):
        return {name: task["head"] for name, task in config["tasks"].items()}
    head = config["architectures"][0].removeprefix("ExtraBertFor").lower()
    return {{"sentiment": "sst", "paraphrase": "para", "similarity": "sts"}[head]: head}


def _encodes_apart(config: dict[str, Any]) -> bool:
    """Tells whether a task has pairs whose sentences do not see each other."""
    tasks = config.get("tasks") or {}
    return any(
        head != "sentiment"
        and tasks.get(name, {}).get("pair_encoding", config.get("pair_encoding")) != "cross_encoder"
        for name, head in _heads_of(config).items()
    )


def _fields_of_head(entry: dict[str, Any]) -> list[str]:
    """Names those fields of the config that the task's head and pooling read."""
    model, head = entry["model"], entry["task"]["head"]
    is_cross_encoder = head != "sentiment" and model.get("pair_encoding") == "cross_encoder"
    is_cosine = head == "similarity" and model["similarity"] == "cosine" and not is_cross_encoder
    fields = ["pair_encoding"] if is_cross_encoder else []
    fields += ["pooling", *(["multiplicative_weight"] if model["pooling"] == "multiplicative" else [])]
    if head == "similarity":
        fields += ["similarity_bounds"] if is_cross_encoder else ["similarity", "similarity_bounds"]
    else:
        fields += ["feed_forward_depth", "feed_forward_residual"]
    if head != "sentiment" and not is_cosine and not is_cross_encoder:
        fields.append("pair_features")
    return [*fields, *([] if is_cosine else ["head_dropout"])]


def _labels_of(config: dict[str, Any]) -> list[str]:
    return list(config.get("id2label", {}).values())
