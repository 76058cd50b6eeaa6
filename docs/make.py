"""Write the pages that are derived: home from the README, the gallery of methods and the list of papers from the code.

Run by ``make docs``; what it writes is not kept in the repository.
"""

from __future__ import annotations

from pathlib import Path

from polyculture.cli.catalogue import describe
from polyculture.methods import STAGES, table
from polyculture.papers import catalogue

DOCS = Path(__file__).parent
NOTATION = {"align": "The letters in the formulas are those of [Objectives](objectives.md)."}


def methods_page() -> str:
    """Every method with its papers and hyper-parameters, a section a stage."""
    lines = ["# Methods", "", "Derived from the code; `polyculture methods NAME` prints the same.", ""]
    for stage in STAGES:
        if not len(table(stage)):
            continue
        lines += [f"## {stage}", "", *([NOTATION[stage], ""] if stage in NOTATION else [])]
        for name in table(stage):
            held = describe(stage, name)
            lines += [f"### {name}", "", held["documentation"].split("\n\n")[0].replace("\n", " "), ""]
            lines += [f"`{held['where']}`", ""]
            for slug in held["papers"]:
                paper = catalogue()[slug]
                lines += [f"Paper: [{paper.title}](https://arxiv.org/abs/{paper.arxiv}) ({paper.year})", ""]
            if held["parameters"]:
                lines += ["| hyper-parameter | type | default | meaning |", "|---|---|---|---|"]
                for p in held["parameters"]:
                    default = "required" if p["required"] else f"`{p['default']}`"
                    cells = [p["name"], f"`{p['type']}`", default, p["help"]]
                    lines.append("| " + " | ".join(map(_cell, cells)) + " |")
                lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text in a table, whose bars would end the cell; those in code don't."""
    return "`".join(part if code % 2 else part.replace("|", "\\|") for code, part in enumerate(text.split("`")))


def papers_page() -> str:
    """Every paper: implemented or planned, and how to run its reproduction."""
    lines = ["# Papers", "", "| stage | paper | year | status | reproduction |", "|---|---|---|---|---|"]
    for paper in catalogue().values():
        status = "implemented" if paper.implemented else "planned"
        run = f"`polyculture reproduce {paper.slug}`" if paper.reproduction else ""
        link = f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else paper.title
        lines.append(f"| {paper.stage} | {link} | {paper.year} | {status} | {run} |")
    return "\n".join([*lines, ""])


def home_page() -> str:
    """The README, with its links as the documentation has them."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    return readme.replace("](docs/", "](").replace("](CONTRIBUTING.md)", "](contributing.md)")


if __name__ == "__main__":
    (DOCS / "index.md").write_text(home_page(), encoding="utf-8")
    (DOCS / "methods.md").write_text(methods_page(), encoding="utf-8")
    (DOCS / "papers.md").write_text(papers_page(), encoding="utf-8")
