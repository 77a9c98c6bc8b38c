"""What answers: LLaVA models, their encoders, checkpoints and adapters."""
