"""What Prometheus reads at `/metrics`: counts and times, nothing of what was asked."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqa.serve.completion import Completion
from vqa.serve.scheduler import Scheduler

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Measurements:
    """The figures of one server."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        names = {"registry": self._registry}
        running = Gauge("vqa_requests_running", "Requests that are being answered", **names)
        running.set_function(lambda: scheduler.running)
        waiting = Gauge("vqa_requests_waiting", "Requests that wait for a place", **names)
        waiting.set_function(lambda: scheduler.waiting)
        self._replies = Counter(
            "vqa_http_replies", "Replies by path and status", ("path", "status"), **names
        )
        self._tokens = Counter("vqa_tokens", "Tokens, by where they stand", ("of",), **names)
        self._first = Histogram(
            "vqa_first_token_seconds", "From a place to the first token", buckets=_SECONDS, **names
        )
        self._total = Histogram(
            "vqa_answer_seconds", "From a place to the whole answer", buckets=_SECONDS, **names
        )

    def count_reply(self, path: str, status: int) -> None:
        """Count a reply; `path` is a route's, or there would be as many as strangers try."""
        self._replies.labels(path, str(status)).inc()

    def count_completion(self, completion: Completion) -> None:
        """Count a completion's tokens and times; of one that did not end nothing is known."""
        if completion.finish_reason in ("cancelled", "error"):
            return
        answer = completion.answer
        self._tokens.labels("prompt").inc(answer.prompt_tokens)
        self._tokens.labels("completion").inc(answer.new_tokens)
        self._first.observe(answer.seconds.first_token)
        self._total.observe(answer.seconds.total)

    def text(self) -> bytes:
        """Write all of them in Prometheus's format."""
        return generate_latest(self._registry)


class CountedReplies:
    """Counts the replies of an app, those of its other middleware included."""

    def __init__(self, app: ASGIApp, measured: Measurements) -> None:
        self._app = app
        self._measured = measured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self._measured.count_reply(path, message["status"])
            await send(message)

        await self._app(scope, receive, counted)
