"""The options of ``batchllm run``. Nothing is imported here that ``--help`` need not wait for."""

# Annotations are not left as text, as elsewhere: cyclopts asks for them six times, and to evaluate
# those of sixty options takes 5 ms each time.

from pathlib import Path
from typing import Annotated, Any, Literal

from attrs import fields, frozen
from cyclopts import Group, Parameter

from batchllm.cli.formats import InputFormat

__all__ = ["AUTO_CEILING", "HOW", "Backend", "RunSettings", "option_names"]

AUTO_CEILING = 256
"""Calls in flight that ``--concurrency auto`` never passes."""

Backend = Literal["asyncio", "uvloop", "trio"]

_MODEL = Group("The model", sort_key=1)
_IN = Group("Lines in", sort_key=2)
_OUT = Group("Rows out", sort_key=3)
_RESUME = Group("Going on, and starting anew", sort_key=4)
_PACE = Group("Pace and patience", sort_key=5)
_END = Group("Ending early", sort_key=6)
_BATCH = Group("Batches of the provider", sort_key=7)
HOW = Group("How it runs", sort_key=8)


def _option(text: str, group: Group, *names: str, **more: Any) -> Parameter:
    return Parameter(name=names or None, help=text, group=group, **more)


def _flag(text: str, group: Group) -> Parameter:
    return Parameter(help=text, group=group, negative="", show_default=False)


def _several(text: str, group: Group, *names: str) -> Parameter:
    return Parameter(name=names, help=text, group=group, negative="", show_default=False)


@frozen(kw_only=True)
class RunSettings:
    """The options of ``batchllm run``."""

    model: Annotated[
        tuple[str, ...],
        _several(
            "provider:model, such as openai:gpt-5-mini, or sim:default, which answers from a "
            "simulator and needs no key. Given again, it names a model that takes over where the "
            "first fails. `batchllm models` lists the providers.",
            _MODEL,
            "--model",
            "-m",
        ),
    ]
    base_url: Annotated[
        str | None, _option("The provider's address, in place of its usual one.", _MODEL)
    ] = None
    api_key_env: Annotated[
        str | None,
        _option("The environment variable that holds the key, in place of the usual one.", _MODEL),
    ] = None
    system: Annotated[str | None, _option("A system instruction for every prompt.", _MODEL)] = None
    temperature: Annotated[float | None, _option("Left to the provider by default.", _MODEL)] = None
    max_tokens: Annotated[int | None, _option("The most tokens of one answer.", _MODEL)] = None
    parameter: Annotated[
        tuple[str, ...],
        _several(
            "name=value: another parameter of the model, such as top_p=0.9; what reads as JSON is "
            "sent as that, anything else as text.",
            _MODEL,
            "--parameter",
            "-p",
        ),
    ] = ()
    schema: Annotated[
        str | None,
        _option(
            "What each answer must be: a file with a JSON schema, or module:Class for an attrs "
            "class, dataclass, TypedDict or Pydantic model. Outputs are then JSON.",
            _MODEL,
        ),
    ] = None
    input_format: Annotated[
        InputFormat | None,
        _option("By default the input's name shows it; standard input is jsonl.", _IN),
    ] = None
    template: Annotated[
        str | None,
        _option(
            'Makes each prompt from its row\'s fields: "Translate into {language}: {text}", '
            "{author.name} for a field in a field. With {{ name }} it is a Jinja template.",
            _IN,
        ),
    ] = None
    template_file: Annotated[
        Path | None, _option("A file that holds the template.", _IN, "--template-file")
    ] = None
    prompt_column: Annotated[
        str | None, _option("The field that is the prompt, in place of prompt.", _IN)
    ] = None
    id_column: Annotated[str | None, _option("The field that is the id, in place of id.", _IN)] = (
        None
    )
    limit: Annotated[int | None, _option("Take only the first so many lines.", _IN)] = None
    sample: Annotated[
        int | None, _option("Take only so many lines, by chance; the same each time.", _IN)
    ] = None
    seed: Annotated[int, _option("Another seed makes another sample.", _IN)] = 0
    shard: Annotated[
        str | None,
        _option(
            "k/n takes the k-th of n parts, so that n machines share an input; the output's name "
            "then has {shard} in it.",
            _IN,
        ),
    ] = None
    output: Annotated[
        str,
        _option(
            "Where rows go as they come; - is standard output. The name shows the format: .csv, "
            ".tsv, .parquet, else JSON lines; .gz packs it. If it is there with its journal, the "
            "run goes on; a file without one is refused.",
            _OUT,
            "--output",
            "-o",
            allow_leading_hyphen=True,
        ),
    ] = "-"
    ordered: Annotated[bool, _flag("Write rows in the order of the input.", _OUT)] = False
    keep_prompt: Annotated[bool, _flag("Add what was sent, as sent_prompt.", _OUT)] = False
    keep_metadata: Annotated[
        bool,
        _flag("Add what the provider said beside the answer, as metadata.", _OUT),
    ] = False
    journal: Annotated[
        Path | None,
        _option(
            "Where each answer is written down before its row; by default beside the output, with "
            ".journal behind its name.",
            _RESUME,
        ),
    ] = None
    no_journal: Annotated[
        bool, _flag("Keep none: there is no going on with a run that stops.", _RESUME)
    ] = False
    retry_failed: Annotated[bool, _flag("Try lines again that failed.", _RESUME)] = False
    rerun_changed: Annotated[
        bool, _flag("Ask again if the model or its settings have changed.", _RESUME)
    ] = False
    keep_finished: Annotated[
        bool, _flag("Keep answers of another model or of other settings.", _RESUME)
    ] = False
    fresh: Annotated[
        bool, _flag("Start anew; the old output and its journal get another name.", _RESUME)
    ] = False
    overwrite: Annotated[
        bool, _flag("Start anew; the old output and its journal are lost.", _RESUME)
    ] = False
    concurrency: Annotated[
        int | Literal["auto"] | None,
        _option(
            "Calls in flight: a number is the exact cap. auto, the default, starts with few, "
            f"doubles with every clean round trip up to {AUTO_CEILING}, and keeps to the quota "
            "once it has met it.",
            _PACE,
        ),
    ] = None
    rpm: Annotated[float | None, _option("A known quota of requests per minute.", _PACE)] = None
    tpm: Annotated[float | None, _option("A known quota of tokens per minute.", _PACE)] = None
    share: Annotated[
        str | None,
        _option(
            "Keep --rpm and --tpm together with all runs that share the same: a file for the runs "
            "of this machine, or the http:// address of batchllm serve-gate for those of several.",
            _PACE,
        ),
    ] = None
    hold: Annotated[
        float | None,
        _option(
            "With --share: seconds for which a call may start once its time has come; several "
            "times the way to the gate and back. 0.25 with a file, 0.5 with a server.",
            _PACE,
        ),
    ] = None
    max_attempts: Annotated[
        int | None, _option("Attempts per line, the first included; 3 by default.", _PACE)
    ] = None
    timeout: Annotated[
        float | None,
        _option("Seconds for a line's own work, waiting for a quota apart; 120 by default.", _PACE),
    ] = None
    max_cost: Annotated[
        float | None,
        _option(
            "The most US dollars that the run may spend. What a call can cost at most is reserved "
            "before it is sent; the price of each model has to be known.",
            _END,
        ),
    ] = None
    max_tokens_total: Annotated[
        int | None, _option("The most tokens, in and out together, that the run may take.", _END)
    ] = None
    prices: Annotated[
        Path | None,
        _option(
            "A .toml or .json file with prices in US dollars per million tokens, by "
            "provider:model; they come before those of batchllm[prices].",
            _END,
        ),
    ] = None
    deadline: Annotated[
        str | None,
        _option(
            "Time for the whole run, such as 90s, 30m or 2h; then calls are cancelled. With --mode "
            "batch, see --on-late.",
            _END,
        ),
    ] = None
    fail_fast: Annotated[
        str | None,
        _option(
            "Stop when lines fail in a row with one of these error categories: names with commas "
            "between them, * for any, and behind a colon how many; or never. By default "
            "authentication,insufficient_quota,model_not_found:3. 20 refusals in a row with the "
            "very same words, before any line has an answer, end a run, too.",
            _END,
        ),
    ] = None
    config: Annotated[
        Path | None,
        _option(
            "A .toml or .json file of settings (`batchllm init` writes one); options given here "
            "win over it.",
            _PACE,
        ),
    ] = None
    mode: Annotated[
        Literal["online", "batch"],
        _option(
            "batch sends the lines through the provider's own batches: half the price, hours in "
            "place of minutes, the same rows. It needs a journal.",
            _BATCH,
        ),
    ] = "online"
    detach: Annotated[
        bool,
        _flag("End when all is submitted; the same command goes on later.", _BATCH),
    ] = False
    on_late: Annotated[
        Literal["online", "wait", "fail"],
        _option(
            "A batch that would miss the --deadline: online cancels it in time and calls for the "
            "rest, wait takes its time, fail ends the run at the deadline.",
            _BATCH,
        ),
    ] = "online"
    batch_rounds: Annotated[
        int, _option("Batches that a line may be in before it is called for online.", _BATCH)
    ] = 2
    chunk_size: Annotated[
        int | None, _option("Lines of a batch; 5,000 at first by default.", _BATCH)
    ] = None
    on_ambiguous: Annotated[
        Literal["quarantine", "resubmit"],
        _option(
            "A batch that may exist and cannot be found: wait for proof, or pay twice perhaps.",
            _BATCH,
        ),
    ] = "quarantine"
    on_foreign_cancel: Annotated[
        Literal["stop", "resubmit"],
        _option("A batch that was cancelled, and not by batchllm.", _BATCH),
    ] = "stop"
    on_cancel: Annotated[
        Literal["leave", "cancel"],
        _option("Batches under way after Ctrl-C: leave lets them go on, cancel ends them.", _BATCH),
    ] = "leave"
    on_lost: Annotated[
        Literal["stop", "resubmit"],
        _option("A batch that the provider has no more; resubmit may pay twice.", _BATCH),
    ] = "stop"
    hedge_budget: Annotated[
        float | None,
        _option(
            "US dollars for calling online what is in a batch that misses the --deadline although "
            "it was cancelled; it may be paid for twice.",
            _BATCH,
        ),
    ] = None
    verify_echo: Annotated[
        bool,
        _flag(
            "Ask for a mark in each answer of a batch: answers that the provider has mixed up are "
            "noticed by it, and asked for again.",
            _BATCH,
        ),
    ] = False
    dry_run: Annotated[
        bool,
        _flag(
            "Show the first prompts as they would be sent, the count and an estimate of tokens "
            "and time. Nothing is sent and no key is needed.",
            HOW,
        ),
    ] = False
    backend: Annotated[Backend, _option("The event loop.", HOW)] = "asyncio"
    quiet: Annotated[bool, _flag("No progress and no summary.", HOW)] = False


def option_names() -> list[str]:
    """Return the names of all options, to find what a misspelt one should have been."""
    return [
        "--help",
        "--debug",
        "--json",
        *(f"--{one.name.replace('_', '-')}" for one in fields(RunSettings)),
    ]
