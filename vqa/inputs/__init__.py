"""The doors: every picture, every video and every text of a user comes in here."""
