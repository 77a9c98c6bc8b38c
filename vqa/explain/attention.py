"""Maps from attention: which cells the language model reads for an answer.

Attention alone shows little of that. Much of it rests on a few cells whatever is asked (attention
sinks), and most heads do something else. So each attention is weighted by its gradient, what it
does for the answer's log probability, as by Chefer, Gur and Wolf 2021 (arXiv:2103.15679). Unlike
there, the sign is kept until all tokens, heads and layers are added up: what one adds and another
takes away cancels out, and sinks, which hold nothing, get nothing. On training pictures of the
embedded model, that finds marked things best; the same with positive parts alone, attention itself,
and attention divided by that of "Describe the picture." (Zhang et al. 2025, arXiv:2502.17422) do
not find them better than the middle of the picture.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.func import functional_call

from vqa.engine.choices import choice
from vqa.engine.prompt import PictureIdentity, prepare
from vqa.errors import InputError, VQAError
from vqa.explain.covering import pictures_of
from vqa.explain.regions import Values
from vqa.prompts import tokens_per_image
from vqa.room import memory_is_full

if TYPE_CHECKING:
    from PIL import Image

    from vqa.answering import Request
    from vqa.checkpoints import Loaded

_LAYERS = (0.27, 0.8)  # shares of the depth; the first gather words, the last write
_SPREAD = 1 / 8  # of a side


def check_weights(loaded: Loaded) -> None:
    """Raise InputError for a model whose attention cannot be followed."""
    if getattr(loaded.model, "is_quantized", False):
        raise InputError(
            f"{loaded.name}: the attention of a quantized model cannot be followed: leave out "
            "--quantize, or use --explain-by occlusion."
        )
    devices = set((getattr(loaded.model, "hf_device_map", None) or {}).values())
    if len(devices) > 1:
        raise InputError(
            f"{loaded.name}: the model is spread over {len(devices)} devices, where its attention "
            "cannot be followed: name one with --device, or use --explain-by occlusion."
        )


def attention(loaded: Loaded, request: Request, answer: str) -> list[Values]:
    """How much the answer rests on attention to each cell: [rows, columns] for each picture.

    The model runs once, forward and backward, in float32 and beside the engine. Raises InputError
    where `check_weights` does and where conversation and answer do not fit into the context.
    """
    check_weights(loaded)
    processor: Any = loaded.processor
    (prompt,) = prepare(processor, [request], PictureIdentity())
    chosen = choice(processor, request, prompt, answer)
    context = getattr(loaded.model.config.text_config, "max_position_embeddings", None)
    if context is not None and len(chosen) > context:
        raise InputError(
            f"The conversation with its answer takes {len(chosen)} tokens; the model holds "
            f"{context}: use fewer pictures or a shorter text."
        )
    _check_memory(loaded, len(chosen))
    ids = torch.tensor([*chosen.prompt.ids.tolist(), *chosen.ids])  # [L]
    is_image = torch.zeros(len(ids), dtype=torch.bool)
    is_image[: len(chosen.prompt)] = torch.from_numpy(chosen.prompt.is_image)
    pictures = pictures_of(request)
    try:
        features = _features(loaded, pictures)  # [pictures * N, Dt]
        effect = attention_effect(loaded.model, ids, len(chosen.prompt), is_image, features)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not memory_is_full(error):
            raise
        raise VQAError(
            "The device's memory is full: use a smaller model, the CPU, or --explain-by occlusion."
        ) from error
    each = tokens_per_image(processor)
    side = int(each**0.5)  # a class token, where there is one, stands first
    by_picture = effect.clamp(min=0).reshape(len(pictures), each)[:, each - side * side :]
    maps = [smoothed(one.reshape(side, side).double().numpy()) for one in by_picture]
    highest = max(float(one.max()) for one in maps) or 1.0
    return [one / highest for one in maps]


def _check_memory(loaded: Loaded, tokens: int) -> None:
    """Raise InputError where a CPU has no room for the attention of so many tokens.

    Every layer keeps its attention for the way back, and the middle ones get a gradient as large.
    """
    if loaded.model.device.type != "cpu":  # other devices refuse by themselves
        return
    config = loaded.model.config.text_config
    needed = 2 * 4 * config.num_hidden_layers * config.num_attention_heads * tokens**2
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"The attention of {tokens} tokens takes about {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free: explain a shorter conversation, or by occlusion."
        )


def attention_effect(
    model: Any, ids: Tensor, start: int, is_image: Tensor, features: Tensor
) -> Tensor:
    """What the answer `ids[start:]` gains by attention to each image token, to first order.

    The sum [image tokens] of attention times the derivative of the answer's log probability by it,
    over the middle layers, their heads, and all tokens behind the last picture.
    """
    device = features.device
    embeds = model.get_input_embeddings()(ids.to(device)).detach().float()  # [L, Dt]
    embeds[is_image.to(device)] = features.float()
    embeds.requires_grad_()  # so that there is a graph: the weights need no gradient
    text = _with_plain_attention(model.model.language_model)
    # float32 whatever the weights are
    weights = {name: value.detach().float() for name, value in text.named_parameters()}
    inputs = {"inputs_embeds": embeds[None], "use_cache": False, "output_attentions": True}
    output = functional_call(text, weights, kwargs=inputs)
    states = output.last_hidden_state[0, start - 1 : -1]  # [answer, Dt]
    logits = states @ model.lm_head.weight.detach().float().T  # [answer, V]
    wanted = ids[start:].to(device)
    likely = logits.log_softmax(-1).gather(1, wanted[:, None]).sum()
    layers = output.attentions  # of each [1, heads, L, L], rows look at columns
    first, last = (round(share * len(layers)) for share in _LAYERS)
    middle = layers[first : max(last, first + 1)]
    gradients = torch.autograd.grad(likely, middle)
    behind = int(is_image.nonzero()[-1]) + 1
    effect = torch.zeros(len(ids), device=device)
    for one, gradient in zip(middle, gradients, strict=True):
        effect += (one.detach() * gradient)[0, :, behind:-1].sum((0, 1))
    return effect.cpu()[is_image]


def _with_plain_attention(text: Any) -> Any:
    """The same modules on the same weights, but with attention that can be looked at."""
    tensors = (*text.parameters(), *text.buffers())
    plain = copy.deepcopy(text, {id(tensor): tensor for tensor in tensors})
    plain.set_attn_implementation("eager")
    return plain


def smoothed(values: Values) -> Values:
    """Spread a map [rows, columns] by an eighth of its side, and sharpen it by squaring.

    A thing covers several cells, of which the model reads some. Beyond the edges there is nothing.
    """
    found = values
    for axis, cells in enumerate(values.shape):
        distance = np.arange(cells)[:, None] - np.arange(cells)
        weights = np.exp(-(distance**2) / 2 / (cells * _SPREAD) ** 2)
        weights /= np.exp(-(np.arange(-cells, cells + 1) ** 2) / 2 / (cells * _SPREAD) ** 2).sum()
        found = np.moveaxis(np.tensordot(weights, found, (1, axis)), 0, axis)
    return found**2


@torch.no_grad()
def _features(loaded: Loaded, pictures: list[Image.Image]) -> Tensor:
    """Projected image tokens of all pictures [pictures * N, Dt]."""
    processor: Any = loaded.processor.image_processor
    weight = next(loaded.model.model.vision_tower.parameters())
    found = []
    for picture in pictures:
        pixels = processor([picture], return_tensors="pt")["pixel_values"]  # [1, 3, H, W]
        pixels = pixels.to(weight.device, weight.dtype)
        found.append(loaded.model.get_image_features(pixels, return_dict=True).pooler_output[0])
    return torch.cat(found)
