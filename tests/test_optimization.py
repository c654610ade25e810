"""What a model is made of: tiny random models of many architectures, nothing loaded."""

from collections.abc import Callable
from typing import Any

import pytest
import transformers as t

from tuneline.optimization import anatomy, in_base, parameter_groups

SMALL: dict[str, Any] = {
    "vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3,
}  # fmt: skip
T5: dict[str, Any] = {"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_heads": 2}
BART: dict[str, Any] = {
    "vocab_size": 20, "d_model": 8, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "pad_token_id": 0,
}  # fmt: skip
DISTILBERT: dict[str, Any] = {"vocab_size": 20, "dim": 8, "n_layers": 3, "n_heads": 2, "hidden_dim": 16}
GPT2: dict[str, Any] = {"vocab_size": 20, "n_embd": 8, "n_layer": 3, "n_head": 2}
XLM: dict[str, Any] = {"vocab_size": 20, "emb_dim": 8, "n_layers": 3, "n_heads": 2}


def two_berts() -> Any:
    decoder = t.BertConfig(**SMALL, is_decoder=True, add_cross_attention=True)
    config = t.EncoderDecoderConfig.from_encoder_decoder_configs(t.BertConfig(**SMALL), decoder)
    return t.EncoderDecoderModel(config)


# Each model, its number of layers, and for some parameters the depth that they must have.
MODELS: dict[str, tuple[Callable[[], Any], int, dict[str, int]]] = {
    "bert": (
        lambda: t.BertForSequenceClassification(t.BertConfig(**SMALL)),
        3,
        {
            "bert.embeddings.LayerNorm.weight": 0,
            "bert.encoder.layer.0.attention.self.query.weight": 1,
            "bert.encoder.layer.2.output.dense.bias": 3,
            "bert.pooler.dense.weight": 4,
            "classifier.weight": 4,
        },
    ),
    "bert, tagging": (lambda: t.BertForTokenClassification(t.BertConfig(**SMALL)), 3, {"classifier.bias": 4}),
    "bert, masked": (
        lambda: t.BertForMaskedLM(t.BertConfig(**SMALL)),
        3,
        {"bert.embeddings.word_embeddings.weight": 0, "cls.predictions.transform.dense.weight": 4},
    ),
    "roberta": (
        lambda: t.RobertaForSequenceClassification(t.RobertaConfig(**SMALL)),
        3,
        {"roberta.embeddings.position_embeddings.weight": 0, "classifier.out_proj.weight": 4},
    ),
    "distilbert": (
        lambda: t.DistilBertForQuestionAnswering(t.DistilBertConfig(**DISTILBERT)),
        3,
        {"distilbert.transformer.layer.1.ffn.lin1.weight": 2, "qa_outputs.weight": 4},
    ),
    "gpt2": (
        lambda: t.GPT2LMHeadModel(t.GPT2Config(**GPT2)),
        3,
        {"transformer.wte.weight": 0, "transformer.wpe.weight": 0, "transformer.h.0.ln_1.weight": 1,
         "transformer.ln_f.weight": 4},
    ),
    "t5": (
        lambda: t.T5ForConditionalGeneration(t.T5Config(**T5, num_layers=2, num_decoder_layers=1)),
        3,
        {
            "shared.weight": 0,
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 1,
            "encoder.final_layer_norm.weight": 4,
            "decoder.block.0.layer.1.EncDecAttention.q.weight": 3,
        },
    ),
    "bart": (
        lambda: t.BartForConditionalGeneration(t.BartConfig(**BART)),
        3,
        {"model.shared.weight": 0, "model.decoder.embed_positions.weight": 0, "model.decoder.layers.0.fc1.weight": 3},
    ),
    "two berts": (
        two_berts,
        6,
        {"encoder.embeddings.word_embeddings.weight": 0, "decoder.bert.embeddings.word_embeddings.weight": 0,
         "encoder.encoder.layer.2.output.dense.bias": 3, "decoder.bert.encoder.layer.0.output.dense.bias": 4,
         "decoder.cls.predictions.transform.dense.weight": 7},
    ),
    "xlm, whose layers lie in lists side by side": (
        lambda: t.XLMForSequenceClassification(t.XLMConfig(**XLM)),
        3,
        {"transformer.embeddings.weight": 0, "transformer.attentions.1.q_lin.weight": 2,
         "transformer.ffns.1.lin1.weight": 2, "transformer.layer_norm2.2.weight": 3},
    ),
}  # fmt: skip


@pytest.fixture(params=list(MODELS))
def built(request: pytest.FixtureRequest) -> tuple[Any, int, dict[str, int]]:
    make, layers, known = MODELS[request.param]
    return make(), layers, known


def test_layers_embeddings_and_head_are_found_by_structure(built: tuple[Any, int, dict[str, int]]) -> None:
    model, layers, known = built
    found = anatomy(model)
    assert found.layers == layers
    assert {name: found.depth[name] for name in known} == known
    assert set(range(layers + 1)) <= set(found.depth.values()) <= set(range(layers + 2))
    assert set(found.depth) == {name for name, _ in model.named_parameters()}


def test_every_parameter_is_in_one_group_and_learns_at_the_rate_of_the_rule(
    built: tuple[Any, int, dict[str, int]],
) -> None:
    model, layers, known = built
    decayed = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
    groups = parameter_groups(model, learning_rate=1.0, layerwise_lr_decay=0.5, weight_decay=0.1, decayed=decayed)
    members = [parameter for group in groups for parameter in group["params"]]
    assert len(members) == len(set(members)) == len(list(model.parameters()))
    rate = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    decay = {parameter: group["weight_decay"] for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert decay[parameter] == (0.1 if name in decayed else 0.0), name
        if name in known:  # head 1, top layer 1/2, the layer below 1/4, ...
            assert rate[parameter] == 2.0 ** -(layers + 1 - known[name]), name
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates, reverse=True)  # what the learning curve shows is the first


def test_frozen_parameters_are_in_no_group() -> None:
    model = MODELS["bert"][0]()
    model.bert.requires_grad_(False)
    groups = parameter_groups(model, learning_rate=1.0, layerwise_lr_decay=0.9, weight_decay=0, decayed=[])
    assert [len(group["params"]) for group in groups] == [2]  # weight and bias of the classifier


def test_the_base_is_all_but_the_head() -> None:
    model = MODELS["bert"][0]()
    assert set(dict(model.named_parameters())) - in_base(model) == {"classifier.weight", "classifier.bias"}
