"""A row of a task as prompt and completion, in the harness's own words."""

from typing import Any

from lalora.text import Example


class UnansweredError(ValueError):
    """A row has no right answer, as where it is kept secret."""


def worded(task: Any, doc: Any) -> Example:
    """Word a row as the harness does when it scores it, without examples in the prompt.

    Args:
        task: of the harness.
        doc: one of its rows.

    Returns:
        The prompt, and the right answer as the completion; of several right ones the first.

    Raises:
        UnansweredError: the row has no right answer.
        Exception: whatever the templates and functions of the task raise, ValueError for a right answer that is none of
            the choices.
    """
    prompt = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
    if task.OUTPUT_TYPE == "generate_until":
        return Example(prompt, _answer(task, doc), ends=True)
    requests = task.construct_requests(doc=doc, ctx=prompt, metadata=("", 0, 1))
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return Example("", *requests.arguments)
    return Example(*(requests[_right(task, doc)] if task.OUTPUT_TYPE == "multiple_choice" else requests).arguments[:2])


def asked(task: Any, doc: Any, example: Example) -> str:
    """Tell what a row asks: what stands beside its choices, and these in any order; or its text where it has no prompt.

    Args:
        task: of the harness.
        doc: one of its rows.
        example: the same in words.

    Returns:
        The text.
    """
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = sorted(task.doc_to_choice(doc))
        return "\n".join([example.completion if task.multiple_input else example.prompt, *choices])
    return example.prompt if example.prompt.strip() else example.completion


def _right(task: Any, doc: Any) -> int:
    choices = task.doc_to_choice(doc)
    right = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    first = right[0] if isinstance(right, list) else right
    if first is None or (isinstance(first, str) and first not in choices and not first.strip()):
        raise UnansweredError("the row has no right answer")
    number = choices.index(first) if isinstance(first, str) else int(first)
    if number < 0:
        raise UnansweredError(f"the right answer is number {number}")
    if number >= len(choices):
        raise ValueError(f"the right answer is number {number} of {len(choices)} choices, counted from 0")
    return number


def _answer(task: Any, doc: Any) -> str:
    prefix = task.doc_to_prefix(doc)
    target = task.doc_to_target(doc)
    turn: dict[str, Any] = {
        "q": task.doc_to_text(doc),
        "c": task.doc_to_choice(doc) if task.config.doc_to_choice else None,
        "gen_prefix": prefix,
        "tgt_delim": task.config.target_delimiter,
        "few_delim": "",
    }
    target = target if isinstance(target, str | list) or turn["c"] else str(target)
    question, whole = (
        "".join(message.to_text() for message in task.build_qa_turn(**turn, **answer)) for answer in ({}, {"a": target})
    )
    return whole[len(question) :]
