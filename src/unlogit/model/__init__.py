"""The unlearned model: target and assistant branches, one cache, one function that combines logits."""
