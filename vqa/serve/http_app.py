"""The routes of the server, in the shapes of the OpenAI protocol."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from vqa.answering import Answerer, Token
from vqa.errors import InputError, VQAError
from vqa.serve.access import Access, ApiKeys
from vqa.serve.bounded_thread import BoundedThread
from vqa.serve.chat_reply import DONE, ChatReply, event
from vqa.serve.chat_request import ChatCompletionRequest
from vqa.serve.completion import Completion
from vqa.serve.embeddings import Embedder, EmbeddingRequest, SharedSpace
from vqa.serve.error_reply import Refused, RepliedFailures, error_body, error_reply, reply_to
from vqa.serve.measurements import CountedReplies, Measurements
from vqa.serve.picture_urls import PictureReader, PublicFetcher
from vqa.serve.request_limits import BodyLimit
from vqa.serve.request_log import LoggedRequests, note_completion
from vqa.serve.scheduler import Scheduler
from vqa.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqa.reading import TextReader

log = logging.getLogger(__name__)
T = TypeVar("T")
Pieces = AsyncGenerator[tuple[str, list[Token]], None]


@dataclass(frozen=True)
class ServerOptions:
    """How a server answers; the defaults are those of `vqa serve`."""

    host: str = "127.0.0.1"
    keys: ApiKeys | None = None  # None: open, to this computer alone
    fetch: PublicFetcher | None = None  # of pictures behind http(s) URLs; None: refused
    max_new_tokens: int = 1024
    max_batch: int = 16
    max_waiting: int = 64
    log: TextIO | None = None  # takes a line for each request
    reader: TextReader | None = None  # that of the answerers: it reads before they are asked


def create_app(
    answerers: Mapping[str, Answerer], options: ServerOptions, space: SharedSpace | None = None
) -> FastAPI:
    """Make the server of `answerers`, by the names that requests give as `model`.

    The first answers where a request names none; `space` gives embeddings. Shutting the app down
    ends their threads.
    """
    scheduler = Scheduler(answerers, max_batch=options.max_batch, max_waiting=options.max_waiting)
    measured = Measurements(scheduler)
    pictures = PictureReader(options.fetch)
    embedder = Embedder(space, options.max_waiting) if space is not None else None
    reading = BoundedThread("vqa-reader", options.max_waiting)
    names = list(dict.fromkeys([*answerers, *([embedder.name] if embedder else [])]))
    began = int(time.time())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(scheduler.close)
        await asyncio.to_thread(reading.close)
        if embedder is not None:
            await asyncio.to_thread(embedder.close)

    app = FastAPI(
        title="vqa",
        version=__version__,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses={code: {"description": "An error"} for code in (400, 401, 403, 413, 429, 500)},
    )
    _handle_errors(app)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatCompletionRequest, http: HTTPRequest) -> Response:
        """Answer the last message of a conversation about pictures."""
        model = body.model or next(iter(answerers))
        if model not in answerers:
            raise _no_model(model)
        reply = ChatReply(model, bool(body.logprobs))
        http.state.facts |= {"model": model, "stream": bool(body.stream)}
        async with AsyncExitStack() as stack:

            async def begin() -> tuple[Completion, Pieces, tuple[str, list[Token]]]:
                images = await stack.enter_async_context(pictures.open(body.picture_urls))
                request = body.to_request(images, options.max_new_tokens)
                if options.reader is not None:  # apart from the thread that writes the answers
                    for image in images:
                        await reading.run(_read, options.reader, image)
                completion = Completion(scheduler, model, request, body.stop_texts)
                pieces = completion.pieces()
                stack.callback(note_completion, http.scope, completion)
                stack.push_async_callback(pieces.aclose)
                # the first piece is awaited here: what is refused gets a status of its own
                return completion, pieces, await anext(pieces, ("", []))

            completion, pieces, first = await _while_there(http, begin())
            if body.stream:
                with_usage = bool(body.stream_options and body.stream_options.include_usage)
                stack.callback(measured.count_completion, completion)
                events = _events(reply, completion, pieces, first, with_usage)
                return _EventStream(events, stack.pop_all())
            await _while_there(http, _finish(pieces))
            measured.count_completion(completion)
            return JSONResponse(
                reply.whole(
                    completion.text,
                    completion.tokens,
                    completion.finish_reason,
                    completion.answer,
                )
            )

    @app.post("/v1/embeddings")
    async def embeddings(body: EmbeddingRequest, http: HTTPRequest) -> Any:
        """Encode texts and pictures as unit vectors of a space that they share."""
        if embedder is None:
            raise Refused(
                404, "this server has no embeddings: start it by `vqa serve --embeddings NAME`"
            )
        if body.model not in (None, embedder.name):
            raise _no_model(str(body.model))

        async def encode() -> dict[str, Any]:
            async with pictures.open(body.picture_urls) as images:
                return await embedder.reply(body, images)

        return await _while_there(http, encode())

    @app.get("/v1/models")
    async def list_models() -> Any:
        """List what `model` may name."""
        return {"object": "list", "data": [_model(name, began) for name in names]}

    @app.get("/v1/models/{name:path}")
    async def get_model(name: str) -> Any:
        """Return one of the models."""
        if name not in names:
            raise _no_model(name)
        return _model(name, began)

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Any:
        """Answer while the process is there."""
        return {"status": "ok"}

    @app.api_route("/ready", methods=["GET", "HEAD"])
    async def ready() -> Any:
        """Answer while requests are taken."""
        if not scheduler.ready:
            raise Refused(503, "no requests are taken")
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Write counts and times in Prometheus's format."""
        return Response(measured.text(), media_type="text/plain; version=0.0.4")

    app.add_middleware(RepliedFailures)  # inside of those that count and log replies
    app.add_middleware(BodyLimit)
    app.add_middleware(Access, keys=options.keys, host=options.host)
    app.add_middleware(CountedReplies, measured=measured)
    app.add_middleware(LoggedRequests, stream=options.log)  # the last one is asked first
    return app


class _EventStream(StreamingResponse):
    """Server-sent events; closes what they come from at their end, or when the client leaves."""

    def __init__(self, events: AsyncIterator[bytes], source: AsyncExitStack) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._source:
            await super().__call__(scope, receive, send)


async def _events(
    reply: ChatReply,
    completion: Completion,
    pieces: Pieces,
    first: tuple[str, list[Token]],
    with_usage: bool,
) -> AsyncIterator[bytes]:
    yield reply.chunk({"role": "assistant", "content": ""})
    try:
        text, tokens = first
        if text or tokens:
            yield reply.chunk({"content": text}, tokens)
        async for text, tokens in pieces:
            yield reply.chunk({"content": text}, tokens)
    except VQAError as error:
        yield event(error_body(500, str(error)))
    else:
        yield reply.chunk({}, finish=completion.finish_reason)
        if with_usage:
            yield reply.usage_chunk(completion.answer)
    yield DONE


def _read(reader: TextReader, image: Image) -> None:
    """Read a picture ahead. Raises VQAError, without the path of a model, where that fails."""
    try:
        reader.read(image)
    except InputError as error:  # of the installation, not of the request
        log.error("%s", error)
        raise VQAError("the text in pictures cannot be read: the server needs repair") from error


async def _finish(pieces: Pieces) -> None:
    async for _ in pieces:
        pass


async def _while_there(http: HTTPRequest, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; cancel it, and raise Refused, as soon as the client has left."""

    async def left() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass

    doing, leaving = asyncio.create_task(work), asyncio.create_task(left())
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Refused(499, "the client left")
        return doing.result()
    finally:
        leaving.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.wait({doing})


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "vqa"}


def _no_model(name: str) -> Refused:
    return Refused(404, f"there is no model {name[:100]!r} here: see /v1/models", "model_not_found")


def _handle_errors(app: FastAPI) -> None:
    """Answer every failure in OpenAI's shape, without what the client has sent."""

    @app.exception_handler(VQAError)
    async def failed(_: HTTPRequest, error: VQAError) -> Response:
        return reply_to(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: HTTPRequest, error: RequestValidationError) -> Response:
        # where a value may be of several kinds, what goes deepest, or the richest, was meant
        deepest = max(reversed(error.errors()), key=lambda one: len(one["loc"]))
        names = [str(name) for name in deepest["loc"][1:] if str(name).isidentifier()]
        place = ".".join(name for name in names if name not in ("str", "list"))
        return error_reply(400, f"{place}: {deepest['msg']}" if place else str(deepest["msg"]))

    @app.exception_handler(HTTPException)
    async def refused(_: HTTPRequest, error: HTTPException) -> Response:
        return error_reply(error.status_code, str(error.detail), headers=error.headers)
