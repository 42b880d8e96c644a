import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.training.yaml_files import MAX_BYTES, read_yaml


def doubled(levels, entry="[*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}]"):
    """A few lines of aliases that stand for 9 ** levels values."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} " + entry.format(f"a{n - 1}") for n in range(1, levels))])


REFUSED = {
    "aliases": (doubled(8), "more than 20,000 values"),
    "merges": ("x: &x\n" + doubled(8, "{{<<: [*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}]}}"), "more than"),
    "an alias of itself": ("a: &a [*a]", "more than 20,000 values"),
    "a key twice": ("trainer:\n  seed: 1\n  bf16: true\n  seed: 2\n", r"'seed' is already in line 2 .* line 4"),
    "a block twice": (
        "trainer: {seed: 1}\nmodel: {}\ntrainer: {seed: 2}\n",
        r"'trainer' is already in line 1 .* line 3",
    ),
    "a key twice in a list": ("a:\n- x: 1\n  x: 2\n", r"'x' is already in line 2 .* line 3"),
    "a key twice by its type": ("1: a\n'1': b\n", "'1' is already in line 1"),
    "many levels": ("a: " + 5000 * "[" + 5000 * "]", "more than 20 levels"),
    "many levels of blocks": ("".join(n * " " + f"a{n}:\n" for n in range(300)), "more than 20 levels"),
    "a Python object": ("a: !!python/object/apply:os.system ['touch canary']", "python/object"),
    "a long number": ("a: " + 6000 * "9", "must be YAML"),
    "a date that is none": ("a: 2020-13-45", "must be YAML"),
    "a key that is a list": ("? [1, 2]\n: 3\n", "unhashable key"),
    "another encoding": (b"a: \xff\xfe", "must be YAML"),
    "a control character": (b"a: \x00", "must be YAML"),
    "a large file": ("a: 1\n# " + MAX_BYTES * "x", "at most 1,048,576 bytes"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_plain_data_is_refused_in_one_line(content, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=reason) as error:
        read_yaml(path, "config")
    assert str(error.value).startswith("`config` must be ") and str(path) in str(error.value)
    assert len(str(error.value)) < 2000 and str(error.value).isprintable()
    assert not (tmp_path / "canary").exists()


def test_anchors_are_read_and_a_merged_key_may_be_replaced(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *a, y: 4}\nd: [*a, *a]\n")
    assert read_yaml(path, "config") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 3, "y": 2},
        "c": {"x": 1, "y": 4},
        "d": [{"x": 1, "y": 2}] * 2,
    }


def test_a_file_that_is_absent_is_named(tmp_path):
    with pytest.raises(InputError, match=r"`space` must be a YAML file that can be read, .*none.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml", "space")
