"""A `Trainer` that pushes its output folder to the Hub with the model card and the scores of the run."""

from dataclasses import fields
from pathlib import Path

from peft import PeftModel
from transformers import Trainer

from extrabert_hf.errors import InputError
from extrabert_hf.sharing.hub import claim_repository, hub_errors_in_one_line, push_folder
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.sharing.repository_files import default_name, write_card


class HubTrainer(Trainer):
    """
    A [`~transformers.Trainer`] that pushes as [`push_folder`] does.

    The repository is claimed before training, and all files are in one commit. The arguments must have the fields of
    [`HubArguments`].
    """

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Checks before training that the token may push and that the repository is free."""
        if self.is_world_process_zero():
            name = self.args.hub_model_id or default_name(Path(self.args.output_dir))
            with hub_errors_in_one_line(name):
                self.hub_model_id = claim_repository(name, self._sharing(private))

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
    ) -> str | None:
        """
        Saves the model and pushes the output folder, in one commit: see [`push_folder`].

        Args:
            commit_message (`str`, *optional*):
                Message of the commit.
            blocking (`bool`, *optional*):
                Must be `True`.
            token (`str`, *optional*):
                Must be `None`: the token is in the environment.
            revision (`str`, *optional*):
                Must be `None`: the branch is `main`.
            private (`bool`, *optional*):
                Whether a new repository is visible to its owner only; `None` is `hub_private_repo`.

        Returns:
            `str`, *optional*: the id of the repository on the first process, `None` on the others.

        Raises:
            [`InputError`]: for arguments that are not supported, and as [`push_folder`].
        """
        if not blocking or token is not None or revision is not None:
            raise InputError("`push_to_hub` takes a `commit_message` and `private`; the token is in HF_TOKEN.")
        if not isinstance(self.model, PeftModel):  # with LoRA, the output folder holds the merged weights already
            self.save_model()
        return self.push_output_dir(commit_message, private) if self.is_world_process_zero() else None

    def push_output_dir(self, commit_message: str | None = "End of training", private: bool | None = None) -> str:
        """Pushes the output folder as it is; to be called on the first process only."""
        return push_folder(
            self.args.output_dir,
            self.hub_model_id or self.args.hub_model_id,
            sharing=self._sharing(private),
            message=commit_message or "Upload of extrabert_hf",
            claimed=self.hub_model_id is not None,
        )

    def write_card(self) -> None:
        """Writes the model card into the output folder, see [`write_card`]; to be called on the first process only."""
        write_card(self.args.output_dir, self._sharing(None))

    def _sharing(self, private: bool | None) -> HubArguments:
        values = {field.name: getattr(self.args, field.name) for field in fields(HubArguments)}
        return HubArguments(**values if private is None else values | {"hub_private_repo": private})
