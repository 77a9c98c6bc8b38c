"""Files of questions that a server answers in the background, and their results on disk.

`Batches` takes a data file and its pictures, answers the rows with `vqa.evaluation.predicting` on
the server's model, and keeps every run in a folder of its own: what was uploaded, what was
answered, and whose it is.
"""

from vqa.batches.background import Batches, Progress
from vqa.batches.quotas import Limits
from vqa.batches.run_store import BadLine, Run
from vqa.batches.unpack import ZipLimits
from vqa.chat.turn import NotFoundError

__all__ = ["BadLine", "Batches", "Limits", "NotFoundError", "Progress", "Run", "ZipLimits"]
