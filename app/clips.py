"""Short videos in the chat: their frames are asked about, as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence

from vqa import video
from vqa.chat.kept import Upload
from vqa.errors import InputError

TYPES = ["mp4", "mov", "webm", "mkv", "avi"]


def taken_apart(question: str, uploads: Sequence[Upload]) -> tuple[str, list[Upload]]:
    """The question with the times of a video's frames, and the frames in place of the video.

    Without a video all stays as it is. Raises InputError for a video among other files, and for one
    that cannot be used.
    """
    if not any(video.is_video(upload.content) for upload in uploads):
        return question, list(uploads)
    if len(uploads) > 1:
        raise InputError("A video is asked about alone, without other files.")
    (clip,) = uploads
    frames = video.frames(clip.content)
    pictures = []
    for frame in frames:
        file = io.BytesIO()
        frame.picture.save(file, "JPEG", quality=92)
        pictures.append(Upload(f"{clip.name}, {frame.time:.1f} s", file.getvalue()))
    return video.with_times(question, frames) if question.strip() else question, pictures
