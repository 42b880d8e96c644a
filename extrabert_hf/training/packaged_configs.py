"""The YAML files that come with the package: one file a run, found by names such as `minilm/sts`."""

from pathlib import Path

from extrabert_hf.errors import InputError, did_you_mean

PLACES = [folder / "configs" for folder in (Path(__file__).parents[1], Path(__file__).parents[2] / "recipes")]
"""Where the files are: inside an installed package, and in a checkout."""


def configs_folder() -> Path:
    """Returns the folder of the packaged YAML files."""
    return next(folder for folder in PLACES if folder.is_dir())


def packaged_config(name: str) -> Path:
    """Returns the file of a packaged YAML."""
    return configs_folder() / f"{name}.yaml"


def config_names(folder: str = "") -> list[str]:
    """
    Lists the names of the packaged YAML files: the path below the folder of configs, without `.yaml`.

    Args:
        folder (`str`, defaults to `""`):
            Folder to list, such as `"search"`. By default all files are listed.

    Example:
        >>> config_names("minilm")
        ['minilm/multitask', 'minilm/para', 'minilm/sst', 'minilm/sts']
    """
    paths = (configs_folder() / folder).rglob("*.yaml")
    return sorted(path.relative_to(configs_folder()).with_suffix("").as_posix() for path in paths)


def find_config(name: str | Path, argument: str = "config") -> Path:
    """
    Returns the file of a config.

    Args:
        name (`str` or `Path`):
            The path of a file, or the name of a packaged YAML, such as `"minilm/sts"`. A file
            of that path comes first.
        argument (`str`, defaults to `"config"`):
            The argument that names the config, for the error message.

    Raises:
        [`InputError`]: if there is neither a file nor a packaged YAML of that name.

    Example:
        >>> find_config("minilm/sts").name
        'sts.yaml'
        >>> find_config("minilm/sst5")
        Traceback (most recent call last):
        extrabert_hf.errors.InputError: `config` must be a YAML file or a name that `extrabert configs` \
lists, got 'minilm/sst5'. Did you mean `minilm/sst`?
    """
    path, names = Path(name).expanduser(), config_names()
    if path.is_file():
        return path
    if str(name) in names:
        return packaged_config(str(name))
    raise InputError(
        f"`{argument}` must be a YAML file or a name that `extrabert configs` lists, got {str(name)!r}."
        f"{did_you_mean(name, names)}"
    )
