"""``polyculture decode``: answer prompts with a strategy, re-rank answers that exist, or compare strategies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import interval, number, print_json, print_table, progress_bar
from polyculture.cli.method_options import given
from polyculture.errors import BadInput
from polyculture.methods import build, table

if TYPE_CHECKING:
    from polyculture.decode.base import Strategy
    from polyculture.decode.rows import PromptRow
    from polyculture.llm.base import LLM
    from polyculture.progress import Progress


def decode(
    context: typer.Context,
    prompts: Annotated[
        str | None,
        typer.Argument(
            help="A .jsonl of prompts (prompt or messages, reference if there is one), or one prompt in quotes."
        ),
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="Re-rank answers that exist: a .jsonl of prompts with their candidates.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A folder or hub id, http://host:port/v1#MODEL, or scripted:FILE.json.")
    ] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", "-s", help="How to answer; its options follow by name: --alpha 0.2.")
    ] = "majority",
    compare: Annotated[str | None, typer.Option(help="Compare these strategies, with commas between.")] = None,
    n: Annotated[int, typer.Option("-n", help="Candidates a prompt.", min=1)] = 8,
    k: Annotated[int, typer.Option("-k", help="Answers to submit a prompt.", min=1)] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for answers.jsonl and traces.jsonl; resumes.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="With --compare: write the page here.")] = None,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", min=0.0)] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.", min=0.0, max=1.0)] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Most tokens an answer.", min=1)] = 256,
    processor: Annotated[
        list[str] | None,
        typer.Option(help="Token-level method for a model in this process: top-h, or top-h:alpha=0.5,rule=hf."),
    ] = None,
    logprobs: Annotated[
        bool,
        typer.Option("--logprobs", help="Ask an endpoint for log-probabilities; a model in this process has them."),
    ] = False,
    fusor: Annotated[str | None, typer.Option(help="fusion-of-n: another model that fuses.")] = None,
    experts: Annotated[
        str | None, typer.Option(help="symbolic-moe: name=MODEL,name=MODEL; --model names the skills.")
    ] = None,
    embedder: Annotated[str, typer.Option(help="With --compare: measure diversity with this embedder.")] = "none",
    budget_calls: Annotated[int | None, typer.Option(help="Stop after this many model calls.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Stop after this many tokens.")] = None,
    budget_cost: Annotated[float | None, typer.Option(help="Stop after this much money; needs the prices.")] = None,
    price_in: Annotated[float, typer.Option(help="Price of a million prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of a million generated tokens.")] = 0.0,
    call_log: Annotated[Path | None, typer.Option("--log", help="Log every call here, as JSON lines.")] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
) -> None:
    """Answer prompts by spending more than one sample on each, keeping every candidate, its score and its cost.

    Options that belong to the strategy are given by their names: --strategy best-of-majority --alpha 0.2. A run that is
    stopped and started again with the same command pays for no call twice.
    """
    from polyculture.decode.compare import compare_strategies
    from polyculture.decode.rows import read_rows
    from polyculture.llm.base import Sampling

    if (prompts is None) == (candidates is None):
        raise BadInput("give prompts, or --candidates FILE with answers that exist")
    if prompts is not None and model is None:
        raise BadInput("answering prompts needs --model; to re-rank answers that exist give --candidates FILE")
    names = [name.strip() for name in compare.split(",") if name.strip()] if compare else [strategy]
    for name in names:
        check_strategy(name)
    source = str(candidates or prompts)
    rows = _rows(source) if candidates is None else read_rows(candidates, need_candidates=True)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p)

    folder = options.cache_folder(cache, no_cache)
    shared: dict[str, Any] = {"cache": None if folder is None else folder / "completions.sqlite", "log": call_log}
    if any(limit is not None for limit in (budget_calls, budget_tokens, budget_cost)):
        from polyculture.llm.budget import Budget

        shared["budget"] = Budget(budget_calls, budget_tokens, budget_cost, price_in, price_out)
    llm = None if model is None else _model(model, processor or [], shared, logprobs)
    asked = [given(context, "decode", name) for name in names]
    strategies = {
        name: _strategy(name, hyper, fusor, experts, shared) for name, hyper in zip(names, asked, strict=True)
    }
    with progress_bar(quiet=json) as progress:
        if compare:
            compared = compare_strategies(
                strategies,
                rows,
                ns=None if candidates is not None else sorted({max(1, n // 4), max(1, n // 2), n}),
                k=k,
                llm=llm,
                sampling=sampling,
                embedder=options.none_or(embedder),
                # Accuracy and distinct answers are counted as the strategies read answers.
                answer_of=next((o["answer_of"] for o in asked if "answer_of" in o), "final-number"),
                seed=seed,
                progress=progress,
            )
            _show_comparison(compared, source, html, json)
            return
        _answer(strategies[strategy], llm, rows, candidates is not None, n, k, sampling, seed, output, json, progress)


def check_strategy(name: str) -> None:
    """Check that a name is an answer-level strategy.

    Raises:
        UnknownMethod: there is no such method.
        BadInput: it is a token-level method.
    """
    from polyculture.decode.base import Strategy

    method = table("decode")[name]
    if not (isinstance(method, type) and issubclass(method, Strategy)):
        raise BadInput(f"{name} works token by token: give it as --processor {name}, with a strategy such as majority")


def _rows(source: str) -> list[PromptRow]:
    from polyculture.decode.rows import read_rows

    if not Path(source).exists() and any(mark in source for mark in " \n?"):
        return read_rows([{"prompt": source}])
    return read_rows(source)


def _model(spec: str, processors: list[str], shared: dict[str, Any], logprobs: bool = False) -> LLM:
    """The model behind cache, budget and log; token-level processors go inside, where logits are."""
    from polyculture.llm.make import make_llm, wrap_llm
    from polyculture.llm.transformers import TransformersLLM

    endpoint = spec.startswith(("http://", "https://", "openai:"))
    bare = make_llm(spec, logprobs=True) if logprobs and endpoint else make_llm(spec)
    if processors:
        if not isinstance(bare, TransformersLLM):
            raise BadInput("--processor works on logits: it needs a model in this process, not an endpoint")
        built = []
        for entry in processors:
            name, _, given = entry.partition(":")
            hyper: dict[str, Any] = dict(pair.split("=", 1) for pair in given.split(",") if "=" in pair)
            if name == "scmoe":
                hyper["model"] = bare.model
            built.append(build("decode", name, **hyper))
        bare = bare.with_processors(*built)
    return wrap_llm(bare, **shared)


def _strategy(
    name: str, hyper: dict[str, Any], fusor: str | None, experts: str | None, shared: dict[str, Any]
) -> Strategy:
    made: Any = build("decode", name, **hyper)
    if fusor is not None:
        if name != "fusion-of-n":
            raise BadInput("--fusor goes with --strategy fusion-of-n")
        made = dataclasses.replace(made, fusor=_model(fusor, [], shared))
    if experts is not None:
        if name != "symbolic-moe":
            raise BadInput("--experts goes with --strategy symbolic-moe")
        pairs = [pair.partition("=") for pair in experts.split(",")]
        if not all(equals for _, equals, _ in pairs):
            raise BadInput("--experts should read name=MODEL,name=MODEL")
        factories = {title.strip(): (lambda spec=spec: _model(spec.strip(), [], shared)) for title, _, spec in pairs}
        made = dataclasses.replace(made, experts=factories)
    return made


def _answer(
    strategy: Strategy,
    llm: LLM | None,
    rows: list[PromptRow],
    rerank: bool,
    n: int,
    k: int,
    sampling: Any,
    seed: int,
    output: Path | None,
    as_json: bool,
    progress: Progress,
) -> None:
    from polyculture.decode.compare import wilson
    from polyculture.decode.run import decode_candidates, decode_prompts

    if rerank:
        run = decode_candidates(strategy, rows, k=k, seed=seed, llm=llm, out=output, progress=progress)
    else:
        assert llm is not None
        run = decode_prompts(strategy, llm, rows, n, k=k, sampling=sampling, seed=seed, out=output, progress=progress)
    known = [c for c in run.correct if c is not None]
    low, high = wilson(sum(known), len(known)) if known else (None, None)
    if as_json:
        print_json(
            {
                "prompts": len(run.answers),
                "resumed": run.resumed,
                "accuracy": run.accuracy,
                "accuracy_low": low,
                "accuracy_high": high,
                "cost": dataclasses.asdict(run.cost),
                "output": run.folder,
                "answers": [
                    {"text": a.text, "key": a.key, "score": a.score, "correct": c}
                    for a, c in zip(run.answers, run.correct, strict=True)
                ],
            }
        )
        return
    if output is None:
        for row, answer in zip(rows, run.answers, strict=True):
            if len(rows) > 1:
                shown = row.prompt if isinstance(row.prompt, str) else row.prompt[-1]["content"]
                print(f"## {' '.join(shown.split())[:100]}")
            print(answer.text)
    cells = [["prompts", f"{len(run.answers):,}"]]
    if run.resumed:
        cells.append(["of them done before", f"{run.resumed:,}"])
    if run.accuracy is not None:
        cells.append(["accuracy", f"{number(run.accuracy)} {interval(low, high)}"])
    cells += [[name.replace("_", " "), number(float(value))] for name, value in dataclasses.asdict(run.cost).items()]
    print_table("", ["", ""], cells, right=())
    if run.folder is not None:
        print(f"answers: {run.folder / 'answers.jsonl'}\ntraces: {run.folder / 'traces.jsonl'}")


def _show_comparison(compared: list[Any], source: str, html: Path | None, as_json: bool) -> None:
    from polyculture.files import atomic

    if html is not None:
        from polyculture.report.decoding import render_decoding

        with atomic(html) as file:
            file.write(render_decoding(compared, source=Path(source).name))
    if as_json:
        print_json([row.to_dict() for row in compared])
        return
    names = ("accuracy", "coverage", "tokens", "calls", "distinct", "unread", "vendi")
    shown = [name for name in names if any(getattr(row, name) is not None for row in compared)]
    rows = []
    for row in compared:
        cells = [number(getattr(row, name)) for name in shown]
        if "accuracy" in shown:
            cells.insert(1, interval(row.accuracy_low, row.accuracy_high))
        rows.append([row.strategy, str(row.n), *cells])
    columns = ["strategy", "n", *shown]
    if "accuracy" in shown:
        columns.insert(3, "95 % interval")
    print_table(f"{source}: {compared[0].prompts:,} prompts", columns, rows, right=("n", *shown))
    if html is not None:
        print(f"page written to {html}")
