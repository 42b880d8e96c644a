import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.search.arguments import SearchArguments
from extrabert_hf.search.trial import parse_search, parse_trial
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.command_parser import CommandParser

SECRET = "a-secret-value"
FLAGS = {
    "--hub_token": "HF_TOKEN",
    "--hub-token": "HF_TOKEN",
    "--push_to_hub_token": "HF_TOKEN",
    "--token": "HF_TOKEN",
}
FLAGS |= {"--wandb_api_key": "WANDB_API_KEY", "--HUB_TOKEN": "HF_TOKEN", "--db_password": "DB_PASSWORD"}
PARSERS = {
    "a run": lambda words: parse_run("sst", words),
    "a multitask run": parse_multitask_run,
    "a search": parse_search,
    "a push": CommandParser(HubArguments).parse_args_into_dataclasses,
    "a command without dataclasses": CommandParser([], loads_models=True).parse_args,
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_with_a_secret_is_refused_with_the_name_of_the_variable(flag, parse):
    for words in ([flag, SECRET], [f"{flag}={SECRET}"]):
        with pytest.raises(InputError, match=rf"set the environment variable {FLAGS[flag]}\b") as error:
            parse(words)
        assert SECRET not in str(error.value)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize("value", ["hf_" + 34 * "x", "https://me:word@host/data.csv", "postgresql://me:word@host/db"])
def test_a_value_that_is_a_secret_is_refused(value, parse):
    for words in (["--data", value], [f"--storage={value}"], [value]):
        with pytest.raises(InputError, match="can't have a password or a token as its value") as error:
            parse(words)
        assert value not in str(error.value) and "word@" not in str(error.value)


def test_a_secret_in_a_yaml_or_a_sweep_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"trainer:\n  hub_token: {SECRET}\n")
    for parse in (
        lambda: parse_run("sst", ["--config", str(path)]),
        lambda: parse_trial(SearchArguments(), [f"--hub_token={SECRET}"]),
    ):
        with pytest.raises(InputError, match="environment variable HF_TOKEN") as error:
            parse()
        assert SECRET not in str(error.value)


def test_the_storage_of_a_search_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("EXTRABERT_STORAGE", "postgresql://me:word@host/db")
    assert SearchArguments().storage_url == "postgresql://me:word@host/db"
    assert SearchArguments(storage="sqlite:///mine.db").storage_url == "sqlite:///mine.db"
    assert "word" not in str(SearchArguments())
