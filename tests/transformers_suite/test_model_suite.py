"""transformers' `ModelTesterMixin` and `ConfigTester` on the classes of this package."""

import unittest

import pytest
import torch

from extrabert_hf import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)
from extrabert_hf.models import MODEL_FOR_HEAD
from tests.conftest import TINY_BACKBONES
from tests.transformers_suite.suite import suite

modeling = suite("test_modeling_common")
configuration = suite("test_configuration_common")

pytestmark = pytest.mark.slow

OWN_INPUTS = "the test makes inputs of its own, without `task` or without pairs"
SKIPPED = {
    "test_problem_types": "the class decides whether a model scores or classifies, see `build_head`",
    "test_torch_save_load": "the test builds the first class registered with AutoModel, which has no default head",
    "test_load_with_mismatched_shapes": "AutoModel refuses a config without `architectures`: it has no default head",
    "SimilarityTest.test_can_load_ignoring_mismatched_shapes": "a score is one number: `num_labels` is 1",
    "CrossEncoderTest.test_can_load_ignoring_mismatched_shapes": "a score is one number: `num_labels` is 1",
    "MultiTaskTest.test_eager_matches_sdpa_inference": OWN_INPUTS,
    "ParaphraseTest.test_retain_grad_hidden_states_attentions": "the states of pairs are views, (B, 2, T, d)",
    "SimilarityTest.test_retain_grad_hidden_states_attentions": "the states of pairs are views, (B, 2, T, d)",
}
"""Tests that do not fit, with the reason; by the start of the name, for all classes or for one."""

CLASSES = [model.__name__ for model in (*MODEL_FOR_HEAD.values(), ExtraBertForMultiTask)]
values_of = modeling.get_values
modeling.get_values = lambda mapping: (
    [*values_of(mapping), *CLASSES]
    if mapping is modeling.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    else values_of(mapping)
)


class Tester:
    """Makes a config and a batch, as the suites require; the attributes are those that the suites read."""

    batch_size, seq_length = 5, 7
    hidden_size, num_hidden_layers, num_attention_heads = 16, 2, 2
    is_training = True

    def __init__(self, parent, encoder, pair, fields, inputs):
        self.parent, self.pair, self.inputs = parent, pair, inputs
        self.encoder_seq_length = 2 * self.seq_length - 1 if "pair_encoding" in fields else self.seq_length
        self.fields = {"backbone_config": TINY_BACKBONES[encoder].to_dict(), **fields}

    def get_config(self):
        return ExtraBertConfig(**self.fields)

    def prepare_config_and_inputs_for_common(self):
        shape = (self.batch_size, *([2] if self.pair else []), self.seq_length)
        inputs = {"input_ids": modeling.ids_tensor(shape, 94) + 5, "attention_mask": torch.ones(shape).long()}
        return self.get_config(), inputs | self.inputs

    prepare_config_and_inputs = prepare_config_and_inputs_for_common


class Suite(modeling.ModelTesterMixin):
    encoder, pair, fields, inputs = "bert", False, {}, {}
    test_missing_keys = True
    _is_composite = True

    def setUp(self):
        for start, reason in SKIPPED.items():
            if f"{type(self).__name__}.{self._testMethodName}".startswith((start, f"{type(self).__name__}.{start}")):
                self.skipTest(reason)
        self.model_tester = Tester(self, self.encoder, self.pair, self.fields, self.inputs)
        self.config_tester = configuration.ConfigTester(
            self, config_class=ExtraBertConfig, has_text_modality=False, common_properties=["hidden_size"]
        )

    def test_config(self):
        self.config_tester.run_common_tests()


class SentimentTest(Suite, unittest.TestCase):
    all_model_classes = (ExtraBertForSentiment,)


class ParaphraseTest(Suite, unittest.TestCase):
    all_model_classes = (ExtraBertForParaphrase,)
    pair = True


class SimilarityTest(Suite, unittest.TestCase):
    all_model_classes = (ExtraBertForSimilarity,)
    pair = True


class CrossEncoderTest(Suite, unittest.TestCase):
    all_model_classes = (ExtraBertForSimilarity,)
    pair = True
    fields = {"pair_encoding": "cross_encoder"}  # noqa: RUF012


class MultiTaskTest(Suite, unittest.TestCase):
    all_model_classes = (ExtraBertForMultiTask,)
    inputs = {"task": "sst"}  # noqa: RUF012
    test_all_params_have_gradient = False  # a batch of one task
