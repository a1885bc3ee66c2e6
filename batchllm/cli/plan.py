"""The plan of a command, made before anything is sent or written."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from batchllm.cli.arguments import Sources, sources_of
from batchllm.cli.choice import Choice, Chooser, Shard
from batchllm.cli.exits import UsageError
from batchllm.cli.formats import format_of_input
from batchllm.cli.inputs import Input, open_input
from batchllm.cli.journaling import SUFFIX
from batchllm.cli.output_names import check_output, check_unread
from batchllm.cli.prompts import Line, PromptRules
from batchllm.cli.settings import RunSettings, option_names
from batchllm.cli.source import LineSource, Taken

__all__ = ["Plan", "PromptSource", "open_plan"]


@define(eq=False)
class PromptSource:
    """The one prompt that was typed, in the place of files.

    Attributes:
        prompt: The prompt.
        rules: A template may go round it.
    """

    prompt: str
    rules: PromptRules
    is_regular: bool = field(default=True, init=False)
    name: str = field(default="the prompt", init=False)

    def items(self) -> Any:
        """Return the one item."""
        line = self._line()
        taken = Taken(line, self.name, None, keeps_id=False)
        return [("prompt", None if line.problem else line.prompt, taken)]

    def all_taken(self) -> Iterator[Taken]:
        """Yield its line."""
        yield Taken(self._line(), self.name, None, keeps_id=False)

    def count(self) -> int:
        """Return that there is one."""
        return 1

    def columns(self) -> list[str]:
        """Return its one field."""
        return ["prompt"]

    def _line(self) -> Line:
        return self.rules.line(1, {"prompt": self.prompt})


@frozen(kw_only=True)
class Plan:
    """A run to be made.

    Attributes:
        source: The lines.
        output: The name of the output.
        single: Whether a single prompt was typed, whose answer alone is wanted.
        inputs: The names of the files.
        notes: Sentences that the user should read first.
    """

    source: LineSource | PromptSource
    output: str
    single: bool
    inputs: tuple[str, ...]
    notes: tuple[str, ...] = ()


@contextmanager
def open_plan(words: Sequence[str], settings: RunSettings) -> Generator[Plan]:
    """Open the inputs, and look whether they can be what they are said to be.

    Raises:
        UsageError: An input or an option is wrong.
    """
    choice = Choice(
        limit=settings.limit,
        sample=settings.sample,
        seed=settings.seed,
        shard=None if settings.shard is None else Shard.parse(settings.shard),
    )
    output = _output_name(settings, choice)
    rules = _rules(settings)
    sources = sources_of(words, option_names())
    others = _other_files(settings)
    check_output(output, sources.files, others)
    journal = f"{output}{SUFFIX}" if settings.journal is None else str(settings.journal)
    used = {**dict.fromkeys(sources.files, "the input"), **others, output: "the output"}
    check_unread(f"the journal {journal}", journal, used)
    if sources.prompt is not None:
        typed = PromptSource(sources.prompt, rules)
        yield Plan(source=typed, output=output, single=output == "-", inputs=())
        return
    with ExitStack() as files:
        inputs = [files.enter_context(closing(one)) for one in _open(sources, settings, rules)]
        notes = tuple(note for one in inputs if (note := one.check()) is not None)
        source = LineSource(inputs, _chooser(choice, inputs), settings.keep_prompt)
        yield Plan(
            source=source, output=output, single=False, inputs=sources.files, notes=tuple(notes)
        )


def _open(sources: Sources, settings: RunSettings, rules: PromptRules) -> Iterator[Input]:
    forms = [(name, format_of_input(name, settings.input_format)) for name in sources.files]
    for name, form in forms:
        yield open_input(name, form, rules)


def _chooser(choice: Choice, inputs: Sequence[Input]) -> Chooser:
    if choice.sample is None:
        return Chooser(choice)
    if not all(one.regular for one in inputs):
        msg = "--sample needs to know how many lines there are: give a file, or --limit for a pipe"
        raise UsageError(msg)
    return Chooser(choice, sum(one.count() for one in inputs))


def _output_name(settings: RunSettings, choice: Choice) -> str:
    output, shard = settings.output, choice.shard
    if shard is None:
        if "{shard}" in output:
            msg = f"the output {output} has {{shard}} in its name; give --shard k/n"
            raise UsageError(msg)
        return output
    if output != "-" and "{shard}" not in output:
        path = Path(output)
        msg = (
            f"--shard {settings.shard}: several runs would write {output}; give a name with "
            f"{{shard}} in it, such as {path.with_name(path.stem + '.{shard}' + path.suffix)}"
        )
        raise UsageError(msg)
    return output.replace("{shard}", f"{shard.number}-of-{shard.of}")


def _other_files(settings: RunSettings) -> dict[str, str]:
    """Return the files that a run reads beside its inputs, and what each is."""
    files = {
        "the template": settings.template_file,
        "the file of settings": settings.config,
        "the schema": settings.schema,
    }
    return {str(name): role for role, name in files.items() if name is not None}


def _rules(settings: RunSettings) -> PromptRules:
    text, option = settings.template, "--template"
    if settings.template_file is not None:
        if text is not None:
            msg = "--template and --template-file cannot be given together"
            raise UsageError(msg)
        option = f"--template-file {settings.template_file}"
        try:
            text = settings.template_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{option} cannot be read: {getattr(error, 'strerror', None) or error}"
            raise UsageError(msg) from None
    if text is None:
        return PromptRules(prompt_field=settings.prompt_column, id_field=settings.id_column)
    if settings.prompt_column is not None:
        msg = f"{option.split()[0]} and --prompt-column cannot be given together"
        raise UsageError(msg)
    from batchllm.cli.templates import Template  # its library takes a while to load

    return PromptRules(Template.parse(text, option), id_field=settings.id_column)
