"""Tiny encoders with random weights: a sentence encoder, whole CLIP and SigLIP directories."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
)

WORDS = (
    "a",
    "the",
    "red",
    "blue",
    "green",
    "photo",
    "picture",
    "of",
    "in",
    "is",
    "there",
    "square",
)


def text_encoder(directory: Path, seed: int = 3, longest: int = 24) -> Path:
    """A BERT of one layer with a vocabulary of a few words, letter by letter for all others."""
    letters = [
        letter for char in "abcdefghijklmnopqrstuvwxyz0123456789" for letter in (char, f"##{char}")
    ]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {
        word: number for number, word in enumerate(dict.fromkeys([*special, *WORDS, *letters]))
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=longest,
    ).save_pretrained(directory)  # fmt: skip
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=longest,
    )  # fmt: skip
    BertModel(config).save_pretrained(directory)
    return directory


def clip(directory: Path) -> Path:
    """A whole CLIP in the layout of openai/clip-vit-base-patch32."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,-")
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)}, merges=[],
        model_max_length=48,
    )  # fmt: skip
    tokenizer.save_pretrained(directory)
    ids = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1}
    _whole(directory, "clip", len(vocabulary), ids)
    processor = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28}, "do_center_crop": True,
    }  # fmt: skip
    _processor(directory, processor)
    return directory


def siglip(directory: Path) -> Path:
    """A whole SigLIP in the layout of google/siglip2-base-patch16-224."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *map(chr, range(33, 127)), "\u2581"]
    tokenizer = Tokenizer(
        models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>",
        unk_token="<unk>", model_max_length=64,
    ).save_pretrained(directory)  # fmt: skip
    _whole(
        directory, "siglip", len(pieces), {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    )
    processor = {
        "image_processor_type": "SiglipImageProcessor", "size": {"height": 28, "width": 28},
    }  # fmt: skip
    _processor(directory, processor)
    return directory


def _whole(directory: Path, kind: str, vocabulary: int, ids: dict[str, int]) -> None:
    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 4}  # fmt: skip
    torch.manual_seed(4)
    config = AutoConfig.for_model(
        kind,
        vision_config=sizes | {"image_size": 28, "patch_size": 14},
        text_config=sizes | ids | {"vocab_size": vocabulary, "max_position_embeddings": 48},
        **({"projection_dim": 16} if kind == "clip" else {}),
    )
    model = AutoModel.from_config(config)
    for parameter in model.parameters():  # random ones of transformers are all alike
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(directory)


def _processor(directory: Path, values: dict[str, object]) -> None:
    common = {
        "do_resize": True, "do_normalize": True, "do_rescale": True, "resample": 3,
        "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    path = directory / "preprocessor_config.json"
    path.write_text(json.dumps(common | values), encoding="utf-8")
