"""Conversations answered in the background: a history on disk, and the worker that answers.

A page follows an answer, and may be closed and opened again; the answer is written to its end and
stored in either case.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from threading import Lock, Thread
from typing import Any

from PIL.Image import Image

from vqa.answering import Answer, SamplingParams
from vqa.chat.conversation import Conversation, check_count
from vqa.chat.history import History
from vqa.chat.picture_store import DecodedPictures
from vqa.chat.turn import Mark, NewPicture, State, StoredPicture, Turn, model_parts, model_turns
from vqa.chat.worker import Job, Worker
from vqa.errors import InputError, VQAError
from vqa.inputs.images import ImageError

_SAVE_EVERY = 1.0  # seconds between two writes of an answer that grows
_AGAIN = 5.0  # seconds before the end of an answer is written again, where it could not be
_ANEW = 0.7  # temperature of an answer that is written again: a greedy one would be the same


@dataclass(frozen=True)
class Upload:
    """A picture that comes with a question: its name, and its bytes as they came."""

    name: str
    content: bytes
    mark: Mark | None = None


class ChatService:
    """Answers questions in everybody's conversations, and writes the answers into the history.

    `worker` gives the worker that answers now; it may be another one for the next question. Of one
    owner at most `max_waiting` questions wait, None is any number: each has its pictures in memory.
    Raises InputError for a question that cannot be asked; nothing is stored of it then.
    """

    def __init__(
        self,
        history: History,
        worker: Callable[[], Worker],
        max_waiting: int | None = None,
        pictures: DecodedPictures | None = None,
    ) -> None:
        self.history = history
        self.pictures = pictures or DecodedPictures()
        self._worker = worker
        self._max_waiting = max_waiting
        self._jobs: dict[str, tuple[Job, Thread]] = {}  # by the id of the answer
        self._coming: Counter[str] = Counter()  # questions of each owner that are being made
        self._lock = Lock()

    def ask(
        self,
        owner: str,
        conversation: str,
        question: str,
        pictures: Sequence[Upload] = (),
        settings: SamplingParams | None = None,
    ) -> str:
        """Ask at the end of the branch that is shown, and return the id of the answer to come."""
        with self._reserved(owner) as worker:
            turn, to_answer = self._add_question(owner, conversation, question, pictures)
            return self._submit(worker, owner, turn, to_answer, settings)

    def note(
        self,
        owner: str,
        conversation: str,
        question: str,
        note: str,
        pictures: Sequence[Upload] = (),
    ) -> None:
        """Add a question that the model is not asked, with a note in place of an answer."""
        turn, _ = self._add_question(owner, conversation, question, pictures)
        answer = self.history.add_answer(owner, turn, "")
        self.history.finish(answer, "", "note", {}, note)

    def ask_again(
        self, owner: str, question: str, text: str, settings: SamplingParams | None = None
    ) -> str:
        """Ask with another text in place of a question, on a new branch; return the answer's id."""
        with self._reserved(owner) as worker:
            turns = self._branch(owner, question)
            asked = [*turns[:-1], replace(turns[-1], text=text)]
            conversation = self.conversation(owner, asked, turns[-1].conversation)
            turn = self.history.edit_question(owner, question, text.strip())
            return self._submit(worker, owner, turn, conversation, settings)

    def answer_again(self, owner: str, answer: str, settings: SamplingParams | None = None) -> str:
        """Write another answer to the same question, beside the old one, and return its id.

        It is sampled with a seed of its own, also where the settings ask for the likeliest.
        """
        with self._reserved(owner) as worker:
            turns = self._branch(owner, answer)
            settings = settings or SamplingParams()
            settings = replace(
                settings,
                temperature=settings.temperature or _ANEW,
                seed=secrets.randbelow(1 << 31),
            )
            conversation = self.conversation(owner, turns[:-1], turns[-1].conversation)
            return self._submit(worker, owner, turns[-2].id, conversation, settings)

    def compare(
        self, owner: str, answer: str, other: Worker, settings: SamplingParams | None = None
    ) -> str:
        """Let another model answer the same question, beside the answer; return the new one's id.

        It is asked with the same settings. `History.prefer` keeps which of the two is better.
        """
        turns = self._branch(owner, answer)
        conversation = self.conversation(owner, turns[:-1], turns[-1].conversation)
        return self._submit(other, owner, turns[-2].id, conversation, settings)

    def conversation(self, owner: str, turns: Sequence[Turn], conversation: str) -> Conversation:
        """Make a conversation for a model of the turns of a branch that ends with a question.

        Of questions that got no answer only the pictures count, as those of the next question.
        """
        return self._so_far(owner, model_turns(turns), conversation)

    def _so_far(self, owner: str, turns: Sequence[Turn], conversation: str) -> Conversation:
        so_far = Conversation(system=self.history.system(owner, conversation))
        for turn in turns:
            if turn.role == "user":
                images = [image for picture in turn.pictures for image in self._load(picture)]
                so_far = so_far.ask_decoded(turn.text, images)
            else:
                so_far = so_far.answered(turn.text)
        return so_far

    def job(self, answer: str) -> Job | None:
        """Return the job of an answer while it is on its way."""
        with self._lock:
            job, _ = self._jobs.get(answer, (None, None))
        return job

    def wait(self, answer: str) -> None:
        """Wait until an answer that is on its way here has ended and is stored."""
        with self._lock:
            _, thread = self._jobs.get(answer, (None, None))
        if thread is not None:
            thread.join()

    def stop(self, owner: str, answer: str) -> None:
        """End an answer where it is, and store what has been written."""
        self.history.turn(owner, answer)  # whose it is
        job = self.job(answer)
        if job is not None:
            job.cancel()

    def running(self, owner: str) -> dict[str, list[str]]:
        """Return the owner's answers that are on their way, by their conversation."""
        answers: dict[str, list[str]] = {}
        for conversation, answer in self.history.running(owner):
            job = self.job(answer)
            if job is None or not job.done:  # without a job another server writes it
                answers.setdefault(conversation, []).append(answer)
        return answers

    def stop_all(self, owner: str, conversation: str) -> None:
        """Stop whatever is being answered in a conversation, on any branch."""
        for turn in self.history.turn_ids(owner, conversation):
            job = self.job(turn)
            if job is not None:
                job.cancel()

    def delete(self, owner: str, conversation: str) -> None:
        """Stop what is being answered in a conversation, and delete it."""
        self.stop_all(owner, conversation)
        self.history.delete(owner, conversation)

    def delete_turn(self, owner: str, turn: str) -> None:
        """Stop what is being answered, and delete a turn and all that came after it."""
        conversation = self.history.turn(owner, turn).conversation
        for later in self.history.turn_ids(owner, conversation, turn):
            self.stop(owner, later)
        self.history.delete_turn(owner, turn)

    @contextmanager
    def _reserved(self, owner: str) -> Iterator[Worker]:
        """Yield the worker and reserve a place in its queue, while pictures are decoded, too.

        Raises InputError where `owner` has to wait before another question.
        """
        worker = self._worker()
        with self._lock:
            waiting = worker.waiting(owner) + self._coming[owner]
            if self._max_waiting is not None and waiting >= self._max_waiting:
                raise InputError(
                    f"{waiting} of your questions wait for their answers: ask again when one of "
                    "them is answered."
                )
            self._coming[owner] += 1
        try:
            yield worker
        finally:
            with self._lock:
                self._coming[owner] -= 1

    def _add_question(
        self, owner: str, conversation: str, question: str, pictures: Sequence[Upload]
    ) -> tuple[str, Conversation]:
        turns = self.history.branch(owner, conversation)
        check_count(len(pictures))  # before they are decoded: each may take hundreds of megabytes
        images = [
            self.pictures.load(picture.content, picture.name, box)
            for picture in pictures
            for box in model_parts(picture.mark)
        ]
        alone = any(picture.mark and picture.mark.alone for picture in pictures)
        before = self._so_far(owner, () if alone else turns, conversation)
        to_answer = before.ask_decoded(question, images)
        parent = turns[-1].id if turns else None
        contents = [NewPicture(one.name, one.content, one.mark) for one in pictures]
        turn = self.history.add_question(owner, conversation, parent, question.strip(), contents)
        return turn, to_answer

    def _branch(self, owner: str, turn: str) -> list[Turn]:
        conversation = self.history.turn(owner, turn).conversation
        return self.history.branch(owner, conversation, turn)

    def _load(self, picture: StoredPicture) -> list[Image]:
        """Decode what the model is given of a picture."""
        try:
            parts = model_parts(picture.mark)
            return [self.pictures.load_stored(picture, box) for box in parts]
        except ImageError as error:
            raise InputError(
                f"The picture {picture.name} of this conversation cannot be read any more: "
                "begin a new one, with the picture."
            ) from error

    def _submit(
        self,
        worker: Worker,
        owner: str,
        question: str,
        conversation: Conversation,
        settings: SamplingParams | None,
    ) -> str:
        answer = self.history.add_answer(owner, question, worker.answerer.name)
        try:
            job = worker.submit(conversation.request(settings), owner)
        except VQAError as error:
            self.history.finish(answer, "", "failed", {}, str(error))
            raise
        thread = Thread(target=self._record, args=(answer, job), name="vqa-record", daemon=True)
        with self._lock:
            self._jobs[answer] = job, thread
        thread.start()
        return answer

    def _record(self, answer: str, job: Job) -> None:
        """Write an answer into the history as it grows, and its end as soon as the disk takes it.

        What cannot be written meanwhile costs nothing: the end has all of it.
        """
        saved = time.monotonic()
        end: tuple[str, State, dict[str, object], str]
        try:
            try:
                for piece in job.follow():
                    if isinstance(piece, str) and time.monotonic() - saved > _SAVE_EVERY:
                        with suppress(VQAError):
                            self.history.write(answer, job.text)
                        saved = time.monotonic()
                result = job.result()
                end = result.text, _state(result), _about(result), ""
            except VQAError as error:  # of the model
                end = job.text, "failed", {}, str(error)
            written = self._finish(answer, *end)
        finally:
            with self._lock:
                del self._jobs[answer]
        while not written:
            time.sleep(_AGAIN)
            written = self._finish(answer, *end)

    def _finish(self, answer: str, *end: Any) -> bool:
        try:
            self.history.finish(answer, *end)
        except VQAError:
            return False  # the history shows it with the reason
        return True


def _state(answer: Answer) -> State:
    return "stopped" if answer.finish_reason == "cancelled" else "done"


def _about(answer: Answer) -> dict[str, object]:
    about = asdict(answer)
    del about["text"]
    return {"finish": about.pop("finish_reason"), **about}  # the key in histories on disk
