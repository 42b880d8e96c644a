import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from extrabert_hf import ExtraBertForMultiTask
from extrabert_hf.models import MODEL_FOR_HEAD
from extrabert_hf.models.pipelines_extrabert import ExtraBertPipeline

SENTENCES = ["A warm film .", "Not good", "a man plays a guitar in the street .", "It is"]
PAIRS = [("A warm film .", "A good film ."), ("a man", "the woman plays a guitar"), ("It is", "Not good at all .")]
NAMES = ("very negative", "negative", "neutral", "positive", "very positive")


def made(model, tokenizer_from, task=""):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return ExtraBertPipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(tokenizer_from), task=task)


@pytest.fixture
def sentiment(tiny_encoder):
    return made(MODEL_FOR_HEAD["sentiment"].from_backbone(tiny_encoder), tiny_encoder)


@pytest.fixture
def paraphrase(tiny_encoder):
    return made(MODEL_FOR_HEAD["paraphrase"].from_backbone(tiny_encoder), tiny_encoder)


@pytest.fixture
def similarity(tiny_encoder):
    return made(MODEL_FOR_HEAD["similarity"].from_backbone(tiny_encoder), tiny_encoder)


def test_sentences_get_the_likeliest_class_and_its_probability(sentiment):
    tokens = sentiment.tokenizer(SENTENCES, padding=True, return_tensors="pt")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    scores = sentiment.model(**inputs).logits.softmax(-1)
    for result, due in zip(sentiment(SENTENCES), scores, strict=True):
        assert result["label"] == NAMES[due.argmax()]
        assert result["score"] == pytest.approx(due.max().item(), abs=1e-5)


def test_all_classes_come_sorted_and_sum_to_one(sentiment):
    for row in sentiment(SENTENCES, top_k=None):
        scores = [entry["score"] for entry in row]
        assert {entry["label"] for entry in row} == set(NAMES)
        assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1)
    assert [len(row) for row in sentiment(SENTENCES[:2], top_k=2)] == [2, 2]


def test_the_batch_size_changes_no_result_and_no_order(paraphrase):
    one, four = paraphrase(PAIRS * 3, batch_size=1), paraphrase(PAIRS * 3, batch_size=4)
    for a, b in zip(one, four, strict=True):
        assert a["label"] == b["label"] and a["score"] == pytest.approx(b["score"], abs=1e-5)
    assert [row["score"] for row in one[:3]] == pytest.approx([row["score"] for row in one[3:6]])


def test_a_pair_may_be_a_tuple_a_list_or_a_dict(paraphrase):
    (due,) = paraphrase(PAIRS[:1])
    first, second = PAIRS[0]
    assert paraphrase(PAIRS[0]) == due
    for keys in (("text", "text_pair"), ("sentence1", "sentence2"), ("question1", "question2")):
        assert paraphrase(dict(zip(keys, (first, second), strict=True))) == due
    assert paraphrase([[first, second]]) == [due]


def test_a_single_string_gives_a_list_as_transformers_own_pipeline_does(sentiment):
    (due,) = sentiment(SENTENCES[:1])
    assert sentiment(SENTENCES[0]) == [due]
    assert sentiment({"text": SENTENCES[0]}) == due
    assert len(sentiment(SENTENCES[0], top_k=None)) == 5
    assert sentiment([]) == []


def test_the_tokenizer_arguments_of_transformers_pipelines_are_taken(sentiment, paraphrase):
    due = sentiment(["a man plays a guitar in the street"], truncation=True, padding=True)
    assert due == sentiment(["a man plays a guitar in the street"], max_length=500)
    assert sentiment(["a man plays a guitar"], max_length=4) == sentiment(["a man"])
    assert paraphrase([("a man plays", "a guitar plays")], max_length=3) == paraphrase([("a", "a")])
    for wrong in ({"max_length": 0}, {"truncation": False}, {"padding": "max_length"}, {"topk": 2}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"the pipeline takes `top_k`.*got `{name}="):
            sentiment(["a man"], **wrong)


def test_similarity_is_a_score_inside_its_range(similarity):
    same = similarity([("A warm film .", "A warm film .")])[0]
    assert same == {"label": "similarity", "score": pytest.approx(5.0, abs=1e-4)}
    with torch.no_grad():
        similarity.model.head.high = -9.0  # scores far below 0
    assert [result["score"] for result in similarity(PAIRS)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("wrapped", [Dataset.from_list, list, iter])
def test_a_data_set_or_a_generator_streams(wrapped, paraphrase):
    rows = [{"sentence1": a, "sentence2": b, "label": 1} for a, b in PAIRS]
    results = paraphrase(wrapped(rows), batch_size=2)
    assert isinstance(results, list) == (wrapped is list)
    for result, due in zip(list(results), paraphrase(PAIRS), strict=True):
        assert result["label"] == due["label"] and result["score"] == pytest.approx(due["score"], abs=1e-5)


def test_a_column_of_a_data_set_streams(sentiment):
    column = KeyDataset(Dataset.from_dict({"review": SENTENCES}), "review")
    assert [r["label"] for r in sentiment(column)] == [r["label"] for r in sentiment(SENTENCES)]


def test_a_generator_is_read_no_further_than_it_must(sentiment):
    seen = []

    def rows():
        for sentence in SENTENCES * 5:
            seen.append(sentence)
            yield sentence

    results = sentiment(rows(), batch_size=2)
    next(iter(results))
    assert len(seen) <= 8


def test_the_error_of_a_row_of_another_form_lists_the_allowed_forms(sentiment, paraphrase):
    with pytest.raises(ValueError, match="must be two strings, or a dict of strings with 'text' and 'text_pair' or "):
        paraphrase(["A", "B"])
    with pytest.raises(
        ValueError, match=r"must be a string, or a dict of strings with 'text' or 'sentence' .* got '7'"
    ):
        sentiment([7])
    with pytest.raises(ValueError, match="must be a string, or a dict of strings"):
        sentiment(7)
    with pytest.raises(ValueError, match="`top_k` must be 1 or more"):
        sentiment(SENTENCES, top_k=0)
    with pytest.raises(ValueError, match="`head` is for a multitask model"):
        sentiment(SENTENCES, head="sst")


def test_a_model_of_several_tasks_does_the_one_that_is_named(tiny_encoder):
    pipe = made(ExtraBertForMultiTask.from_backbone(tiny_encoder), tiny_encoder, task="sts")
    (score,) = pipe([("A warm film .", "A warm film .")])
    assert score == {"label": "similarity", "score": pytest.approx(5.0, abs=1e-4)}
    assert pipe(SENTENCES, head="sst")[0]["label"] in NAMES
    assert pipe(PAIRS, head="para")[0]["label"] in ("not paraphrase", "paraphrase")
    with pytest.raises(ValueError, match="`head` must be one of 'sst', 'para', 'sts', got 'nil'"):
        pipe(PAIRS, head="nil")


def embedded(model, tokenizer, texts, **task):
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.embed(**batch, **task)


@pytest.mark.parametrize("kind", ["sentiment", "paraphrase", "similarity"])
def test_feature_extraction_gives_each_text_the_vector_that_the_head_reads(kind, tiny_encoder, tmp_path):
    saved = made(MODEL_FOR_HEAD[kind].from_backbone(tiny_encoder), tiny_encoder)
    saved.save_pretrained(tmp_path)
    pipe = pipeline("feature-extraction", model=str(tmp_path), trust_remote_code=True)
    due = embedded(saved.model, saved.tokenizer, SENTENCES)
    assert torch.tensor(pipe(SENTENCES, batch_size=3)).sub(due).abs().max() < 1e-5
    assert torch.tensor(pipe(SENTENCES[0])).shape == (16,)
    assert torch.stack(pipe(SENTENCES, return_tensors=True)).shape == (4, 16)
    assert len(list(pipe(iter(SENTENCES)))) == 4 and pipe({"text": SENTENCES[0]}) == pipe(SENTENCES[0])
    with pytest.raises(ValueError, match="a row must be a string"):
        pipe(PAIRS)
    assert list(saved.model.config.custom_pipelines) == [pipeline(model=str(tmp_path), trust_remote_code=True).task]


def test_feature_extraction_of_a_model_of_several_tasks_needs_the_task(tiny_encoder, tmp_path):
    saved = made(ExtraBertForMultiTask.from_backbone(tiny_encoder), tiny_encoder, task="sts")
    saved.save_pretrained(tmp_path)
    pipe = pipeline("feature-extraction", model=str(tmp_path), trust_remote_code=True, head="sst")
    for name, vectors in (("sst", pipe(SENTENCES)), ("sts", pipe(SENTENCES, head="sts"))):
        due = embedded(saved.model, saved.tokenizer, SENTENCES, task=name)
        assert torch.tensor(vectors).sub(due).abs().max() < 1e-5
    with pytest.raises(ValueError, match="`head` must be one of 'para', 'sst', 'sts', got None"):
        pipeline("feature-extraction", model=str(tmp_path), trust_remote_code=True)(SENTENCES)


def test_a_cross_encoder_has_no_features(tiny_encoder, tmp_path):
    made(
        MODEL_FOR_HEAD["paraphrase"].from_backbone(tiny_encoder, pair_encoding="cross_encoder"), tiny_encoder
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a cross-encoder reads both sentences of a pair at once"):
        pipeline("feature-extraction", model=str(tmp_path), trust_remote_code=True)(SENTENCES)


def test_a_saved_folder_leads_pipeline_to_it(tiny_encoder, tmp_path):
    for kind, task in (("paraphrase", "text-classification"), ("similarity", "sentence-similarity")):
        model = MODEL_FOR_HEAD[kind].from_backbone(tiny_encoder)
        model.save_pretrained(tmp_path / kind)
        AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / kind)
        pipe = pipeline(model=str(tmp_path / kind), trust_remote_code=True)
        assert pipe.task == task and type(pipe).__name__ == "ExtraBertPipeline"
        assert len(pipe(PAIRS)) == 3
        pipe.save_pretrained(tmp_path / f"{kind}-again")
        assert pipeline(model=str(tmp_path / f"{kind}-again"), trust_remote_code=True)(PAIRS) == pipe(PAIRS)
