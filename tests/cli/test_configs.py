import pytest

from extrabert_hf.cli.configs import main
from extrabert_hf.errors import InputError
from extrabert_hf.training.packaged_configs import config_names, find_config, packaged_config


def test_each_listed_name_is_a_file_that_is_printed_as_it_is(capsys):
    main([])
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == config_names()
    assert {"quickstart", "minilm/sts", "table1/rr", "search/paper", "accelerate/multi_gpu"} <= set(listed)
    for name in listed:
        main([name])
        assert capsys.readouterr().out == find_config(name).read_text()


def test_the_list_has_the_first_sentence_of_each_file(capsys):
    main([])
    listed = {line.partition(" ")[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()}
    comments = {name: packaged_config(name).read_text().replace("\n# ", " ") for name in listed}
    assert all(comments[name].startswith(f"# {text}") for name, text in listed.items())
    assert listed["table1/rr"].endswith("the mean of the three losses; linear heads on the encoder's pooler.")


def test_a_config_is_copied_to_a_new_file_only(tmp_path, capsys):
    copy = tmp_path / "folder" / "mine.yaml"
    main(["minilm/sts", "--output", str(copy)])
    assert copy.read_text() == find_config("minilm/sts").read_text()
    copy.write_text("mine")
    with pytest.raises(InputError, match="`output` must be a new file"):
        main(["minilm/sts", "--output", str(copy)])
    assert copy.read_text() == "mine"


def test_a_file_comes_before_a_packaged_config_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("mine")
    assert find_config("quickstart").read_text() == "mine"
    assert find_config("minilm/sts").parent.name == "minilm"


def test_a_name_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"`name` must be .*got 'minilm/stss'\. Did you mean `minilm/sts`\?"):
        main(["minilm/stss"])
