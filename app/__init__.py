"""The page of `vqa app`: a thin client of `vqa.chat`."""
