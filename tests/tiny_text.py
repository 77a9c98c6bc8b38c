"""Tiny tokenizers of the real kinds, and chat templates as real models have them."""

from __future__ import annotations

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    CLIPImageProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

CORPUS = [
    "USER: what is in the picture? ASSISTANT: a cat sits on the table and looks at a cup",
    "user\nHow many dogs are there?\nassistant\nThere are two dogs, in the garden.\n",
    "system\nYou answer questions about pictures. yes, no; 1, 2, 3. [INST] is it red? [/INST]",
] * 4

# The templates of llava-hf/llava-1.5-7b-hf and of llava-hf/llava-interleave-qwen-0.5b-hf render the
# pictures first and then the text; the others are in the style of their families.
VICUNA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{% if message['role'] != 'assistant' %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] + ' ' }}{% endfor %}{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
INTERLEAVE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\n' + part['text'] }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '<image>\n' }}{% endif %}{% endfor %}{% set text = message['content'][-1]['text'] %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ text + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ text + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set text = message['content'][-1]['text'] | trim %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>' }}"
    "{% endif %}{% endfor %}{{ text + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ ' ' }}{% generation %}{{ text + ' ' + eos_token }}{% endgeneration %}"
    "{% else %}{{ '<<SYS>>\n' + text + '\n<</SYS>>\n\n' }}{% endif %}{% endfor %}"
)
# The parts of a message in their order, as SmolVLM, Pixtral and the templates of newer models have
# them; the second trims each part of a text.
PARTS_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] }}"
    "{{ ':' if message['content'][0]['type'] == 'image' else ': ' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{{ '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{{ '<|im_end|>' }}"
    "{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
)
PARTS_INST = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{{ ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' }}{% generation %}"
    "{{ message['content'][0]['text'] | trim + ' ' + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'][0]['text'] + '\n\n' }}{% endif %}{% endfor %}"
)
# A text model's template: message contents are strings, pictures unknown, default system prompt.
TEXT_CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou answer.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _wrap(
    backend: Tokenizer, special: dict[str, str], *, image: bool = True, image_special: bool = True
) -> PreTrainedTokenizerFast:
    if image:
        backend.add_tokens(
            [AddedToken("<image>", special=image_special, normalized=not image_special)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def byte_level_tokenizer(*, image: bool = True) -> PreTrainedTokenizerFast:
    """GPT-2's kind with ChatML markers, as SmolLM2 and Qwen2 have it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    backend.decoder = decoders.ByteLevel()
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=markers,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    # A marker that is no special token, like Qwen's <tool_call>, and an added ordinary word.
    backend.add_tokens([AddedToken("photosynthesis", normalized=False)])
    return _wrap(
        backend,
        {"bos_token": markers[0], "eos_token": markers[2], "pad_token": markers[0]},
        image=image,
        image_special=False,
    )


def llama_tokenizer(
    *, legacy: bool = True, normalized: bool = False, image: bool = True
) -> PreTrainedTokenizerFast:
    """Llama's kind: metaspace, byte fallback, a beginning-of-text token put in front.

    `legacy` puts a space before the text after every special token, as Llama 1 and 2 do;
    `normalized` markers are looked for in the normalized text, as in old conversions.
    """
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    markers = ["<unk>", "<s>", "</s>"]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=[*markers, *alphabet], show_progress=False
        ),
    )
    trained = backend.model
    trained.byte_fallback = True
    rebuilt = Tokenizer(trained)
    if legacy:
        rebuilt.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        rebuilt.pre_tokenizer = metaspace
    rebuilt.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    rebuilt.add_special_tokens([AddedToken(marker, normalized=normalized) for marker in markers])
    rebuilt.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    special = {"unk_token": markers[0], "bos_token": markers[1], "eos_token": markers[2]}
    return _wrap(rebuilt, {**special, "pad_token": markers[0]}, image=image)


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece's Unigram, whose vocabulary itself holds the markers."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    markers = ["<unk>", "<s>", "</s>"]
    backend.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=markers, unk_token="<unk>", show_progress=False
        ),
    )
    special = {"unk_token": markers[0], "bos_token": markers[1], "eos_token": markers[2]}
    return _wrap(backend, {**special, "pad_token": markers[0]})


def word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's kind: lower case, words split at punctuation, markers put around the whole."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    markers = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    backend.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=markers, show_progress=False),
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    special = {"unk_token": markers[0], "cls_token": markers[1], "sep_token": markers[2]}
    return _wrap(backend, {**special, "pad_token": markers[3]})


def processor(
    tokenizer: PreTrainedTokenizerFast, template: str | None, *, size: int = 28
) -> LlavaProcessor:
    """A processor of CLIP's kind: 28 pixels in patches of 14 are 4 image tokens."""
    return LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
