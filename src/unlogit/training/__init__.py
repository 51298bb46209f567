"""Training: assistants, full-model unlearning, offset models and ordinary fine-tuning."""
