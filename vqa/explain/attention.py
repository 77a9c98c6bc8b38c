"""Maps from attention: which cells the language model reads for an answer.

Attention alone shows little of that. Much of it rests on a few cells whatever the question is
(attention sinks), and most heads do something else. So each attention is weighted by its gradient,
its effect on the answer's log probability, as by Chefer, Gur and Wolf 2021 (arXiv:2103.15679).
Unlike there, values stay signed until all tokens, heads and layers are summed: what one adds and
another subtracts cancels out, and sinks, which carry nothing, get nothing. On training pictures of
the embedded model, that finds marked things best; the same with positive parts alone, attention
itself, and attention divided by that of "Describe the picture." (Zhang et al. 2025,
arXiv:2502.17422) do not find them better than the middle of the picture.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.func import functional_call

from vqa.engine.choice_scoring import encode_choice
from vqa.engine.prompt import ImageFingerprints, encode_request
from vqa.errors import InputError, NotFiniteError, VQAError
from vqa.explain.regions import Values
from vqa.inputs.prompts import count_image_tokens, tokens_per_image
from vqa.inputs.tiles import choose_grid, prepare_crops
from vqa.models.finite import is_finite
from vqa.models.memory import is_out_of_memory

if TYPE_CHECKING:
    from PIL import Image

    from vqa.answering import Request
    from vqa.models.checkpoints import LoadedModel

_LAYERS = (0.27, 0.8)  # shares of the depth; the first gather words, the last write
_SPREAD = 1 / 8  # of a side


def check_attention_readable(loaded: LoadedModel) -> None:
    """Raise InputError for a model whose attention cannot be followed."""
    if getattr(loaded.model, "is_quantized", False):
        raise InputError(
            f"{loaded.name}: the attention of a quantized model cannot be followed: leave out "
            "`quantize`, or use `by` occlusion."
        )
    devices = set((getattr(loaded.model, "hf_device_map", None) or {}).values())
    if len(devices) > 1:
        raise InputError(
            f"{loaded.name}: the model is spread over {len(devices)} devices, where its attention "
            "cannot be followed: name one with `device`, or use `by` occlusion."
        )


def attention_maps(loaded: LoadedModel, request: Request, answer: str) -> list[Values]:
    """Compute how much the answer rests on attention to each cell: [rows, columns] per picture.

    The model runs once, forward and backward, in float32 and beside the engine. Raises InputError
    where `check_attention_readable` does and where conversation and answer do not fit into the
    context, and NotFiniteError where the numbers are not finite in float32 either.
    """
    check_attention_readable(loaded)
    processor: Any = loaded.processor
    prompt = encode_request(processor, request, ImageFingerprints())
    choice = encode_choice(processor, request, prompt, answer)
    context = getattr(loaded.model.config.text_config, "max_position_embeddings", None)
    if context is not None and len(choice) > context:
        raise InputError(
            f"The conversation with its answer takes {len(choice)} tokens; the model holds "
            f"{context}: use fewer pictures or a shorter text."
        )
    _check_memory(loaded, len(choice))
    ids = torch.tensor([*choice.prompt.ids.tolist(), *choice.ids])  # [L]
    is_image = torch.zeros(len(ids), dtype=torch.bool)
    is_image[: len(choice.prompt)] = torch.from_numpy(choice.prompt.is_image)
    pictures, image_processor = request.images, processor.image_processor
    try:
        image_tokens = _image_tokens(loaded, pictures)  # [crops * N, Dt]
        effect = attention_effect(loaded.model, ids, len(choice.prompt), is_image, image_tokens)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise VQAError(
            "The device's memory is full: use a smaller model, the CPU, or `by` occlusion."
        ) from error
    if not is_finite(effect):
        raise NotFiniteError(
            f"in float32 too: {loaded.name} is damaged, get its files anew", wider=False
        )
    by_picture = effect.clamp(min=0).split(count_image_tokens(processor, pictures))
    maps = [
        smooth(_cells(values, tokens_per_image(processor), *choose_grid(image_processor, p.size)))
        for values, p in zip(by_picture, pictures, strict=True)
    ]
    highest = max(float(one.max()) for one in maps) or 1.0
    return [one / highest for one in maps]


def _cells(values: Tensor, tokens: int, rows: int, columns: int) -> Values:
    """Lay what is of a picture's crops [C * N], of N `tokens` each, over the cells of its tiles.

    A cell of the overview is as large as `rows` x `columns` cells of tiles, and is parted among
    them.
    """
    side = int(tokens**0.5)  # a class token, where there is one, stands first
    crops = values.reshape(-1, tokens)[:, tokens - side * side :].double().numpy()
    crops = crops.reshape(-1, side, side)
    if len(crops) == 1:
        overview: Values = crops[0]
        return overview
    tiles = crops[1:].reshape(rows, columns, side, side).swapaxes(1, 2)
    shares = np.kron(crops[0], np.ones((rows, columns))) / (rows * columns)
    cells: Values = tiles.reshape(rows * side, columns * side) + shares
    return cells


def _check_memory(loaded: LoadedModel, tokens: int) -> None:
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
    model: Any, ids: Tensor, start: int, is_image: Tensor, image_tokens: Tensor
) -> Tensor:
    """Compute what the answer `ids[start:]` gains by attention to each image token, to first order.

    It is the sum [image tokens] of attention times the log probability's derivative by it, over the
    middle layers, their heads, and all tokens behind the last picture.
    """
    device = image_tokens.device
    embeds = model.get_input_embeddings()(ids.to(device)).detach().float()  # [L, Dt]
    embeds[is_image.to(device)] = image_tokens.float()
    embeds.requires_grad_()  # so that there is a graph: the weights need no gradient
    text = _with_plain_attention(model.model.language_model)
    # float32 whatever the weights are
    parameters = {name: value.detach().float() for name, value in text.named_parameters()}
    inputs = {"inputs_embeds": embeds[None], "use_cache": False, "output_attentions": True}
    output = functional_call(text, parameters, kwargs=inputs)
    states = output.last_hidden_state[0, start - 1 : -1]  # [answer, Dt]
    logits = states @ model.lm_head.weight.detach().float().T  # [answer, V]
    labels = ids[start:].to(device)
    log_prob = logits.log_softmax(-1).gather(1, labels[:, None]).sum()
    layers = output.attentions  # of each [1, heads, L, L], rows attend to columns
    first, last = (round(share * len(layers)) for share in _LAYERS)
    middle = layers[first : max(last, first + 1)]
    gradients = torch.autograd.grad(log_prob, middle)
    behind = int(is_image.nonzero()[-1]) + 1
    effect = torch.zeros(len(ids), device=device)
    for weights, gradient in zip(middle, gradients, strict=True):
        effect += (weights.detach() * gradient)[0, :, behind:-1].sum((0, 1))
    return effect.cpu()[is_image]


def _with_plain_attention(text: Any) -> Any:
    """Copy the modules on the same weights, with attention that returns its weights."""
    tensors = (*text.parameters(), *text.buffers())
    plain = copy.deepcopy(text, {id(tensor): tensor for tensor in tensors})
    plain.set_attn_implementation("eager")
    return plain


def smooth(values: Values) -> Values:
    """Spread a map [rows, columns] by an eighth of its side, and sharpen it by squaring.

    A thing covers several cells, of which the model reads some. Cells beyond the edges count as 0.
    """
    spread = values
    for axis, cells in enumerate(values.shape):
        distance = np.arange(cells)[:, None] - np.arange(cells)
        weights = np.exp(-(distance**2) / 2 / (cells * _SPREAD) ** 2)
        weights /= np.exp(-(np.arange(-cells, cells + 1) ** 2) / 2 / (cells * _SPREAD) ** 2).sum()
        spread = np.moveaxis(np.tensordot(weights, spread, (1, axis)), 0, axis)
    return spread**2


@torch.no_grad()
def _image_tokens(loaded: LoadedModel, pictures: list[Image.Image]) -> Tensor:
    """Encode the image tokens of all pictures [crops * N, Dt]."""
    pixels, _ = prepare_crops(loaded.processor.image_processor, pictures)  # [crops, 3, H, W]
    weight = next(loaded.model.model.vision_tower.parameters())
    tokens: list[Tensor] = []
    for crop in pixels.to(weight.device, weight.dtype).split(1):
        tokens += loaded.model.get_image_features(crop, return_dict=True).pooler_output
    return torch.cat(tokens)
