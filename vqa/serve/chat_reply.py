"""Replies of `/v1/chat/completions`: one object, or the events of a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from vqa.answering import Answer, Token

_LEAST_LOGPROB = -9999.0  # OpenAI's, for what is as good as impossible


class ChatReply:
    """What all replies to a request share: their id, time and model."""

    def __init__(self, model: str, logprobs: bool) -> None:
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self._logprobs = logprobs

    def whole(self, text: str, tokens: Sequence[Token], finish: str, answer: Answer) -> Any:
        """Make the reply that is no stream."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._log_probs(tokens),
            "finish_reason": finish,
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage(answer),
        }

    def chunk(
        self, delta: dict[str, str], tokens: Sequence[Token] = (), finish: str | None = None
    ) -> bytes:
        """Make an event of a stream."""
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": self._log_probs(tokens) if tokens else None,
            "finish_reason": finish,
        }
        return self._event({"choices": [choice]})

    def usage_chunk(self, answer: Answer) -> bytes:
        """Make the event with the counts of tokens, the last one of a stream that wants it."""
        return self._event({"choices": [], "usage": usage(answer)})

    def _event(self, content: dict[str, Any]) -> bytes:
        return event({**self._head, "object": "chat.completion.chunk", **content})

    def _log_probs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        content = [
            {
                "token": token.text,
                "logprob": max(token.log_prob, _LEAST_LOGPROB),
                "bytes": list(token.text.encode()),
                "top_logprobs": [],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}


def usage(answer: Answer) -> dict[str, int]:
    """Count the tokens of prompt and answer."""
    prompt, new = answer.prompt_tokens, answer.new_tokens
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


DONE = b"data: [DONE]\n\n"


def event(content: Any) -> bytes:
    """Write a server-sent event."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
