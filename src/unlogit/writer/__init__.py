"""Text written by a model from prompts: questions about documents, paraphrases, wrong answers."""
