"""Estimates of a run that is not made: for ``estimate`` and ``--dry-run``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import evolve, field, frozen

from batchllm.cli.configuring import processor_config
from batchllm.cli.exits import ExitCode
from batchllm.cli.plan import Plan, open_plan
from batchllm.cli.pricing import how_far, no_price
from batchllm.cli.settings import AUTO_CEILING, RunSettings
from batchllm.cli.snapshot import duration_in_words
from batchllm.cli.strategies import check_strategy
from batchllm.core import ProcessorConfig
from batchllm.policy import PriceBook, prompt_bytes

__all__ = ["Estimate", "dry_run", "print_estimate"]

_PROMPTS_SHOWN = 3
_PROBLEMS_SHOWN = 5
_LETTERS_SHOWN = 600
_BYTES_PER_TOKEN = 4
"""Bytes of English text that one token stands for, in all common vocabularies."""

_MESSAGE_TOKENS = 4
"""Tokens that providers add for each message, about."""


@frozen(kw_only=True)
class Estimate:
    """The costs of a run that is not made.

    Attributes:
        items: Prompts that would be sent.
        refused: Lines that cannot be sent.
        input_tokens: About so many, by the bytes of the prompts.
        output_tokens: At most so many; ``None`` if ``--max-tokens`` does not bound the answers.
        cost: US dollars, of the input alone if the output has no bound; ``None`` without a price.
        budget: US dollars that the run may spend; ``None`` without a bound.
        in_batches: If the provider's own batches are to be used, which cost half.
        seconds: At least so long by the quota; ``None`` if none is known.
    """

    items: int
    refused: int
    input_tokens: int
    output_tokens: int | None
    cost: float | None = None
    budget: float | None = None
    in_batches: bool = False
    seconds: float | None = None
    prompts: tuple[Any, ...] = field(default=(), repr=False)
    problems: tuple[str, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for a script."""
        names = ("items", "refused", "input_tokens", "output_tokens", "cost", "budget", "seconds")
        return {name: getattr(self, name) for name in names}


def print_estimate(words: Sequence[str], settings: RunSettings, *, as_json: bool) -> ExitCode:
    """Print what a run would take.

    Raises:
        UsageError: An input, the model or a setting is wrong.
    """
    with open_plan(words, settings) as plan:
        found = _estimate(plan, settings)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        print("\n".join([*_facts(found, settings), *_refused(found)]))
    return ExitCode.OK


def dry_run(plan: Plan, settings: RunSettings, *, as_json: bool = False) -> ExitCode:
    """Show what a run would send. No key is needed, but everything else is checked.

    Args:
        plan: The run.
        settings: Its options.
        as_json: Whether to give the estimate alone, for a script.

    Raises:
        UsageError: The model, a parameter or a setting is wrong.
    """
    found = _estimate(plan, settings)
    if as_json:
        print(json.dumps(found.to_dict()))
        return ExitCode.OK
    lines = ["Nothing is sent: this is a dry run.", ""]
    for place, prompt in found.prompts:
        lines += [f"{place}:", *_shown(prompt, settings), ""]
    if found.items > len(found.prompts):
        lines += [f"… and {found.items - len(found.prompts):,} more", ""]
    lines += [*_facts(found, settings), *_settings(plan, settings), *_refused(found)]
    print("\n".join(lines))
    return ExitCode.OK


def _estimate(plan: Plan, settings: RunSettings) -> Estimate:
    config, first = processor_config(settings), check_strategy(settings)[0]
    price = PriceBook(config.prices).of(first)
    if price is not None and settings.mode == "batch":
        from batchllm.provider_batch import HALF  # a tenth of what is loaded, and for few

        price = price.scaled(HALF)
    around = prompt_bytes(settings.system or "") // _BYTES_PER_TOKEN + _MESSAGE_TOKENS
    items = refused = tokens = 0
    cost = 0.0
    prompts: list[Any] = []
    problems: list[str] = []
    for taken in plan.source.all_taken():
        if taken.line.problem is not None:
            refused += 1
            problems.append(f"{taken.place}: {taken.line.problem}")
            del problems[_PROBLEMS_SHOWN:]
            continue
        items += 1
        given = prompt_bytes(taken.line.prompt) // _BYTES_PER_TOKEN + around
        tokens += given
        if price is not None:  # of each by itself, since a long prompt may have another price
            answer = settings.max_tokens or 0
            cost += price.cost({"input_tokens": given, "output_tokens": answer}) or 0.0
        if len(prompts) < _PROMPTS_SHOWN:
            prompts.append((taken.place, taken.line.prompt))
    bound = None if settings.max_tokens is None else settings.max_tokens * items
    found = Estimate(
        items=items,
        refused=refused,
        input_tokens=tokens,
        output_tokens=bound,
        cost=None if price is None else cost,
        budget=None if config.budget is None else config.budget.max_cost,
        in_batches=settings.mode == "batch",
        prompts=tuple(prompts),
        problems=tuple(problems),
    )
    return found if found.in_batches else evolve(found, seconds=_seconds(found, config))


def _seconds(found: Estimate, config: ProcessorConfig) -> float | None:
    """Return how long the known quotas make a run last: the slowest of them decides."""
    rpm, tpm = config.max_requests_per_minute, config.max_tokens_per_minute
    tokens = found.input_tokens + (found.output_tokens or 0)
    spans = [60.0 * amount / most for amount, most in ((found.items, rpm), (tokens, tpm)) if most]
    return max(spans, default=None)


def _facts(found: Estimate, settings: RunSettings) -> list[str]:
    out = "unknown; --max-tokens bounds them"
    if found.output_tokens is not None:
        out = f"at most {found.output_tokens:,}"
    facts = [("Prompts", f"{found.items:,}"), ("Tokens in", f"about {found.input_tokens:,}")]
    facts.append(("Tokens out", out))
    whole = found.output_tokens is not None
    if found.cost is not None:
        of = " at most" if whole else " for the input alone"
        if found.cost:
            half = ", at the price of batches" if found.in_batches else ""
            facts.append(("Cost", f"about ${found.cost:,.4f}{of}{half}"))
        if found.budget is not None:
            reach = how_far(found.budget, found.cost, found.items, whole=whole)
            facts.append(("Budget", reach))
    else:
        facts.append(("Cost", no_price(PriceBook(), settings.model[0])))
    if found.in_batches:
        facts.append(("Time", "minutes to a day, as the provider has room"))
    elif found.seconds is None:
        facts.append(("Time", "no quota is known; --rpm and --tpm give one"))
    else:
        facts.append(("Time", f"at least {duration_in_words(found.seconds)} by the quota given"))
    if found.refused:
        facts.append(("Refused", f"{found.refused:,} cannot be sent"))
    return [f"{name:<10}  {text}" for name, text in facts]


def _refused(found: Estimate) -> list[str]:
    if not found.refused:
        return []
    return ["", "Lines that cannot be sent", *(f"  {problem}" for problem in found.problems)]


def _settings(plan: Plan, settings: RunSettings) -> list[str]:
    """Return the settings of the run, those that are given."""
    concurrency = settings.concurrency or "auto"
    calls = f"auto (up to {AUTO_CEILING})" if concurrency == "auto" else str(concurrency)
    facts = [("Model", " then ".join(settings.model)), ("Calls", f"{calls} in flight")]
    for name, value in (("rpm", settings.rpm), ("tpm", settings.tpm)):
        if value is not None:
            facts.append((name, f"{value:,g} a minute"))
    facts += [("Parameter", word) for word in settings.parameter]
    if settings.temperature is not None:
        facts.append(("Parameter", f"temperature={settings.temperature:g}"))
    output = "standard output" if plan.output == "-" else plan.output
    return [f"{name:<10}  {text}" for name, text in [*facts, ("Rows to", output)]]


def _shown(prompt: Any, settings: RunSettings) -> list[str]:
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False, indent=2)
    if len(text) > _LETTERS_SHOWN:
        text = f"{text[:_LETTERS_SHOWN]}… ({len(text):,} letters)"
    system = [f"  system: {settings.system}"] if settings.system else []
    return [*system, *(f"  {line}" for line in text.splitlines())]
