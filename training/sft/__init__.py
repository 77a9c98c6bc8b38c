"""Pretrain a projector and fine-tune a LLaVA model on questions and answers."""
