"""What LoRA can be told."""

import logging
from dataclasses import dataclass, field, fields
from typing import ClassVar

logger = logging.getLogger(__name__)


@dataclass
class LoraArguments:
    """Train small adapters in place of the whole encoder; heads and poolings are trained in full."""

    _argument_group_name: ClassVar[str] = "LoRA (peft)"

    lora: bool = field(
        default=False,
        metadata={"help": "Low-rank adapters in a frozen encoder; they want a larger --learning_rate, such as 3e-4."},
    )
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=16, metadata={"help": "Scale: an adapter counts alpha / r times."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout before an adapter."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the linear layers that get one, such as 'query value'; by default all."},
    )

    def __post_init__(self) -> None:
        given = [its.name for its in fields(self) if getattr(self, its.name) != its.default]
        if given and not self.lora:
            logger.warning("without `lora` nothing is done with %s", ", ".join(f"`{name}`" for name in given))
