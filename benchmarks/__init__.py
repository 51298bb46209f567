"""What speed and memory cost, side by side: ``python -m benchmarks`` runs these, one file each.

Every figure is a ratio of two things measured in one process on one machine, a repetition of each in turn, or bytes
counted by the system. Both sides of a ratio have the same attention (sdpa), compute type and kind of cache, unless the
case says that one of these is what is compared. Models have random weights, since time and memory do not depend on what
a model knows; only where a filter keeps few tokens does it matter, and the head is scaled so that logits spread as a
trained model's do.

Each module has ``measure(setting) -> list[Finding]``.
"""

BENCHMARKS = {
    "startup": "how long a bare import and the help take",
    "decode": "one more token: the unlearned model ÷ the target",
    "compiled": "one more token: compiled with a static cache ÷ as it is",
    "prefill": "a prompt: the unlearned model ÷ the target",
    "memory": "weights, key-value cache and logits: the unlearned model ÷ the target",
    "step": "a training step: ULD ÷ NPO+KL of the whole model, and ÷ the way of the released code",
    "head": "loss and gradient of the head: in chunks ÷ at once, and the memory that it takes",
    "sweep": "a hundred pairs of alpha and filter_rate ÷ one",
    "evaluation": "scores and answers: batched with shared prompts ÷ row by row",
    "growth": "training against forget rows, decoding against context and number of branches",
}
"""Every benchmark with what it compares."""
