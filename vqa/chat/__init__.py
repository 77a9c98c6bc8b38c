"""Conversations about pictures, and the worker that answers them on any answerer.

The terminal chat and the page are clients of this package: a `Conversation` holds the turns, a
`Worker` answers several together in the background, a `Job` is an answer on its way, which any
number of followers read as it grows. `vqa.chat.history` keeps conversations on disk, and
`vqa.chat.service` puts the two together.
"""

from vqa.chat.conversation import MAX_PICTURES, MAX_QUESTION, Conversation
from vqa.chat.worker import Job, Worker

__all__ = ["MAX_PICTURES", "MAX_QUESTION", "Conversation", "Job", "Worker"]
