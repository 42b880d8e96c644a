"""Which `pipeline()` tasks a model has: the entry `custom_pipelines` of its config."""

from typing import Any

PIPELINE_FOR_HEAD = {
    "sentiment": "text-classification",
    "paraphrase": "text-classification",
    "similarity": "sentence-similarity",
}
"""Name of the `pipeline()` task for a model of one task; a multitask model has a pipeline for each of its tasks."""

FEATURE_EXTRACTION = "feature-extraction"


class CustomPipelines(dict):
    """
    The pipelines of a model by the name of their `pipeline()` task: those that predict, and `"feature-extraction"`.

    `pipeline(model=..., trust_remote_code=True)` without a task takes the only entry, and raises an error for several.
    So `"feature-extraction"`, which every model has, can be looked up but is not one of the counted and saved entries.

    Example:
        >>> pipelines = CustomPipelines({"sentence-similarity": pipeline_entry("ExtraBertPipeline")})
        >>> list(pipelines), "feature-extraction" in pipelines
        (['sentence-similarity'], True)
        >>> pipelines["feature-extraction"]["impl"]
        'pipelines_extrabert.ExtraBertFeatureExtractionPipeline'
    """

    def __contains__(self, name: object) -> bool:
        return name == FEATURE_EXTRACTION or super().__contains__(name)

    def __missing__(self, name: str) -> dict[str, Any]:
        if name != FEATURE_EXTRACTION:
            raise KeyError(name)
        return pipeline_entry("ExtraBertFeatureExtractionPipeline")


def pipeline_entry(class_name: str) -> dict[str, Any]:
    """Returns what `pipeline()` needs to find a pipeline class in the files of a model."""
    return {"impl": f"pipelines_extrabert.{class_name}", "pt": ["AutoModel"]}
