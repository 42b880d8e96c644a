"""The arguments of a run of several tasks, in addition to the arguments of each task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from extrabert_hf.data.mixing import MixingSampler
from extrabert_hf.data.multitask import MultiTaskSampler, StepSampler
from extrabert_hf.errors import InputError
from extrabert_hf.training.argument_checks import check_number
from extrabert_hf.training.gradient_surgery import AGGREGATORS, TORCHJD_WEIGHTINGS, get_aggregator
from extrabert_hf.training.loss_weighting import LOSS_WEIGHTINGS, LossWeighting

EPOCH_LENGTHS = {"together": ("longest", "shortest")} | dict.fromkeys(
    ("proportional", "temperature", "annealed", "weights"), ("total",)
)
"""By value of `mixing`, the words that `epoch_length` accepts in addition to a number of steps."""


@dataclass
class MultiTaskArguments:
    """How several tasks are trained on one encoder."""

    _argument_group_name: ClassVar[str] = "multitask"

    tasks: list[str] = field(
        default_factory=lambda: ["sst", "para", "sts"],
        metadata={"help": "The tasks of the model: tasks of the paper, or custom tasks from `by_task` in the YAML."},
    )
    train_tasks: list[str] | None = field(
        default=None,
        metadata={"help": "The tasks to train; other tasks are only scored. The default is all tasks."},
    )
    aggregator: str = field(
        default="pcgrad",
        metadata={
            "help": "Method that combines the tasks' gradients of the encoder: "
            f"{', '.join(map(repr, AGGREGATORS))}, or with torchjd {', '.join(map(repr, TORCHJD_WEIGHTINGS))}."
        },
    )
    loss_weighting: str = field(
        default="none",
        metadata={
            "help": "Method that weights the tasks' gradients of the encoder by the tasks' losses, with --aggregator "
            "sum: 'uncertainty' (a learned variance for each task), 'famo' (lets all losses fall at the same rate; "
            "one more forward pass for each batch) or 'none'."
        },
    )
    loss_weighting_learning_rate: float = field(
        default=0.025,
        metadata={"help": "Learning rate of the weights of --loss_weighting; the default is that of FAMO."},
    )
    mixing: str = field(
        default="together",
        metadata={
            "help": "How tasks are mixed. 'together': each step has a batch of every task. With the other values, "
            "each step has one task, and no gradients are combined. The share of steps of a task is proportional to "
            "its number of rows ('proportional'), smoothed by --mixing_temperature ('temperature'), changed from "
            "proportional to almost equal during training ('annealed'), or given by --mixing_weights ('weights')."
        },
    )
    mixing_temperature: float = field(
        default=2.0,
        metadata={"help": "T for mixing by 'temperature': the share of a task is proportional to rows ** (1 / T)."},
    )
    mixing_weights: list[float] | None = field(
        default=None,
        metadata={"help": "For mixing by 'weights': one weight for each trained task, in the order of the tasks."},
    )
    epoch_length: str | None = field(
        default=None,
        metadata={
            "help": "Length of an epoch: a number of steps or a word. For mixing 'together': 'longest' (the default, "
            "an epoch has every row of every task at least once) or 'shortest'. For the other values of --mixing: "
            "'total' (an epoch has as many rows as all tasks together)."
        },
    )
    examples_per_item: list[int] | None = field(
        default=None,
        metadata={
            "help": "One number for each trained task: the rows of a step as a multiple of the batch size. The "
            "default is 1."
        },
    )
    keep_best_per_task: bool = field(
        default=False,
        metadata={"help": "Also save, in best/TASK, the model with the best score of each single task."},
    )

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InputError(f"`tasks` must be different names, at least one, got {self.tasks}.")
        known = set(self.trained) <= set(self.tasks)
        if not known or not self.trained or len(set(self.trained)) != len(self.trained):
            raise InputError(f"`train_tasks` must be some of {self.tasks}, each once, got {self.train_tasks}.")
        get_aggregator(self.aggregator)  # raises for an unknown name
        if self.mixing not in EPOCH_LENGTHS:
            raise InputError(f"`mixing` must be one of {', '.join(map(repr, EPOCH_LENGTHS))}, got {self.mixing!r}.")
        self._check_loss_weighting()
        words = EPOCH_LENGTHS[self.mixing]
        is_count = (self.epoch_length or "").isdecimal() and int(self.epoch_length) > 0
        if self.epoch_length not in (None, *words) and not is_count:
            raise InputError(
                f"`epoch_length` must be {', '.join(map(repr, words))} or a number of steps, 1 or more, for `mixing` "
                f"{self.mixing!r}, got {self.epoch_length!r}."
            )
        check_number("mixing_temperature", self.mixing_temperature, "(0, inf)")
        if self.mixing_temperature != MultiTaskArguments.mixing_temperature and self.mixing != "temperature":
            raise InputError(f"`mixing_temperature` goes with `mixing` 'temperature', got {self.mixing!r}.")
        for name, numbers in (("mixing_weights", self.mixing_weights), ("examples_per_item", self.examples_per_item)):
            if numbers is not None and len(numbers) != len(self.trained):
                raise InputError(f"`{name}` must be a number for each of {self.trained}, got {numbers}.")
        for weight in self.mixing_weights or []:
            check_number("mixing_weights", weight, "[0, inf)")
        if self.mixing_weights is not None and not any(self.mixing_weights):
            raise InputError(f"`mixing_weights` must have a weight above 0, got {self.mixing_weights}.")
        for count in self.examples_per_item or []:
            check_number("examples_per_item", count, "[1, inf)", is_whole=True)
        if (self.mixing == "weights") != (self.mixing_weights is not None):
            raise InputError(
                f"`mixing_weights` go with `mixing` 'weights', got {self.mixing_weights}, {self.mixing!r}."
            )

    def _check_loss_weighting(self) -> None:
        check_number("loss_weighting_learning_rate", self.loss_weighting_learning_rate, "(0, inf)")
        if self.loss_weighting == "none":
            if self.loss_weighting_learning_rate != MultiTaskArguments.loss_weighting_learning_rate:
                raise InputError(
                    "`loss_weighting_learning_rate` needs a `loss_weighting`, got it without: add --loss_weighting "
                    "famo or uncertainty."
                )
            return
        if self.loss_weighting not in LOSS_WEIGHTINGS:
            names = ", ".join(map(repr, ("none", *LOSS_WEIGHTINGS)))
            raise InputError(f"`loss_weighting` must be one of {names}, got {self.loss_weighting!r}.")
        for name, value, needed in (("mixing", self.mixing, "together"), ("aggregator", self.aggregator, "sum")):
            if value != needed:
                raise InputError(
                    f"`loss_weighting` {self.loss_weighting!r} needs `{name}` {needed!r}, got {value!r}: add "
                    f"`--{name} {needed}`."
                )

        if len(self.trained) == 1:
            raise InputError(
                f"`loss_weighting` {self.loss_weighting!r} needs two trained tasks or more, got {self.trained}: leave "
                "out --loss_weighting."
            )

    @property
    def trained(self) -> list[str]:
        """The names of the tasks that are trained, in the order of the arguments."""
        return self.tasks if self.train_tasks is None else self.train_tasks

    def weighting(self, tasks: Sequence[str]) -> LossWeighting | None:
        """Makes the weighting of the losses; `None` without one, and for one task, where nothing is weighted."""
        if self.loss_weighting == "none" or len(tasks) == 1:
            return None
        return LOSS_WEIGHTINGS[self.loss_weighting](tasks, self.loss_weighting_learning_rate)

    def sampler(
        self,
        sizes: Mapping[str, int],
        lengths: Mapping[str, Sequence[int]] | None,
        batch_size: int,
        seed: int,
        num_epochs: int,
    ) -> StepSampler:
        """
        Builds the training sampler.

        Args:
            sizes (`Mapping[str, int]`):
                Number of rows of each trained task.
            lengths (`Mapping[str, Sequence[int]]`, *optional*):
                Number of tokens of each row, for batches of sentences of similar length.
            batch_size (`int`):
                Number of items of an optimizer step.
            seed (`int`):
                Seed of the order of the rows.
            num_epochs (`int`):
                Number of epochs of the run, over which the shares are annealed.

        Raises:
            [`InputError`]: if an argument is not valid for these tasks.
        """
        examples = dict(zip(self.trained, self.examples_per_item or [], strict=False)) or None
        length = int(self.epoch_length) if (self.epoch_length or "").isdecimal() else self.epoch_length
        shared = {"examples_per_item": examples, "lengths": lengths} | ({"epoch_length": length} if length else {})
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
