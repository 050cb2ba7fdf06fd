"""Tables as files for other programs and papers: CSV, Markdown, LaTeX."""

import pandas

from lalora.report.column import Table


def files_of(table: Table) -> dict[str, bytes]:
    """Returns a table by file name: numbers in full as CSV, rounded as Markdown and LaTeX, measured columns alone."""
    rows = [(title, row) for title, of in table.sections for row in of]
    titles = [column.title for column in table.columns]
    sectioned = any(title for title, _ in table.sections)
    full = pandas.DataFrame(
        [
            {
                **({"setting": title} if sectioned else {}),
                **{name: getattr(row, name) for name in table.more},
                **{field: value for column in table.columns for field, value in column.numbers(row).items()},
            }
            for title, row in rows
        ]
    )
    measured = [
        place for place, column in enumerate(table.columns) if any(column.of(row) is not None for _, row in rows)
    ]
    cells = [
        [*([title] if sectioned else []), *(table.columns[place].text(row) for place in measured)]
        for title, row in rows
    ]
    head = [*(["Setting"] if sectioned else []), *(titles[place] for place in measured)]
    texts = int(sectioned) + sum(table.columns[place].is_text for place in measured)
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    columns = "l" * texts + "r" * (len(head) - texts)
    return {
        f"{table.file}.csv": full.to_csv(index=False).encode(),
        f"{table.file}.md": _markdown([head, rule, *cells]).encode(),
        f"{table.file}.tex": _latex(pandas.DataFrame(cells, columns=head), columns).encode(),
    }


def _markdown(lines: list[list[str]]) -> str:
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _latex(table: pandas.DataFrame, columns: str) -> str:
    text = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    written = str(text.to_latex(hrules=True, column_format=columns))
    # Characters of labels and numbers that pdfLaTeX has no glyph for.
    return (
        written.replace("λ", r"$\lambda$")
        .replace("ρ", r"$\rho$")
        .replace("Δ", r"$\Delta$")
        .replace("−", "$-$")
        .replace("–", "--")
    )
