"""What LoRA can be told."""

from dataclasses import dataclass, field
from typing import ClassVar


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
