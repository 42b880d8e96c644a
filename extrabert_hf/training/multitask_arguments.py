"""What a run of several tasks can be told beside what each task can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from extrabert_hf.data.mixing import MixingSampler
from extrabert_hf.data.multitask import MultiTaskSampler, StepSampler
from extrabert_hf.errors import InputError
from extrabert_hf.training.gradient_surgery import AGGREGATORS, TORCHJD_WEIGHTINGS, get_aggregator

EPOCH_LENGTHS = {"together": ("longest", "shortest")} | dict.fromkeys(
    ("proportional", "temperature", "annealed", "weights"), ("total",)
)
"""Way of mixing -> the words that `epoch_length` may be."""


@dataclass
class MultiTaskArguments:
    """How several tasks are trained on one encoder."""

    _argument_group_name: ClassVar[str] = "multitask"

    tasks: list[str] = field(
        default_factory=lambda: ["sst", "para", "sts"],
        metadata={"help": "The tasks that the model has: the paper's, or your own from `by_task` in the YAML."},
    )
    train_tasks: list[str] | None = field(
        default=None,
        metadata={"help": "Those of `tasks` that are trained; by default all. The others are only scored."},
    )
    aggregator: str = field(
        default="pcgrad",
        metadata={
            "help": "How the tasks' gradients of the encoder are joined: "
            f"{', '.join(map(repr, AGGREGATORS))}, or with torchjd {', '.join(map(repr, TORCHJD_WEIGHTINGS))}."
        },
    )
    mixing: str = field(
        default="together",
        metadata={
            "help": "'together': each step has a batch of every task; or one task a step, in shares 'proportional' "
            "to the rows, by 'temperature', 'annealed' from proportional towards equal, or by 'weights'. With one "
            "task a step there are no gradients to join."
        },
    )
    mixing_temperature: float = field(
        default=2.0, metadata={"help": "T of mixing by temperature: shares like rows ** (1 / T)."}
    )
    mixing_weights: list[float] | None = field(
        default=None, metadata={"help": "For mixing by weights, a weight for each trained task, in their order."}
    )
    epoch_length: str | None = field(
        default=None,
        metadata={
            "help": "Steps of an epoch: a number, or 'longest' (every row of every task is seen; the default) or "
            "'shortest' for mixing together, 'total' (as many rows as there are) for one task a step."
        },
    )
    examples_per_item: list[int] | None = field(
        default=None,
        metadata={"help": "For each trained task, its rows a step as a multiple of the batch size; by default 1."},
    )
    keep_best_per_task: bool = field(
        default=False, metadata={"help": "Also keep for each task the model of its own best evaluation, in best/TASK."}
    )

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InputError(f"`tasks` must be different names, at least one, got {self.tasks}.")
        known = set(self.trained) <= set(self.tasks)
        if not known or not self.trained or len(set(self.trained)) != len(self.trained):
            raise InputError(f"`train_tasks` must be some of {self.tasks}, each once, got {self.train_tasks}.")
        get_aggregator(self.aggregator)  # refuses what there is not
        if self.mixing not in EPOCH_LENGTHS:
            raise InputError(f"`mixing` must be one of {', '.join(map(repr, EPOCH_LENGTHS))}, got {self.mixing!r}.")
        words = EPOCH_LENGTHS[self.mixing]
        is_count = (self.epoch_length or "").isdecimal() and int(self.epoch_length) > 0
        if self.epoch_length not in (None, *words) and not is_count:
            raise InputError(
                f"`epoch_length` must be {', '.join(map(repr, words))} or a number of steps, 1 or more, for `mixing` "
                f"{self.mixing!r}, got {self.epoch_length!r}."
            )
        if not self.mixing_temperature > 0:
            raise InputError(f"`mixing_temperature` must be above 0, got {self.mixing_temperature}.")
        for name, numbers in (("mixing_weights", self.mixing_weights), ("examples_per_item", self.examples_per_item)):
            if numbers is not None and len(numbers) != len(self.trained):
                raise InputError(f"`{name}` must be a number for each of {self.trained}, got {numbers}.")
        if (self.mixing == "weights") != (self.mixing_weights is not None):
            raise InputError(
                f"`mixing_weights` go with `mixing` 'weights', got {self.mixing_weights}, {self.mixing!r}."
            )

    @property
    def trained(self) -> list[str]:
        """The tasks that are trained, in the order in which they were named."""
        return self.tasks if self.train_tasks is None else self.train_tasks

    def sampler(
        self,
        sizes: Mapping[str, int],
        lengths: Mapping[str, Sequence[int]] | None,
        batch_size: int,
        seed: int,
        num_epochs: int,
    ) -> StepSampler:
        """
        Makes the sampler of these arguments.

        Args:
            sizes (`Mapping[str, int]`):
                Rows of each trained task.
            lengths (`Mapping[str, Sequence[int]]`, *optional*):
                Tokens of each row, for batches of like length.
            batch_size (`int`):
                Items of an optimizer step.
            seed (`int`):
                Start of the order.
            num_epochs (`int`):
                Epochs of the run, over which shares are annealed.

        Raises:
            [`InputError`]: if an argument is not valid for these tasks.
        """
        of_task = dict(zip(self.trained, self.examples_per_item or [], strict=False)) or None
        length = int(self.epoch_length) if (self.epoch_length or "").isdecimal() else self.epoch_length
        shared = {"examples_per_item": of_task, "lengths": lengths} | ({"epoch_length": length} if length else {})
        if self.mixing == "together":
            return MultiTaskSampler(sizes, batch_size, seed, **shared)
        weights = dict(zip(self.trained, self.mixing_weights or [], strict=False))
        return MixingSampler(
            sizes,
            batch_size,
            seed,
            mixing=weights or self.mixing,
            temperature=self.mixing_temperature,
            num_epochs=num_epochs,
            **shared,
        )
