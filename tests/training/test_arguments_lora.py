import pytest

from extrabert_hf.training.arguments import LoraArguments


@pytest.mark.parametrize(
    ("given", "named"),
    [({}, ""), ({"lora": True, "lora_r": 4}, ""), ({"lora_r": 4, "lora_alpha": 8}, "`lora_r`, `lora_alpha`")],
)
def test_a_flag_without_effect_without_lora_is_logged(given, named, caplog):
    LoraArguments(**given)
    assert [record.message for record in caplog.records] == (
        [f"without `lora`, {named} have no effect"] if named else []
    )
