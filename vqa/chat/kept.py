"""Conversations that are kept while they are answered: a history, and the worker that answers.

A page follows an answer, and may be closed and opened again; the answer is written to its end and
kept in either case.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from threading import Lock, Thread

from PIL.Image import Image

from vqa.answering import Answer, Settings
from vqa.chat.conversation import Conversation, check_count
from vqa.chat.history import History
from vqa.chat.turn import Picture, State, Turn
from vqa.chat.worker import Job, Worker
from vqa.errors import InputError, VQAError
from vqa.images import ImageError, load_image

_SAVE_EVERY = 1.0  # seconds between two writes of an answer that grows
_ANEW = 0.7  # temperature of an answer that is written again: a greedy one would be the same


@dataclass(frozen=True)
class Upload:
    """A picture that comes with a question: its name, and its bytes as they came."""

    name: str
    content: bytes

    def load(self) -> Image:
        """The picture. Raises ImageError, which calls it by its name."""
        file = io.BytesIO(self.content)
        file.name = self.name
        return load_image(file)


class Chats:
    """Everybody's conversations, and the answers on their way to them.

    `worker` gives the worker that answers now; it may be another one for the next question. Of one
    owner at most `max_waiting` questions wait, None is any number: each has its pictures in memory.
    Raises InputError for a question that cannot be asked; nothing is kept of it then.
    """

    def __init__(
        self, history: History, worker: Callable[[], Worker], max_waiting: int | None = None
    ) -> None:
        self.history = history
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
        settings: Settings | None = None,
    ) -> str:
        """Ask at the end of the branch that is shown; the id of the answer that comes."""
        with self._place(owner) as worker:
            turn, talk = self._question(owner, conversation, question, pictures)
            return self._answer(worker, owner, turn, talk, settings)

    def note(
        self,
        owner: str,
        conversation: str,
        question: str,
        note: str,
        pictures: Sequence[Upload] = (),
    ) -> None:
        """Keep a question that the model is not asked, with a note in place of an answer."""
        turn, _ = self._question(owner, conversation, question, pictures)
        answer = self.history.add_answer(owner, turn, "")
        self.history.finish(answer, "", "note", {}, note)

    def ask_again(
        self, owner: str, question: str, text: str, settings: Settings | None = None
    ) -> str:
        """Ask with another text in place of a question: a new branch. The id of its answer."""
        with self._place(owner) as worker:
            turns = self._branch(owner, question)
            system = self.history.system(owner, turns[-1].conversation)
            pictures = [_kept(picture) for picture in turns[-1].pictures]
            talk = talk_of(turns[:-1], system).ask(text, pictures)
            turn = self.history.edit_question(owner, question, text.strip())
            return self._answer(worker, owner, turn, talk, settings)

    def answer_again(self, owner: str, answer: str, settings: Settings | None = None) -> str:
        """Write another answer to the same question, beside the old one; its id.

        It is sampled with another seed each time, also where the settings ask for the likeliest.
        """
        with self._place(owner) as worker:
            turns = self._branch(owner, answer)
            system = self.history.system(owner, turns[-1].conversation)
            settings = settings or Settings()
            settings = replace(
                settings,
                temperature=settings.temperature or _ANEW,
                seed=settings.seed + len(turns[-1].siblings),
            )
            question = turns[-2].id
            return self._answer(worker, owner, question, talk_of(turns[:-1], system), settings)

    def job(self, answer: str) -> Job | None:
        """The answer on its way, while it is."""
        with self._lock:
            job, _ = self._jobs.get(answer, (None, None))
        return job

    def wait(self, answer: str) -> None:
        """Wait until an answer that is on its way here has ended and is kept."""
        with self._lock:
            _, thread = self._jobs.get(answer, (None, None))
        if thread is not None:
            thread.join()

    def stop(self, owner: str, answer: str) -> None:
        """End an answer where it is; what has been written is kept."""
        self.history.turn(owner, answer)  # whose it is
        job = self.job(answer)
        if job is not None:
            job.cancel()

    def delete(self, owner: str, conversation: str) -> None:
        """Stop what is being answered in a conversation, and delete it."""
        for turn in self.history.ids(owner, conversation):
            self.stop(owner, turn)
        self.history.delete(owner, conversation)

    def delete_turn(self, owner: str, turn: str) -> None:
        """Stop what is being answered, and delete a turn and all that came after it."""
        conversation = self.history.turn(owner, turn).conversation
        for later in self.history.ids(owner, conversation, turn):
            self.stop(owner, later)
        self.history.delete_turn(owner, turn)

    @contextmanager
    def _place(self, owner: str) -> Iterator[Worker]:
        """The worker, with a place for a question; it counts while its pictures are decoded, too.

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

    def _question(
        self, owner: str, conversation: str, question: str, pictures: Sequence[Upload]
    ) -> tuple[str, Conversation]:
        turns = self.history.branch(owner, conversation)
        system = self.history.system(owner, conversation)
        check_count(len(pictures))  # before they are decoded: each may take hundreds of megabytes
        loaded = [picture.load() for picture in pictures]
        talk = talk_of(turns, system).ask(question, loaded)
        parent = turns[-1].id if turns else None
        contents = [(picture.name, picture.content) for picture in pictures]
        turn = self.history.add_question(owner, conversation, parent, question.strip(), contents)
        return turn, talk

    def _branch(self, owner: str, turn: str) -> list[Turn]:
        conversation = self.history.turn(owner, turn).conversation
        return self.history.branch(owner, conversation, turn)

    def _answer(
        self,
        worker: Worker,
        owner: str,
        question: str,
        talk: Conversation,
        settings: Settings | None,
    ) -> str:
        answer = self.history.add_answer(owner, question, worker.answerer.name)
        try:
            job = worker.submit(talk.request(settings), owner)
        except VQAError as error:
            self.history.finish(answer, "", "failed", {}, str(error))
            raise
        thread = Thread(target=self._keep, args=(answer, job), name="vqa-keep", daemon=True)
        with self._lock:
            self._jobs[answer] = job, thread
        thread.start()
        return answer

    def _keep(self, answer: str, job: Job) -> None:
        """Write an answer into the history as it grows."""
        saved = time.monotonic()
        try:
            for piece in job.follow():
                if isinstance(piece, str) and time.monotonic() - saved > _SAVE_EVERY:
                    self.history.write(answer, job.text)
                    saved = time.monotonic()
            done = job.result()
            self.history.finish(answer, done.text, _state(done), _about(done))
        except VQAError as error:  # of the model, or of the disk
            self._fail(answer, job.text, error)
        finally:
            with self._lock:
                del self._jobs[answer]

    def _fail(self, answer: str, text: str, error: VQAError) -> None:
        try:
            self.history.finish(answer, text, "failed", {}, str(error))
        except VQAError:
            return  # the disk: the answer stays as it was saved last


def talk_of(turns: Sequence[Turn], system: str) -> Conversation:
    """The turns as a conversation for a model. Their pictures are decoded again.

    Of questions that got no answer only the pictures count, as those of the next question.
    """
    talk = Conversation(system=system)
    for turn in turns:
        if turn.role == "user":
            talk = talk.ask(turn.text, [_kept(picture) for picture in turn.pictures])
        else:
            talk = talk.answered(turn.text)
    return talk


def _kept(picture: Picture) -> Image:
    try:
        return load_image(picture.path)
    except ImageError as error:
        raise InputError(
            f"The picture {picture.name} of this conversation cannot be read any more: "
            "begin a new one, with the picture."
        ) from error


def _state(answer: Answer) -> State:
    return "stopped" if answer.finish == "cancelled" else "done"


def _about(answer: Answer) -> dict[str, object]:
    about = asdict(answer)
    del about["text"]
    return about
