"""Tiny checkpoints with random weights, saved as the hub keeps the real ones: weights, `config.json`, preprocessor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    HubertConfig,
    HubertModel,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

DIM: Final = 16
LAYERS: Final = 5
"""One more than the paper sums."""
MEL_BANDS: Final = 8
LARGE_PROFILE: Final = {
    "wavlm-large": "wavlm",
    "hubert-large": "hubert",
    "whisper-large-v3": "whisper",
    "clap-audio": "clap",
    "roberta-large": "roberta",
    "modernbert-large": "modernbert",
}
"""Architecture by backbone."""
SPECIAL_TOKENS: Final = ("<s>", "<pad>", "</s>")


def tiny_checkpoint(architecture: str, folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Writes a checkpoint of one architecture, small enough to encode a clip in milliseconds.

    Args:
        architecture: `wavlm`, `hubert`, `wav2vec2`, `whisper`, `clap`, `bert`, `roberta` or `modernbert`.
        folder: where to.
        seed: of its weights.
        changes: to its configuration.

    Returns:
        The folder.
    """
    torch.manual_seed(seed)
    makers: dict[str, Callable[..., PreTrainedModel]] = {
        "wavlm": lambda **c: WavLMModel(WavLMConfig(**_waveform(c))),
        "hubert": lambda **c: HubertModel(HubertConfig(**_waveform(c))),
        "wav2vec2": lambda **c: Wav2Vec2ForPreTraining(Wav2Vec2Config(**_waveform(c), **_QUANTISER)),
        "whisper": lambda **c: WhisperForConditionalGeneration(WhisperConfig(**{**_WHISPER, **c})),
        "clap": lambda **c: ClapModel(ClapConfig(text_config=_CLAP_TEXT, audio_config={**_CLAP_AUDIO, **c})),
        "bert": lambda **c: BertModel(BertConfig(**{**_TEXT, "max_position_embeddings": 140, **c})),
        "roberta": lambda **c: RobertaForMaskedLM(RobertaConfig(**{**_TEXT, "max_position_embeddings": 140, **c})),
        "modernbert": lambda **c: ModernBertForMaskedLM(ModernBertConfig(**{**_TEXT, **_MODERN, **c})),
    }
    makers[architecture](**changes).eval().save_pretrained(folder)
    readers: dict[str, Callable[[], Any]] = {
        "whisper": lambda: WhisperFeatureExtractor(feature_size=MEL_BANDS),
        "clap": lambda: ClapFeatureExtractor(truncation="rand_trunc"),
    }
    if architecture in {"bert", "roberta", "modernbert"}:
        byte_tokenizer().save(str(folder / "tokenizer.json"))
    else:
        readers.get(architecture, lambda: Wav2Vec2FeatureExtractor(return_attention_mask=True))().save_pretrained(
            folder
        )
    return folder


def tiny_large_profile(folder: Path) -> dict[str, dict[str, str]]:
    """Writes a checkpoint for every backbone of the recipe `medusa14`.

    Args:
        folder: where to, a sub-folder each.

    Returns:
        The recipe's `[backbones]` over them.
    """
    return {name: {"folder": str(tiny_checkpoint(kind, folder / name))} for name, kind in LARGE_PROFILE.items()}


def stirred(folder: Path, *, seed: int = 0, spread: float = 0.1) -> Path:
    """Moves every weight of a checkpoint: fresh biases are 0 and norms 1, so that whoever forgets one is not caught."""
    chance = torch.Generator().manual_seed(seed)
    weights = load_file(folder / "model.safetensors")
    moved = {name: value + spread * torch.randn(value.shape, generator=chance) for name, value in weights.items()}
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def as_older_names(folder: Path) -> Path:
    """Names weight norm in a checkpoint as it was named once."""
    weights = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in weights.items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def as_older_format(folder: Path) -> Path:
    """Turns a checkpoint into what the hub holds of older models: `pytorch_model.bin`, weight norm as then named."""
    torch.save(load_file(as_older_names(folder) / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def byte_tokenizer() -> Tokenizer:
    """A token a byte, `<s>` before and `</s>` behind a text, as RoBERTa's but for its merges."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *sorted(ByteLevel.alphabet())])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    ends = [(token, vocabulary[token]) for token in ("<s>", "</s>")]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def _waveform(changes: dict[str, Any]) -> dict[str, Any]:
    """The real front end, 50 Hz, with few channels; layer norm as the large models have it."""
    return {
        "hidden_size": DIM,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": [DIM] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        **changes,
    }


_QUANTISER: Final = {"num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8}
_WHISPER: Final[dict[str, Any]] = {
    "d_model": DIM,
    "encoder_layers": LAYERS,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "num_mel_bins": MEL_BANDS,
    "vocab_size": 60,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "decoder_start_token_id": 4,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
_CLAP_TEXT: Final[dict[str, Any]] = {
    "vocab_size": 60,
    "hidden_size": DIM,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
_CLAP_AUDIO: Final[dict[str, Any]] = {
    "patch_embeds_hidden_size": 4,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "hidden_size": 32,
}
_TEXT: Final[dict[str, Any]] = {
    "vocab_size": len(SPECIAL_TOKENS) + 256,
    "hidden_size": DIM,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
_MODERN: Final[dict[str, Any]] = {"cls_token_id": 0, "sep_token_id": 2, "local_attention": 8}
