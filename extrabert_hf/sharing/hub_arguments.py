"""What a push to the Hub can be told beside the repository's name."""

from dataclasses import dataclass, field


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
