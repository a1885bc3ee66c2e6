"""The texts of ``--help``. Lines of examples fit 80 columns, so that they can be copied."""

from __future__ import annotations

from batchllm.cli.exits import EXIT_CODES

__all__ = [
    "COMPLETION",
    "COMPLETION_EPILOGUE",
    "ESTIMATE",
    "ESTIMATE_EPILOGUE",
    "ESTIMATE_USAGE",
    "EXPORT",
    "EXPORT_EPILOGUE",
    "GC",
    "GC_EPILOGUE",
    "INIT",
    "INIT_EPILOGUE",
    "JOBS",
    "JOBS_EPILOGUE",
    "JOBS_USAGE",
    "MODELS",
    "PROGRAM",
    "PROGRAM_EPILOGUE",
    "REPORT",
    "REPORT_EPILOGUE",
    "RUN",
    "RUN_EPILOGUE",
    "RUN_USAGE",
    "SERVE_GATE",
    "SERVE_GATE_EPILOGUE",
    "SERVE_SIM",
    "SERVE_SIM_EPILOGUE",
    "SHOW",
    "SHOW_EPILOGUE",
    "STATUS",
    "STATUS_EPILOGUE",
]

PROGRAM = "Large batches of LLM calls: files in, files out."

PROGRAM_EPILOGUE = """\
Try it without a key:

    batchllm run "What is a batch?" -m sim:default
    batchllm run prompts.jsonl -m sim:default -o answers.jsonl
    batchllm report answers.jsonl

`batchllm run --help` has the options, examples and exit codes.
--debug shows where an error came from."""

RUN_USAGE = "Usage: batchllm run INPUT... -m MODEL [-o OUTPUT] [OPTIONS]"

RUN = """\
Send each line of INPUT to a model, and write a row for each.

INPUT is one file or several, or - for standard input; with a space in it and in quotes, it is a \
single prompt, whose answer is printed. The name shows the format, also with .gz behind it:

  .jsonl, .json         objects with a "prompt", or chat "messages", or the
                        fields that --template names; OpenAI's batch files
  .csv, .tsv, .parquet  tables with a column prompt, or one that
                        --prompt-column names
  .txt                  a prompt per line

The "id" of a row is optional; "line-7" stands in for it on line 7. Blank lines are skipped.

Every other line gets one row when it is finished, in the order of completion: id, success, \
output, error, error_category, usage, cost, attempts, calls (requests made, those that met a rate \
limit included), model, started_at, and the input's own fields. Fields of the input that are \
called like one of these are kept under "input". With several inputs each row has its "source". \
A line that cannot be sent, or that has the id of an earlier one, is reported. Its row has the \
error_category invalid_item and its place as "line", and its id unless that is another row's.

Ctrl-C lets calls in flight finish and starts no other; a second one cancels them. SIGTERM does \
the same, and so does a terminal that is closed, unless the program was started with nohup. \
(Where the event loop cannot watch for signals, on Windows with asyncio, Ctrl-C cancels at once.)

Each answer is written to a journal beside the output before its row is. However a run ends, by \
Ctrl-C, a full disk or kill -9, the same command typed again goes on: it asks only for what is not \
finished, and at its end each line has one row. Lines may be added, edited or taken out \
meanwhile; an edited prompt is asked again. Another model, or another setting that changes \
answers, is refused until you say which answers shall count."""

RUN_EPILOGUE = f"""\
Examples

  Try it without a key, against a simulator with a quota and 5 % faults:
    batchllm run prompts.jsonl -m "sim:quota?faults=0.05" -o answers.jsonl

  Fifty calls in flight, at most 500 a minute; the key is in OPENAI_API_KEY:
    batchllm run prompts.jsonl -m openai:gpt-5-mini -o answers.jsonl \\
      --concurrency 50 --rpm 500

  Look at the prompts first, and at what they would take; nothing is sent:
    batchllm run reviews.csv -m openai:gpt-5-mini --dry-run \\
      --template "Is this review glad or sad? One word. {{review}}"

  A table in, a table out, each answer an object that follows a schema:
    batchllm run people.csv -m openai:gpt-5-mini -o people.parquet \\
      --prompt-column text --schema person.json

  One model, and another that takes over if it fails:
    batchllm run prompts.txt -o answers.csv -p top_p=0.9 \\
      -m openai:gpt-5-mini -m anthropic:claude-haiku-4-5

  After a stop, of whatever kind, go on; and try those again that failed:
    batchllm run prompts.jsonl -m openai:gpt-5-mini -o answers.jsonl \\
      --retry-failed

  A server of your own, in a pipe:
    head -100 prompts.txt | batchllm run - --input-format text \\
      -m vllm:qwen3 --base-url http://gpu1:8000/v1 | jq -r .output

{EXIT_CODES}"""

ESTIMATE_USAGE = "Usage: batchllm estimate INPUT... -m MODEL [OPTIONS]"

ESTIMATE = """\
Say how many prompts, tokens, dollars and minutes a run would take; nothing is sent.

It takes the options of `batchllm run`, so that the same command can be tried. Tokens are \
estimated by the length of the prompts: one for four bytes."""

ESTIMATE_EPILOGUE = """\
Example

    batchllm estimate prompts.jsonl -m openai:gpt-5-mini \\
      --max-tokens 200 --rpm 500"""

STATUS = """\
Say how far a run has got, while it goes on or after its end; nothing is changed.

RUN is the run's output, or its journal."""

STATUS_EPILOGUE = """\
Example

    batchllm status answers.jsonl"""

SHOW = """\
Show one line of a run: its prompt, its answer, and each call that was made for it.

RUN is the run's output, or its journal; ID is the id of the row."""

SHOW_EPILOGUE = """\
Example

    batchllm show answers.jsonl p17"""

EXPORT = """\
Write the rows of one or several runs from their journals, while they go on or after their end.

The name of the output shows the format, as for `batchllm run`. The file is put in its place once \
it is whole."""

EXPORT_EPILOGUE = """\
Example

    batchllm export answers.1-of-2.jsonl answers.2-of-2.jsonl -o answers.csv"""

GC = """\
Give back the disk that a run does not need; every result stays.

RUN is the run's output, or its journal. What goes are calls whose results later runs have \
replaced, pages of the journal on which nothing is any more, and new outputs that were not put in \
their place since the run was killed. While a process writes the journal nothing is done."""

GC_EPILOGUE = """\
Example

    batchllm gc answers.jsonl --dry-run
    batchllm gc answers.jsonl"""

REPORT = """\
Write a report of a run, while it goes on or after its end: one page of HTML that needs no network.

It has the throughput and the calls in flight over time with the pauses, latencies and tokens, the \
quota in use, cost by model, failures with examples, the slowest items, the settings, and a table \
of items to be searched. Of a large run some items are shown and all are counted. Keys are masked; \
--no-texts leaves prompts and answers out as well, so that the page can be passed on."""

REPORT_EPILOGUE = """\
Examples

    batchllm report answers.jsonl
    batchllm report answers.jsonl -o report.html --no-texts
    batchllm report answers.jsonl --json"""

INIT = """\
Write a file of settings with a comment for each, for --config.

Every line is commented out and shows a default; what you change goes without the #."""

INIT_EPILOGUE = """\
Example

    batchllm init batch.toml
    batchllm run prompts.jsonl -m sim:default --config batch.toml"""

MODELS = "List the providers and what they need, and the simulator's scenarios."

SERVE_SIM = """\
Answer like an LLM provider, over HTTP, until Ctrl-C.

The first line on standard output is the server's URL. It speaks OpenAI's Chat Completions and \
the other wires of batchllm, so any client can be tried on it. GET /__sim/log gives its record \
of the requests, GET /__sim/stats the counts.

SCENARIO is a name that `batchllm models` lists, with options behind it, such as \
"quota?rpm=600&faults=0.05"."""

SERVE_SIM_EPILOGUE = """\
Examples

  A quota of 3,000 requests a minute, and 5 % of the requests fail:
    batchllm serve-sim "quota?rpm=3000&faults=0.05" --port 8080

  In another shell:
    batchllm run prompts.jsonl -m openai-compatible:any \\
      --base-url http://127.0.0.1:8080/v1"""

SERVE_GATE = """\
Give the calls of many runs the slots of one quota, over HTTP, until Ctrl-C.

The first line on standard output is the server's URL: runs on any machine go there by --share. \
Each declares the same --rpm and --tpm, or none. The secret that they share stands in \
BATCHLLM_GATE_SECRET, here and there; without it a request is refused.

FILE keeps what was sent through a restart, as quotas of a day need it."""

SERVE_GATE_EPILOGUE = """\
Examples

  On one machine:
    export BATCHLLM_GATE_SECRET=$(openssl rand -hex 16)
    batchllm serve-gate --host 10.0.0.5

  On each of the others, with the same secret:
    batchllm run prompts.jsonl -m openai:gpt-5-mini -o 'out.{shard}.jsonl' --shard 1/8 \\
      --rpm 3000 --share http://10.0.0.5:8765"""

COMPLETION = "Print a script that completes commands and options in your shell."

COMPLETION_EPILOGUE = """\
Examples

  bash, in ~/.bashrc:
    eval "$(batchllm completion bash)"

  zsh, in ~/.zshrc behind compinit:
    eval "$(batchllm completion zsh)"

  fish:
    batchllm completion fish > ~/.config/fish/completions/batchllm.fish"""

JOBS_USAGE = "Usage: batchllm jobs RUN [show N | cancel [N ...] | adopt N BATCH | gc]"

JOBS = """\
List the batches of a run with --mode batch, and do something about them.

RUN is its output, or its journal. The list, and `show` with what happened to one batch, need no \
key and work while a run goes on. `cancel` ends batches at the provider; what they have done is \
fetched by the same `batchllm run` typed again, which sends the rest anew. `adopt` binds a batch \
that you have found at the provider to a number whose create had no answer. `gc` deletes the \
provider's files of batches that are over; they expire by themselves otherwise."""

JOBS_EPILOGUE = """\
Examples

    batchllm jobs answers.jsonl
    batchllm jobs answers.jsonl show 3
    batchllm jobs answers.jsonl cancel 3
    batchllm jobs answers.jsonl adopt --account
    batchllm jobs answers.jsonl gc"""
