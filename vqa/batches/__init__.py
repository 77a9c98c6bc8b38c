"""Files of questions that a server answers in the background, and their results on disk.

`Batches` takes a data file and its pictures, answers the rows with `vqa.evaluation.predict` on the
server's model, and keeps every run in a folder of its own: what was uploaded, what was answered,
and whose it is.
"""

from vqa.batches.background import Batches, Limits, Progress
from vqa.batches.runs import BadLine, NotThere, Run
from vqa.batches.unpack import ZipLimits

__all__ = ["BadLine", "Batches", "Limits", "NotThere", "Progress", "Run", "ZipLimits"]
