"""A saved model is loaded by plain transformers, from the code beside it, where this package can't be imported."""

import json
import shutil
import subprocess
import sys
import sysconfig

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask, ExtraBertForSentiment
from extrabert_hf.models import MODEL_FOR_HEAD

CODE = (
    "adapter_files",
    "base",
    "configuration",
    "conformal",
    "heads",
    "encoder_code",
    "encoder_inputs",
    "forward",
    "labels",
    "modeling",
    "relative_attention",
    "unpadded_batch",
    "unpadding",
    "pipeline_names",
    "pipelines",
    "pooling",
)
LIBRARIES = sysconfig.get_path("purelib")
CLEAN_PROCESS = f"""
import sys

sys.path.append({LIBRARIES!r})  # without what an editable install adds: `-S` leaves out the .pth files
sys.modules["extrabert_hf"] = None  # and where it is installed plainly, an import fails all the same
try:
    import extrabert_hf
except ImportError:
    print("no package")

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

(folder,) = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
other = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
assert type(AutoConfig.from_pretrained(folder, trust_remote_code=True)) is type(model.config)
assert type(model).__module__.startswith("transformers_modules.")
batches = torch.load(f"{{folder}}/batches.pt")
torch.save([[each(**batch).logits for batch in batches] for each in (model, other)], f"{{folder}}/logits.pt")
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
print(tokenizer("A warm film .").input_ids)
model.save_pretrained(f"{{folder}}/again")  # transformers itself would name the class for the last Auto class only
assert type(AutoModel.from_pretrained(f"{{folder}}/again", trust_remote_code=True)).__name__ == type(model).__name__
"""


def load_in_a_clean_process(folder, modules):
    environment = {"HF_HOME": str(modules), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", CLEAN_PROCESS, str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.launch
@pytest.mark.parametrize("kind", ["sentiment", "paraphrase", "similarity", "multitask"])
def test_a_saved_model_gives_the_same_logits_without_the_package(kind, tiny_encoder, random_batch, tmp_path):
    model_class = ExtraBertForMultiTask if kind == "multitask" else MODEL_FOR_HEAD[kind]
    model = model_class.from_backbone(tiny_encoder, head_dropout=0.2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    tasks = {"sst": False, "para": True, "sts": True} if kind == "multitask" else {None: kind != "sentiment"}
    batches = [random_batch(4, pair=pair) | ({"task": task} if task else {}) for task, pair in tasks.items()]
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    torch.save(batches, folder / "batches.pt")
    printed = load_in_a_clean_process(folder, tmp_path / "hf")
    assert printed[0] == "no package"
    assert json.loads(printed[-1]) == AutoTokenizer.from_pretrained(tiny_encoder)("A warm film .").input_ids
    for loaded in torch.load(folder / "logits.pt"):  # by AutoModel and by AutoModelForSequenceClassification
        for batch, logits in zip(batches, loaded, strict=True):
            assert torch.equal(logits, model(**batch).logits)
    again = AutoModel.from_pretrained(folder / "again")
    assert type(again) is model_class
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())


@pytest.mark.launch
def test_a_model_on_an_encoder_with_own_code_gives_the_same_logits_without_the_package(
    tiny_encoder, random_batch, tmp_path
):
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (encoder / "own.py").write_text(
        "from transformers import BertConfig, BertModel\n\nfrom .scale import SCALE\n\n\n"
        "class OwnConfig(BertConfig):\n    model_type = 'bert'\n\n\n"  # an installed class would be loaded silently
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n\n"
        "    def forward(self, *args, **kwargs):\n"
        "        output = super().forward(*args, **kwargs)\n"
        "        output.last_hidden_state = SCALE * output.last_hidden_state\n"
        "        return output\n"
    )
    (encoder / "scale.py").write_text("SCALE = 3.0\n")
    fields = json.loads((encoder / "config.json").read_text())
    fields["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (encoder / "config.json").write_text(json.dumps(fields))
    model = ExtraBertForSentiment.from_backbone(str(encoder), trust_remote_code=True, pooling="mean")
    assert type(model.backbone).__name__ == "OwnModel"
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    batch = random_batch(4, pair=False)
    torch.save([batch], folder / "batches.pt")
    load_in_a_clean_process(folder, tmp_path / "hf")
    for (logits,) in torch.load(folder / "logits.pt"):
        assert torch.equal(logits, model(**batch).logits)
    with pytest.raises(ValueError, match=r"needs Python code of the model's files \(own.OwnConfig\)"):
        AutoModel.from_pretrained(folder / "again", trust_remote_code=True)  # the installed classes run no code


def test_a_folder_carries_its_code_and_names_the_classes_of_its_own_model(tiny_bert, tmp_path):
    model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert))
    model.extract("sts").save_pretrained(tmp_path / "sts")
    model.save_pretrained(tmp_path / "all")
    for folder, name, several in (("sts", "ExtraBertForSimilarity", False), ("all", "ExtraBertForMultiTask", True)):
        assert {path.name for path in (tmp_path / folder).iterdir()} == {
            *("config.json", "model.safetensors"),
            *(f"{part}_extrabert.py" for part in (*CODE, *(["adapters", "modeling_multitask"] if several else []))),
        }
        module = "modeling_multitask_extrabert" if several else "modeling_extrabert"
        assert json.loads((tmp_path / folder / "config.json").read_text())["auto_map"] == {
            "AutoConfig": "configuration_extrabert.ExtraBertConfig",
            "AutoModel": f"{module}.{name}",
            "AutoModelForSequenceClassification": f"{module}.{name}",
        }
