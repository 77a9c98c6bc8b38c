"""`vqa ask`: one question about pictures, one answer."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import explain_option, options, standard_input
from vqa.cli.output import print_json
from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.answering import Answer, Answerer, Request
    from vqa.inputs.images import Source
    from vqa.reading import TextReader

_EXAMPLE = 'vqa ask PHOTO "What is in the picture?" (see vqa ask --help)'
_CLIPS = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi"})


def ask(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO",
            help="Pictures (JPEG, PNG, WebP, HEIC, AVIF and others), or one video; - reads one "
            "from standard input.",
        ),
    ] = None,
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help="In quotes; - reads it from standard input."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer, its probability, tokens and times.")
    ] = False,
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    max_new_tokens: options.MaxNewTokens = 128,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    num_beams: options.NumBeams = 1,
    length_penalty: options.LengthPenalty = 1.0,
    min_confidence: options.MinConfidence = None,
    explain: explain_option.Explain = None,
    explain_by: explain_option.ExplainBy = "attention",
    max_frames: Annotated[
        int, typer.Option(metavar="N", min=1, max=8, help="Frames taken out of a video, at most.")
    ] = 8,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
    read: options.Read = "never",
) -> None:
    """Ask a question about one or more pictures, or a video."""
    from vqa.answering import SamplingParams
    from vqa.chat import Conversation
    from vqa.loading import load, text_reader

    # optional for the parser, which would not say what is missing
    arguments = [*(photos or []), *([] if question is None else [question])]
    photos, question = _split_arguments(arguments)
    explain_option.check(explain, explain_by, list(map(Path, photos)))
    settings = SamplingParams(
        max_new_tokens=max_new_tokens, temperature=temperature, seed=seed,
        num_beams=num_beams, length_penalty=length_penalty,
    )  # fmt: skip
    # wrong pictures or questions are refused before seconds go into a model
    if question == standard_input.STDIN:
        question = standard_input.question(photos)
    sources = standard_input.pictures(photos)
    times, pictures, prompt = _pictures_and_question(sources, question, max_frames)
    conversation = Conversation().ask(prompt, pictures)
    start = time.perf_counter()
    options.announce(model)
    reader = text_reader(read)
    answerer = load(model, adapter, device, dtype, quantize, reader)
    load_seconds = time.perf_counter() - start
    request = conversation.request(settings)
    if explain:
        from vqa.explain import check_answerer

        check_answerer(answerer, explain_by)  # before anything is answered
    if as_json:
        (answer,) = answerer.answer([request])
        result = _as_json(answer, answerer.name, load_seconds, reader)
        if min_confidence is not None:
            result["sure"] = options.is_sure(answer, min_confidence)
        if times:
            result["frames"] = times
        if explain:
            result["explanation"] = explain_option.write(
                explain, explain_by, answerer, request, answer, question
            )
        print_json(result)
        return
    if min_confidence is None:
        answer = _print_as_it_comes(answerer, request)
    else:  # what has been printed could not be taken back
        (answer,) = answerer.answer([request])
        typer.echo(answer.text if options.is_sure(answer, min_confidence) else "not sure")
    if answer.finish_reason == "length":
        cut = f"vqa: the answer was cut off after {answer.new_tokens} tokens (--max-new-tokens)"
        typer.echo(cut, err=True)
    if explain:
        explain_option.write(explain, explain_by, answerer, request, answer, question)


def _split_arguments(words: list[str]) -> tuple[list[str], str]:
    """Split pictures and question. Raises InputError where one of them is missing."""
    *photos, question = words or [""]
    last_is_picture = bool(words) and _is_picture(question)
    if not words:
        raise InputError(f"a picture and a question are missing: {_EXAMPLE}")
    if not photos and not last_is_picture and question != standard_input.STDIN:
        raise InputError(f"the picture is missing: {_EXAMPLE}")
    if last_is_picture or not photos:
        others = all(map(_is_picture, set(photos) - {standard_input.STDIN}))
        where = "is missing" if others else "comes last"
        raise InputError(f"the question {where}: {_EXAMPLE}")
    # every word of a question that is not in quotes would be taken for a picture
    for word in photos[1:]:
        if "." not in word and not standard_input.is_stdin(word) and not Path(word).exists():
            raise InputError(f"{word}: no such picture; or put the question in quotes.")
    return photos, question


def _is_picture(word: str) -> bool:
    """Return whether an argument names a picture or video, even a missing one, no question."""
    from vqa.inputs import signatures

    if " " not in word and Path(word).suffix.lower() in signatures.SUFFIXES | _CLIPS:
        return True
    try:
        mode = os.stat(word).st_mode
        if not stat.S_ISREG(mode):
            return stat.S_ISFIFO(mode) or os.sep in word
        with open(word, "rb") as file:
            return signatures.detect_format(file.read(signatures.HEAD_BYTES)) is not None
    except (OSError, ValueError):
        return False


def _pictures_and_question(
    photos: Sequence[str | Path | standard_input.Piped], question: str, max_frames: int
) -> tuple[list[float], Sequence[Source], str]:
    """Return times of a video's frames (none of pictures), the pictures, and the question."""
    from vqa.inputs import video

    sources = [p.getvalue() if isinstance(p, standard_input.Piped) else p for p in photos]
    videos = [number for number, source in enumerate(sources) if video.is_video(source)]
    if not videos:
        return [], photos, question
    name = getattr(photos[videos[0]], "name", None) or str(photos[videos[0]])
    if len(photos) > 1:
        raise InputError(f"{name} is a video: it is asked about alone, without other files.")
    frames = video.frames(sources[0], max_frames)
    pictures = [frame.picture for frame in frames]
    if question.strip():  # an empty one is refused as ever
        question = video.with_times(question, frames)
    return [frame.time for frame in frames], pictures, question


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


def _as_json(answer: Answer, model: str, load: float, reader: TextReader | None) -> dict[str, Any]:
    """Describe the answer for programs; `total` is all but the start of the process."""
    seconds = {
        "load": load,
        **({"read": reader.seconds} if reader is not None else {}),
        "encode": answer.seconds.encode,
        "first_token": answer.seconds.first_token,
        "total": load + answer.seconds.total,
    }
    return {
        "answer": answer.text,
        "probability": answer.probability,
        "finish": answer.finish_reason,
        "model": model,
        "image_tokens": answer.image_tokens,
        **({"hints": list(answer.hints)} if answer.hints else {}),
        "prompt_tokens": answer.prompt_tokens,
        "new_tokens": answer.new_tokens,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }
