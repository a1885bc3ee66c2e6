"""The commands with their arguments. What one of them does is loaded when it is called.

So ``--help``, a mistyped command and completion wait for none of it.
"""

# Annotations are not left as text, as elsewhere: cyclopts would evaluate them anew each time that
# it asks for them.

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from batchllm.cli.exits import ExitCode
from batchllm.cli.loading import uncollected
from batchllm.cli.settings import HOW, RunSettings

__all__ = [
    "completion",
    "estimate",
    "export",
    "gc",
    "init",
    "jobs",
    "models",
    "report",
    "run",
    "serve_gate",
    "serve_sim",
    "show",
    "status",
]

Inputs = Annotated[
    str,
    Parameter(
        name="INPUT",
        allow_leading_hyphen=True,
        help="Files, - for standard input, or one prompt in quotes.",
    ),
]
ForScripts = Annotated[
    bool, Parameter(name="--json", negative="", show_default=False, help="For a script.")
]
Run = Annotated[str, Parameter(help="The run's output, or its journal.")]
ForPrograms = Annotated[bool, Parameter(name="--json", negative="", help="As JSON, for programs.")]


def run(
    *inputs: Inputs,
    settings: Annotated[RunSettings, Parameter(name="*")],
    as_json: Annotated[
        bool,
        Parameter(
            name="--json",
            group=HOW,
            negative="",
            show_default=False,
            help="The end as one JSON object on standard output, for a script; of a single prompt "
            "its row.",
        ),
    ] = False,
) -> ExitCode:
    """Send each line of INPUT to a model, and write a row for each."""
    with uncollected():
        from batchllm.cli.start import run_job

    return run_job(inputs, settings, as_json=as_json)


def estimate(
    *inputs: Inputs,
    settings: Annotated[RunSettings, Parameter(name="*")],
    as_json: ForScripts = False,
) -> ExitCode:
    """Say what a run of the same options would take."""
    with uncollected():
        from batchllm.cli.estimating import print_estimate

    return print_estimate(inputs, settings, as_json=as_json)


def status(
    run: Run,
    /,
    *,
    json_: ForPrograms = False,
) -> ExitCode:
    """Say how far a run has got."""
    with uncollected():
        from batchllm.cli.status import print_status

    return print_status(run, as_json=json_)


def jobs(
    run: Run,
    action: Annotated[
        Literal["list", "show", "cancel", "adopt", "gc"],
        Parameter(
            help="list; show N; cancel [N ...]; adopt N BATCH, or adopt --account; gc deletes the "
            "provider's files of batches that are over."
        ),
    ] = "list",
    /,
    *words: str,
    account: Annotated[
        bool,
        Parameter(negative="", help="With adopt: the key was changed, and not the account."),
    ] = False,
    base_url: Annotated[
        str | None, Parameter(help="The provider's address, if the run had one.")
    ] = None,
    json_: ForPrograms = False,
) -> ExitCode:
    """List the provider's batches of a run, and do something about them."""
    with uncollected():
        from batchllm.cli.jobs import tend_jobs

    return tend_jobs(run, action, words, account=account, base_url=base_url, as_json=json_)


def show(
    run: Run,
    id: Annotated[str, Parameter(help="The id of the line.", allow_leading_hyphen=True)],
    /,
    *,
    json_: ForPrograms = False,
) -> ExitCode:
    """Show one line with its calls."""
    with uncollected():
        from batchllm.cli.show import print_line

    return print_line(run, id, as_json=json_)


def export(
    *runs: Annotated[str, Parameter(name="RUN", help="The runs' outputs, or their journals.")],
    output: Annotated[
        str, Parameter(name=("--output", "-o"), allow_leading_hyphen=True, help="Where rows go.")
    ] = "-",
    overwrite: Annotated[
        bool, Parameter(negative="", show_default=False, help="Replace an output that exists.")
    ] = False,
    keep_prompt: Annotated[
        bool, Parameter(negative="", show_default=False, help="Add what was sent, as sent_prompt.")
    ] = False,
) -> ExitCode:
    """Write the rows of one or several runs from their journals."""
    with uncollected():
        from batchllm.cli.export import write_export

    return write_export(runs, output, overwrite=overwrite, keep_prompt=keep_prompt)


def gc(
    run: Run,
    /,
    *,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Say what would go; change nothing.")
    ] = False,
    json_: ForPrograms = False,
) -> ExitCode:
    """Give back the disk that a run does not need."""
    with uncollected():
        from batchllm.cli.gc import give_back

    return give_back(run, dry_run=dry_run, as_json=json_)


def report(
    run: Run,
    /,
    *,
    output: Annotated[
        str | None,
        Parameter(
            name=("--output", "-o"),
            allow_leading_hyphen=True,
            help="The page; by default RUN with .html in place of its ending.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Replace a file that is no report."),
    ] = False,
    no_texts: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Leave prompts and answers out."),
    ] = False,
    json_: Annotated[
        bool,
        Parameter(
            name="--json",
            negative="",
            show_default=False,
            help="Print the figures as JSON.",
        ),
    ] = False,
) -> ExitCode:
    """Write a report of a run: one page of HTML that needs no network."""
    with uncollected():
        from batchllm.cli.report import write_report

    return write_report(run, output, overwrite=overwrite, texts=not no_texts, as_json=json_)


def init(
    path: Annotated[Path, Parameter(help="A new file; its name ends in .toml.")] = Path(
        "batch.toml"
    ),
    /,
) -> ExitCode:
    """Write a file of settings with a comment for each."""
    with uncollected():
        from batchllm.cli.init import write_settings

    return write_settings(path)


def models(
    provider: Annotated[str | None, Parameter(help="Only this one.")] = None,
    /,
    *,
    as_json: ForScripts = False,
) -> ExitCode:
    """List the providers and what they need, and the simulator's scenarios."""
    with uncollected():
        from batchllm.cli.models import print_models

    return print_models(provider, as_json=as_json)


def serve_sim(
    scenario: Annotated[str, Parameter(help="What the provider is like.")] = "default",
    /,
    *,
    host: Annotated[str, Parameter(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="0 takes one that is free.")] = 0,
    seed: Annotated[int, Parameter(help="Answers, delays and faults follow from it.")] = 0,
    log: Annotated[
        Path | None, Parameter(help="A new file for a line of JSON per request.")
    ] = None,
    calendar: Annotated[
        float,
        Parameter(
            help="How many times faster than ours its calendar goes: with 100 a batch of the "
            "provider, which takes two minutes, is done in one second."
        ),
    ] = 1.0,
) -> ExitCode:
    """Answer like an LLM provider, over HTTP, until Ctrl-C."""
    with uncollected():
        from batchllm.cli.serve_sim import serve_simulator

    return serve_simulator(scenario, host=host, port=port, seed=seed, log=log, calendar=calendar)


def serve_gate(
    file: Annotated[
        Path | None,
        Parameter(help="Keeps what was sent through a restart; without it the start is silent."),
    ] = None,
    /,
    *,
    host: Annotated[str, Parameter(help="Where to listen; 0.0.0.0 is every network.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, Parameter(help="0 takes one that is free.")] = 8765,
) -> ExitCode:
    """Give the calls of many runs the slots of one quota, over HTTP, until Ctrl-C."""
    with uncollected():
        from batchllm.cli.serve_gate import serve_slots

    return serve_slots(file, host=host, port=port)


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Your shell.")], /
) -> ExitCode:
    """Print a script that completes commands and options."""
    from batchllm.cli.app import make_app  # which has this command among its own

    print(make_app().generate_completion(shell=shell))
    return ExitCode.OK
