"""`RemoteAnswerer`: sends requests to an endpoint of the OpenAI chat-completions protocol.

They run in an event loop of its own in a background thread. There a waiting request can be
ended at once (threads cannot), and callers may themselves run in an event loop or not.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from vqa.answering import Answer, Request, Seconds
from vqa.errors import InputError, NotFiniteError, VQAError
from vqa.inputs.hints import with_hints
from vqa.remote import chat_completions
from vqa.remote.endpoint import Endpoint, EndpointRefused, RetryableError, read_body, read_events

if TYPE_CHECKING:
    from PIL import Image

    from vqa.reading import TextReader

T = TypeVar("T")

_TICK = 0.05  # seconds between checks of `cancel`
_MODELS_BYTES = 8 << 20  # of a list of models; the longest that are served have a tenth of it
_NAME_LENGTH = 300  # characters of a model's name


class RemoteAnswerer:
    """An `Answerer` over an endpoint such as vLLM, SGLang or llama-server; any thread may call it.

    `base_url` usually ends in `/v1`. With `model` None the endpoint's only model answers. At most
    `concurrency` requests run at a time, over all callers. Failures are retried as `Endpoint` does:
    `timeout` seconds of silence end an attempt, `deadline` seconds a request.

    The probability of an answer follows from the endpoint's logprobs; None without them.

    Raises InputError for a wrong address or key, and where there is no single model, VQAError where
    the endpoint does not answer the question for its models.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None,
        *,
        api_key: str | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        deadline: float = 600.0,
        retries: int = 5,
        backoff: float = 0.5,
        reader: TextReader | None = None,
    ) -> None:
        self._endpoint = Endpoint(
            base_url,
            api_key,
            timeout=timeout,
            deadline=deadline,
            retries=retries,
            backoff=backoff,
        )
        self._reader = reader  # of the text in pictures, which then stands before the questions
        self._logprobs: bool | None = None  # whether it takes the field; None: not tried yet
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run_loop, args=(self._loop,), daemon=True).start()
        weakref.finalize(self, _stop_loop, self._loop, self._endpoint)
        self.name = model or self._only_model()

    def answer(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer]:
        """Answer all requests, in their order.

        Once `cancel` is set, unanswered requests are dropped and end as cancelled, without text.
        Raises InputError where the endpoint refuses a request, VQAError where it is not reached.
        """
        answers: list[Answer] = []
        for outcome in self.answer_each(requests, cancel):
            if isinstance(outcome, VQAError):
                raise outcome
            answers.append(outcome)
        return answers

    def answer_each(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer | VQAError]:
        """Answer all requests, in their order; return the InputError of one that is refused.

        So for a request on which the endpoint fails to the last retry while it answers another. An
        answer whose numbers are not finite becomes a NotFiniteError.
        Raises VQAError where it answers none, InputError where it would refuse any.
        """
        outcomes = self._run(self._answer_all([*map(self._with_text, requests)], cancel))
        reached = any(isinstance(outcome, Answer | NotFiniteError) for outcome in outcomes)
        for index, outcome in enumerate(outcomes):
            if not isinstance(outcome, Answer | InputError | NotFiniteError):
                if not reached:
                    raise outcome
                outcomes[index] = InputError(str(outcome))
        return outcomes

    def stream(
        self, request: Request, cancel: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        """Yield pieces of text, which joined are the answer's text, and last the `Answer`.

        Setting `cancel` closes the connection. Raises as `answer` does; an answer that breaks off
        after its first piece is not asked for again.
        """
        if cancel is not None and cancel.is_set():
            yield Answer("", "cancelled")
            return
        began = perf_counter()
        request = self._with_text(request)
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        emitted = pending = ""
        answering = self._answer(request, self._urls_of([request]), pieces.put)
        future = asyncio.run_coroutine_threadsafe(answering, self._loop)
        future.add_done_callback(lambda _: pieces.put(None))
        try:
            while cancel is None or not cancel.is_set():
                try:
                    piece = pieces.get(timeout=_TICK)
                except queue.Empty:
                    continue
                if piece is None:
                    yield future.result()
                    return
                # white space waits: at the end of the answer it is no part of its text
                pending += piece if emitted else piece.lstrip()
                piece, pending = pending.rstrip(), pending[len(pending.rstrip()) :]
                if piece:
                    emitted += piece
                    yield piece
            yield Answer(emitted, "cancelled", seconds=Seconds(total=perf_counter() - began))
        finally:
            future.cancel()

    def _with_text(self, request: Request) -> Request:
        if self._reader is None:
            return request
        blocks = [self._reader.block(image) for image in request.images]
        return replace(request, messages=with_hints(request.messages, blocks))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop; an interruption of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            # in short waits: a Ctrl-C just before a wait takes effect only after it
            while not wait([future], timeout=_TICK).done:
                pass
            return future.result()
        finally:
            future.cancel()

    def _only_model(self) -> str:
        async def list_models() -> bytes:
            async with self._endpoint.send("GET", "models") as response:
                return await read_body(response, _MODELS_BYTES)

        raw = self._run(self._endpoint.retry(list_models))
        try:
            names = [model["id"] for model in json.loads(raw)["data"]]
            if not all(isinstance(name, str) and len(name) <= _NAME_LENGTH for name in names):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                f"{self._endpoint.url}/models gives no list of models: check `base_url` "
                "(.../v1), or name the model with `model`."
            ) from None
        if len(names) != 1:
            served = self._endpoint.printable(", ".join(sorted(names)[:100])) or "none"
            raise InputError(f"{self._endpoint.url} serves {served}: choose one with `model`.")
        return names[0]

    async def _answer_all(
        self, requests: Sequence[Request], cancel: threading.Event | None
    ) -> list[Answer | VQAError]:
        if cancel is not None and cancel.is_set():
            return [Answer("", "cancelled") for _ in requests]
        url_of = self._urls_of(requests)
        tasks = [
            asyncio.create_task(self._answer_or_error(request, url_of)) for request in requests
        ]
        pending = set(tasks)
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending,
                    timeout=None if cancel is None else _TICK,
                    return_when=asyncio.FIRST_EXCEPTION,
                )
                for task in done:
                    if not task.cancelled():
                        task.result()  # raises an error that the others would get too
                if cancel is not None and cancel.is_set():
                    for task in pending:
                        task.cancel()
        finally:
            for task in tasks:
                task.cancel()
        return [Answer("", "cancelled") if t.cancelled() else t.result() for t in tasks]

    async def _answer_or_error(
        self, request: Request, url_of: Callable[[Image.Image], str]
    ) -> Answer | VQAError:
        try:
            return await self._answer(request, url_of, None)
        except EndpointRefused:
            raise
        except VQAError as error:
            return error

    def _urls_of(self, requests: Sequence[Request]) -> Callable[[Image.Image], str]:
        """Return a function from pictures to URLs; requests close together share those of one."""
        images = {id(image): image for request in requests for image in request.images}
        url = lru_cache(self._concurrency)(lambda key: chat_completions.data_url(images[key]))
        return lambda image: url(id(image))

    async def _answer(
        self,
        request: Request,
        url_of: Callable[[Image.Image], str],
        on_text: Callable[[str], None] | None,
    ) -> Answer:
        """Answer one request; as a stream where `on_text` takes its pieces."""

        async def send(logprobs: bool) -> Answer:
            body = await asyncio.to_thread(
                chat_completions.request_body,
                request,
                self.name,
                logprobs=logprobs,
                stream=on_text is not None,
                url_of=url_of,
            )
            max_bytes = chat_completions.max_reply_bytes(request.settings.max_new_tokens)
            return await self._endpoint.retry(lambda: self._try(body, on_text, max_bytes))

        async with self._slots:
            if self._logprobs is not False:
                try:
                    answer = await send(True)
                    self._logprobs = True
                    return answer
                except InputError as error:
                    if self._logprobs or isinstance(error, EndpointRefused):
                        raise
            answer = await send(False)  # perhaps it refuses the field
            self._logprobs = self._logprobs or False
            return answer

    async def _try(
        self, body: bytes, on_text: Callable[[str], None] | None, max_bytes: int
    ) -> Answer:
        began = perf_counter()
        first = 0.0
        reply = chat_completions.CompletionReply()
        try:
            async with self._endpoint.send("POST", "chat/completions", body) as response:
                if on_text is None:
                    reply.add(await read_body(response, max_bytes))
                else:
                    async for event in read_events(response, max_bytes):
                        if event.strip() == "[DONE]":
                            break
                        piece = reply.add(event)
                        first = first or perf_counter() - began
                        if piece:
                            on_text(piece)
                reply.check()
        except (ValueError, RetryableError) as error:
            if on_text is not None and reply.text:  # a second attempt would repeat it
                raise VQAError(
                    f"{self._endpoint.url} broke off in the middle of the answer: "
                    f"{self._endpoint.printable(str(error))}; ask again."
                ) from None
            raise RetryableError(str(error), getattr(error, "wait", None)) from None
        total = perf_counter() - began
        return reply.answer(Seconds(first_token=first or total, total=total))


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _stop_loop(loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> None:
    async def close() -> None:
        await endpoint.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(close(), loop)
