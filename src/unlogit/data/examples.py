"""One thing to forget, keep or be neutral about: the row type that every part of the package passes on."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["question", "completion", "messages", "text"]


@dataclass(frozen=True, slots=True)
class Message:
    """An earlier turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the answer whose tokens are learnt, forgotten or scored.

    ``kind`` says how the two become text (see ``encode``): a question and its answer, a raw prompt and its
    completion, the last turns of a conversation, or (with an empty ``question``) a piece of running text.
    ``paraphrased_question[i]`` and ``paraphrased_answer[i]`` say the same in other words; each ``perturbed_answer``
    is plausible for ``question`` but wrong.
    """

    question: str
    answer: str
    kind: Kind = "question"
    history: tuple[Message, ...] = ()
    paraphrased_question: tuple[str, ...] = ()
    paraphrased_answer: tuple[str, ...] = ()
    perturbed_answer: tuple[str, ...] = ()
    document: str = field(default="", compare=False)
    """Which document of its source a piece of running text was cut from; known while rows are sorted, not written."""
    origin: str = field(default="", compare=False)
    """Where the row stands, for messages (``rows.jsonl line 3``); known as ``document`` is."""

    def to_row(self) -> dict[str, Any]:
        """Return the JSON form; columns at their default are left out."""
        row: dict[str, Any] = {"question": self.question, "answer": self.answer}
        if self.kind != "question":
            row["kind"] = self.kind
        if self.history:
            row["history"] = [{"role": m.role, "content": m.content} for m in self.history]
        for name in ("paraphrased_question", "paraphrased_answer", "perturbed_answer"):
            if values := getattr(self, name):
                row[name] = list(values)
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Example":
        """Read what ``to_row`` wrote."""
        return cls(
            question=row["question"],
            answer=row["answer"],
            kind=row.get("kind", "question"),
            history=tuple(Message(**m) for m in row.get("history", ())),
            paraphrased_question=tuple(row.get("paraphrased_question", ())),
            paraphrased_answer=tuple(row.get("paraphrased_answer", ())),
            perturbed_answer=tuple(row.get("perturbed_answer", ())),
        )
