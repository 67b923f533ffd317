"""Published language models become captioners: their tokens, the rows for new ones, and what is refused."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from imagetext.conversations import PAPER_PROMPT, image_token_id, stop_token_ids
from imagetext.tokenizers import load_hf_tokenizer
from llava_train import phases
from llava_train.config import LanguageModelConfig
from llava_train.language_models import image_tokenizer, load_language_model, near_mean, widen_table
from llava_train.model import load_captioner
from runtime.errors import UserError
from tests.llava_train import published, tiny

LLAMA3_NUM_TOKENS = 128_256


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write_llama(tmp_path_factory.mktemp("published") / "llama")


def write_llama3_sized(folder: Path) -> Path:
    """Write a tokenizer of as many tokens as LLaMA-3's, the last 256 special, and a model of width 8."""
    from tokenizers import AddedToken, Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({f"word{index}": index for index in range(128_000)}, unk_token="word0"))
    names = ["<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{index}|>" for index in range(254))]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=names[0], eos_token=names[1])
    tokenizer.save_pretrained(folder)
    shapes = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "vocab_size": LLAMA3_NUM_TOKENS, "max_position_embeddings": 8192,
    }  # fmt: skip
    LlamaForCausalLM(LlamaConfig(**shapes)).save_pretrained(folder)
    return folder


def test_llama3_gets_the_ids_and_rows_of_published_captioners(tmp_path: Path) -> None:
    folder = write_llama3_sized(tmp_path)
    tokenizer = image_tokenizer(folder)
    assert image_token_id(tokenizer) == 128_256
    assert tokenizer.pad_token_id == 128_257
    language_model = load_language_model(folder, max_length_tokens=2048)
    before = language_model.get_input_embeddings().weight.detach().clone()
    widen_table(language_model, tokenizer, num_known=LLAMA3_NUM_TOKENS, seed=0)
    after = language_model.get_input_embeddings().weight
    assert after.shape == (128_320, 8)
    assert language_model.config.vocab_size == 128_320
    assert torch.equal(after[:LLAMA3_NUM_TOKENS], before)
    assert len(language_model.get_output_embeddings().weight) == 128_320


def test_saved_tokenizer_keeps_both_tokens(llama: Path, tmp_path: Path) -> None:
    known = len(AutoTokenizer.from_pretrained(llama))
    image_tokenizer(llama).save_pretrained(tmp_path)
    tokenizer = load_hf_tokenizer(tmp_path)
    assert (image_token_id(tokenizer), tokenizer.pad_token_id) == (known, known + 1)
    assert tokenizer.encode("<image>", add_special_tokens=False) == [known]
    assert tokenizer.decode([known, known + 1], skip_special_tokens=True) == ""
    names = tokenizer.convert_ids_to_tokens(stop_token_ids(tokenizer))
    assert set(names) == {"<|eot_id|>", "<|end_of_text|>"}


def test_own_padding_token_is_kept(llama: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path)
    assert image_tokenizer(tmp_path).pad_token == "[PAD]"


def test_new_rows_have_the_mean_and_a_small_share_of_the_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(400, 3, generator=generator) @ torch.tensor([[3.0, 1, 0], [0, 1, 0], [0, 0, 0.2]]) + 5
    drawn = near_mean(known, 40_000, torch.Generator().manual_seed(1))
    wanted = 1e-5 * torch.cov(known.T, correction=0)
    # The standard error of a covariance of 40,000 draws is 0.7 % of the largest variance, about 1e-4.
    torch.testing.assert_close(torch.cov(drawn.T), wanted, rtol=0, atol=4e-6)
    torch.testing.assert_close(drawn.mean(0), known.mean(0), rtol=0, atol=3e-4)
    assert torch.equal(drawn, near_mean(known, 40_000, torch.Generator().manual_seed(1)))


def test_new_tokens_take_no_probability_from_known_ones(llama: Path) -> None:
    tokenizer, language_model = image_tokenizer(llama), load_language_model(llama, max_length_tokens=128)
    num_known = language_model.config.vocab_size
    ids = torch.arange(20)[None]
    before = language_model(input_ids=ids).logits.log_softmax(-1)
    widen_table(language_model, tokenizer, num_known=num_known, seed=0)
    after = language_model(input_ids=ids).logits.log_softmax(-1)[..., :num_known]
    # A row at the mean has the mean logit, so its share is no larger than that of an average token.
    lost = (before - after).max()
    assert 0 < lost <= torch.log(torch.tensor((num_known + 64) / num_known))


def test_run_starts_from_the_published_weights(root: Path, llama: Path, tmp_path: Path) -> None:
    config = tiny.pretrained_config(root, tmp_path / "run", llama, phases=["align"])
    export = phases.fine_tune(config)
    found, wanted = load_file(export / "model.safetensors"), load_file(llama / "model.safetensors")
    num_known = len(wanted["model.embed_tokens.weight"])
    for name, tensor in wanted.items():
        published_tensor = found[f"language_model.{name}"]
        assert torch.equal(
            published_tensor[:num_known] if "embed" in name or "head" in name else published_tensor, tensor
        )
    settings = json.loads((export / "config.json").read_text())
    assert settings["text_config"]["vocab_size"] % 64 == 0
    assert settings["text_config"]["rope_theta"] == published.ROTARY_BASE
    assert settings["image_token_index"] == num_known
    assert settings["pad_token_id"] == num_known + 1
    assert load_captioner(export, device="cpu").llava.config.image_seq_length == tiny.NUM_IMAGE_TOKENS


def test_killed_and_continued_run_is_bit_identical(
    root: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = load_file(phases.fine_tune(tiny.pretrained_config(root, tmp_path / "a", llama)) / "model.safetensors")
    config = tiny.pretrained_config(root, tmp_path / "b", llama)
    tiny.kill_after(monkeypatch, 4, lambda: phases.fine_tune(config))
    continued = load_file(phases.fine_tune(config) / "model.safetensors")
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)


def test_base_model_is_asked_in_the_template_named(root: Path, tmp_path: Path) -> None:
    base = published.write_llama(tmp_path / "base", chat_template=None)
    config = tiny.pretrained_config(root, tmp_path / "run", base, phases=["align"], chat_template="llama3")
    captioner = load_captioner(phases.fine_tune(config), device="cpu")
    text = captioner.tokenizer.decode(captioner.prompt_ids(PAPER_PROMPT))
    assert text.startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<image>")
    assert "{% generation" not in captioner.tokenizer.chat_template


def test_changed_language_model_is_refused_on_resume(root: Path, tmp_path: Path) -> None:
    config = tiny.pretrained_config(root, tmp_path / "run", published.write_llama(tmp_path / "llama"), phases=["align"])
    phases.fine_tune(config)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(tmp_path / "llama")
    with pytest.raises(UserError, match=r"was started on another pretrained_language_model/model\.safetensors"):
        phases.fine_tune(config)


def test_head_with_a_bias_is_refused(tmp_path: Path) -> None:
    from transformers import PhiConfig, PhiForCausalLM

    published.write_base_tokenizer(tmp_path, None)
    shapes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    PhiForCausalLM(PhiConfig(vocab_size=320, **shapes)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"can't speak through LLaVA: found logits of phi are not its head's product"):
        load_language_model(tmp_path, max_length_tokens=64)


def test_head_with_a_cap_is_refused(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    published.write_base_tokenizer(tmp_path, None)
    shapes = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "final_logit_softcapping": 0.5, "initializer_range": 1.0,
    }  # fmt: skip
    Gemma2ForCausalLM(Gemma2Config(vocab_size=320, **shapes)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"found logits of gemma2 are not its head's product"):
        load_language_model(tmp_path, max_length_tokens=64)


def test_sequences_longer_than_declared_are_refused(root: Path, llama: Path, tmp_path: Path) -> None:
    config = tiny.pretrained_config(root, tmp_path / "run", llama, max_length_tokens=None)
    message = r"max_length_tokens: too long: found 2048, wanted at most 128, max_position_embeddings of "
    with pytest.raises(UserError, match=message):
        phases.fine_tune(config)


def test_shapes_beside_a_pretrained_model_are_refused(root: Path, llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"language_model: two language models: .* wanted exactly one of"):
        tiny.pretrained_config(root, tmp_path, llama, language_model=LanguageModelConfig(width=64))


def test_own_model_bounds_the_longest_sequence(root: Path, tmp_path: Path) -> None:
    config = tiny.config(root, tmp_path)
    assert dataclasses.replace(config, max_length_tokens=100).longest_sequence_tokens == 100
    with pytest.raises(UserError, match=r"max_length_tokens: too long: found 129, wanted at most 128"):
        dataclasses.replace(config, max_length_tokens=129)


def test_folder_without_a_model_is_named(root: Path, tmp_path: Path) -> None:
    config = tiny.pretrained_config(root, tmp_path / "run", tmp_path)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/config.json: file is missing")):
        phases.fine_tune(config)
