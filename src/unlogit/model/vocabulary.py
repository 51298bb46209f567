"""Whether a model can read what its tokenizer writes: every token id needs a row in the model's embedding.

A tokenizer may have tokens without one that were added later and are never written, such as a token to pad with.
"""

from collections.abc import Iterable
from typing import Any

from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.errors import DataError, ModelError

_FIX = "save the model's own tokenizer beside it, or give the model rows for all (resize_token_embeddings)"


def check_vocabulary(tokenizer: Any, embedding_rows: int, name: str) -> None:
    """Refuse the tokenizer of the model ``name`` if the model cannot read what every text needs of it.

    Added tokens that no text needs may have no row; if the one to pad with is among them, end-of-text pads instead.

    Raises:
        ModelError: ordinary tokens, the end-of-text token, or tokens of every question and answer have no row.
    """
    unreadable = [id_ for id_ in tokenizer.get_vocab().values() if id_ >= embedding_rows]
    if not unreadable:
        return
    needed = {tokenizer.eos_token_id, *encode(Example("?", "."), tokenizer).input_ids}
    if needed & set(unreadable) or set(unreadable) - tokenizer.added_tokens_decoder.keys():
        raise ModelError(
            f"the tokenizer of {name!r} has ids up to {max(unreadable)} and the model's embedding {embedding_rows} "
            f"rows; expected a row for each: {_FIX}"
        )
    if tokenizer.pad_token_id in unreadable:
        tokenizer.pad_token = tokenizer.eos_token


def check_readable(rows: Iterable[Example], tokenizer: Any, embedding_rows: int | None) -> None:
    """Refuse rows with a token that the model's embedding has no row for; None where the model does not say.

    Raises:
        DataError: there is one.
    """
    if embedding_rows is None or max(tokenizer.get_vocab().values()) < embedding_rows:
        return
    for row in rows:
        for id_ in encode(row, tokenizer).input_ids:
            if id_ >= embedding_rows:
                raise DataError(
                    f"{row.origin or 'a row'} has the token {tokenizer.convert_ids_to_tokens(id_)!r}, id {id_}, and "
                    f"the model's embedding {embedding_rows} rows; expected a row for each id: take it out, or {_FIX}"
                )
