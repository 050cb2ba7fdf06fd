"""What a user says of rows of their own: where they are, of which kind, in which columns."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from lalora.errors import LaloraError, short
from lalora.text import Row

MULTIPLE_CHOICE: Final = "multiple-choice"
_COLUMNS = {"text": ("text",), "chat": ("messages",), "completion": ("prompt", "completion")}
_BESIDE = ("tools",)


class OwnRows(BaseModel):
    """Where rows of one's own are, and of which kind they are."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: str = Field(min_length=1, max_length=4096, description="A file, a folder, or the id of a data set.")
    kind: Literal["text", "chat", "completion", "multiple-choice"] | None = Field(
        None, description="What the rows are; null: found from each row's columns."
    )
    question: str = Field("question", description="Of multiple choice: the column of the question.")
    choices: str = Field("choices", description="The column of the choices, a list of texts.")
    answer: str = Field("answer", description="The column of the right one: its index from 0, its letter, or its text.")

    def taken(self, row: Any, where: str) -> Any:
        """Keep what the kind takes of a row.

        Args:
            row: as it was read.
            where: its place, for messages.

        Returns:
            The row with the columns of its kind, of multiple choice with those of ARC.

        Raises:
            LaloraError: a column is missing, or holds what it cannot.
        """
        if self.kind is None or (self.kind == "text" and isinstance(row, str)):
            return row
        if self.kind == MULTIPLE_CHOICE:
            return self._choice(row, where)
        needed = _COLUMNS[self.kind]
        self._require(needed, row, where)
        return {name: row[name] for name in (*needed, *_BESIDE) if name in row}

    def _require(self, columns: tuple[str, ...], row: Any, where: str) -> None:
        there = row if isinstance(row, Mapping) else {}
        if missing := [name for name in columns if name not in there]:
            has = ", ".join(map(str, there)) or "none"
            raise LaloraError(f"{where}: no column '{missing[0]}', which kind: {self.kind} takes; the row has {has}")

    def _choice(self, row: Any, where: str) -> Row:
        self._require((self.question, self.choices, self.answer), row, where)
        question, choices = row[self.question], row[self.choices]
        if not isinstance(question, str) or not question.strip():
            raise LaloraError(f"{where}: '{self.question}' has to be a text that is not empty")
        texts = isinstance(choices, list) and all(isinstance(one, str) and one.strip() for one in choices)
        if not texts or not 2 <= len(choices) <= 26 or len(set(choices)) < len(choices):
            raise LaloraError(f"{where}: '{self.choices}' has to be a list of 2 to 26 different texts")
        labels = [chr(ord("A") + number) for number in range(len(choices))]
        right = labels[self._right(row[self.answer], choices, labels, where)]
        return {"question": question, "choices": {"text": choices, "label": labels}, "answerKey": right}

    def _right(self, answer: Any, choices: list[str], labels: list[str], where: str) -> int:
        found = set()
        if isinstance(answer, str):
            found |= {number for number, choice in enumerate(choices) if choice == answer}
            found |= {number for number, label in enumerate(labels) if label == answer.strip().upper()}
        # A number that is written as a text is an index where no choice reads so.
        digits = isinstance(answer, str) and not found and answer.isascii() and answer.isdecimal() and len(answer) < 3
        if digits or (isinstance(answer, int) and not isinstance(answer, bool)):
            found |= {int(answer)} & set(range(len(choices)))
        if len(found) != 1:
            says = "more than one" if found else "none"
            raise LaloraError(
                f"{where}: '{self.answer}' is {short(repr(answer))} and names {says} of {len(choices)} choices: give "
                f"an index from 0 to {len(choices) - 1}, a letter from A to {labels[-1]}, or the text of one"
            )
        return found.pop()
