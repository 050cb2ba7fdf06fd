"""A text in two parts, of which the second is learned."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Example:
    """A text in two parts.

    Attributes:
        prompt: what is given; its tokens carry no loss.
        completion: what follows; its tokens carry the loss.
        ends: whether the text is over after the completion, so that the model has to learn to stop there.
        where: the place of its row, for messages.
    """

    prompt: str
    completion: str
    ends: bool = False
    where: str = field(default="", compare=False)
