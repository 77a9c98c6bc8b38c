"""`vqa ask`: one question about pictures, one answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import explaining, options
from vqa.cli.confidence import MinConfidence, is_sure
from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.answering import Answer, Answerer, Request
    from vqa.images import Source


def ask(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO", help="Pictures (JPEG, PNG, WebP and others), or one video."
        ),
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="In quotes.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer, its probability, tokens and times.")
    ] = False,
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    max_new_tokens: options.MaxNewTokens = 128,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    min_confidence: MinConfidence = None,
    explain: explaining.Explain = None,
    explain_by: explaining.ExplainBy = "attention",
    max_frames: Annotated[
        int, typer.Option(metavar="N", min=1, max=8, help="Frames taken out of a video, at most.")
    ] = 8,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
) -> None:
    """Ask a question about one or more pictures, or a video."""
    from vqa.answering import Settings
    from vqa.chat import Conversation
    from vqa.cli.tables import json_text

    _check_quotes(photos)
    explaining.check(explain, explain_by, list(map(Path, photos)))
    # what is wrong with pictures or question is said before seconds go into a model
    times, pictures, told = _looked_at(photos, question, max_frames)
    conversation = Conversation().ask(told, pictures)
    settings = Settings(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    start = time.perf_counter()
    answerer = options.load_answerer(model, adapter, device, dtype, quantize)
    load = time.perf_counter() - start
    request = conversation.request(settings)
    if explain:
        explaining.check_answerer(answerer, explain_by)
    if as_json:
        (answer,) = answerer.answer([request])
        found = _as_json(answer, answerer.name, load)
        if min_confidence is not None:
            found["sure"] = is_sure(answer, min_confidence)
        if times:
            found["frames"] = times
        if explain:
            found["explanation"] = explaining.write(
                explain, explain_by, answerer, request, answer, question
            )
        typer.echo(json_text(found))
        return
    if min_confidence is None:
        answer = _print_as_it_comes(answerer, request)
    else:  # what has been printed could not be taken back
        (answer,) = answerer.answer([request])
        typer.echo(answer.text if is_sure(answer, min_confidence) else "not sure")
    if answer.finish == "length":
        cut = f"vqa: the answer was cut off after {answer.new_tokens} tokens (--max-new-tokens)"
        typer.echo(cut, err=True)
    if explain:
        explaining.write(explain, explain_by, answerer, request, answer, question)


def _check_quotes(photos: list[str]) -> None:
    """Every word of a question that is not in quotes would be taken for a picture."""
    for word in photos[1:]:
        if "." not in word and not Path(word).exists():
            raise InputError(f"{word}: no such picture; or put the question in quotes.")


def _looked_at(
    photos: list[str], question: str, max_frames: int
) -> tuple[list[float], Sequence[Source], str]:
    """Times of a video's frames (none of pictures), the pictures, and what is asked of them."""
    from vqa import video

    found = [photo for photo in photos if video.is_video(photo)]
    if not found:
        return [], photos, question
    if len(photos) > 1:
        raise InputError(f"{found[0]} is a video: it is asked about alone, without other files.")
    frames = video.frames(found[0], max_frames)
    pictures = [frame.picture for frame in frames]
    told = video.with_times(question, frames) if question.strip() else question  # refused as ever
    return [frame.time for frame in frames], pictures, told


def _print_as_it_comes(answerer: Answerer, request: Request) -> Answer:
    try:
        for piece in answerer.stream(request):
            if not isinstance(piece, str):
                typer.echo()
                return piece
            typer.echo(piece, nl=False)
    except KeyboardInterrupt:
        typer.echo()  # what comes next gets a line of its own
        raise
    raise AssertionError("a stream ends with the answer")


def _as_json(answer: Answer, model: str, load: float) -> dict[str, Any]:
    """The answer for programs; `total` is all but the start of the process."""
    seconds = {
        "load": load,
        "encode": answer.seconds.encode,
        "first_token": answer.seconds.first_token,
        "total": load + answer.seconds.total,
    }
    return {
        "answer": answer.text,
        "probability": answer.probability,
        "finish": answer.finish,
        "model": model,
        "image_tokens": answer.image_tokens,
        "prompt_tokens": answer.prompt_tokens,
        "new_tokens": answer.new_tokens,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }
