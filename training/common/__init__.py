"""What every training shares: the loop, resume, features, records."""
