"""How much of a server's quota is used, and how much is refused: ``python -m benchmarks.quota``.

Everything runs in virtual time. A client with an endless backlog, answers of 2 to 6 seconds and
30 to 150 ms to a refusal meets servers that keep a quota in eight ways. It is told the quota, or
nothing; its refusals carry a hint or none. Two rules that others use meet the same servers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from random import Random
from statistics import fmean

from attrs import frozen

from batchllm.policy import RateLimiter, Limit
from benchmarks._quota_rivals import AimdConcurrency, CubicRate
from benchmarks._quota_servers import MINUTE_TYPES, SERVERS, WINDOW, TokenBucket
from benchmarks._quota_world import Client, Log, Paced, Ways, simulate

Rule = Callable[[str, int, int], Client]


@frozen
class Shares:
    """Shares of the quota that were used, and of the sends that were refused."""

    first: float
    warm: float
    whole: float
    refused: float


def unknown(server: str, quota: int, seed: int) -> Client:
    return Paced(RateLimiter(rng=Random(seed), calls=1000))


def known(server: str, quota: int, seed: int) -> Client:
    window = WINDOW.get(server)
    if server == "bucket 1 s deep" and quota <= 60:
        window = 1.0  # it holds a single request, so the declaration has to say that
    limit = Limit("requests", quota, window=window, jitter=0.1)
    return Paced(RateLimiter(rng=Random(seed), calls=1000, limits=[limit]))


RULES: dict[str, Rule] = {
    "batchllm, told": known,
    "batchllm": unknown,
    "AIMD on calls": lambda *_: AimdConcurrency(),
    "CUBIC rate": lambda *_: CubicRate(),
}


def run(rule: str, server: str, quota: int, *, hints: bool, seed: int, seconds: float) -> Shares:
    """One client against one server for *seconds*."""
    rng = Random(f"{server} {quota} {seed}")
    place = SERVERS[server](quota, rng.random())
    client = RULES[rule](server, quota, seed)
    log = simulate(client, place, rng=rng, hints=hints, until=seconds)
    early, warm = min(300.0, seconds), min(600.0, seconds / 2)

    def used(begin: float, end: float) -> float:
        return log.accepted_between(begin, end) / (quota * (end - begin) / 60)

    refused = log.refused_share()
    return Shares(used(0, early), used(warm, seconds), used(0, seconds), refused)


def short_job(told: bool, *, hints: bool, seed: int, slow_refusal: bool) -> Log:
    """2,000 items of 50 ms against 50 requests a second with a burst of 50."""
    limits = [Limit("requests", 3000)] if told else []
    mind = RateLimiter(rng=Random(seed), calls=200, limits=limits)
    way = (0.024, 0.026) if slow_refusal else (0.001, 0.002)
    answer = (0.0, 0.002) if slow_refusal else (0.046, 0.048)
    ways = Ways(there=way, back=way, answer=answer)
    server = TokenBucket(50, 50)
    return simulate(
        Paced(mind), server, rng=Random(seed), hints=hints, items=2000, until=600.0, ways=ways
    )


def table(rules: Iterable[str], quotas: Iterable[int], seeds: int, seconds: float) -> None:
    head = f"{'rule':15} {'server':25} {'quota':>5} hint   5 min    warm     min   whole  refused"
    print(f"{head}   worst\n{'-' * (len(head) + 8)}")
    for rule in rules:
        for server in SERVERS:
            for quota in quotas:
                for hints in (False, True):
                    print(_row(rule, server, quota, hints, seeds, seconds), flush=True)


def _row(rule: str, server: str, quota: int, hints: bool, seeds: int, seconds: float) -> str:
    runs = [
        run(rule, server, quota, hints=hints, seed=seed, seconds=seconds) for seed in range(seeds)
    ]
    refused = [each.refused for each in runs]
    marks = _missed(rule, server, quota, runs)
    return (
        f"{rule:15} {server:25} {quota:5} {'yes' if hints else 'no ':4} "
        f"{fmean(each.first for each in runs):7.1%} {fmean(each.warm for each in runs):7.1%} "
        f"{min(each.warm for each in runs):7.1%} {fmean(each.whole for each in runs):7.1%} "
        f"{fmean(refused):8.2%} {max(refused):7.2%}{marks}"
    )


def _missed(rule: str, server: str, quota: int, runs: list[Shares]) -> str:
    """What of the goals a row of ours does not meet."""
    warm, refused = fmean(each.warm for each in runs), max(each.refused for each in runs)
    if rule == "batchllm, told":
        minute = server in MINUTE_TYPES and quota >= 100
        return "  <- missed" if refused or (minute and warm < 0.99) else ""
    if rule != "batchllm" or server not in MINUTE_TYPES or quota < 100:
        return ""
    least = 0.97 if "counts refusals" in server else 0.98
    mean = fmean(each.refused for each in runs)
    return "  <- missed" if warm < least or mean >= 0.01 else ""


def short_table(seeds: int) -> None:
    print("\nshort job: 2,000 items, 50 ms, 50/s with a burst of 50; ideal 40.0 s")
    for told in (True, False):
        for hints in (False, True):
            for slow in (False, True):
                logs = [
                    short_job(told, hints=hints, seed=seed, slow_refusal=slow)
                    for seed in range(seeds)
                ]
                longest = max(log.ended for log in logs)
                refused = max(log.refused_share() for log in logs)
                goal = (1.03, 0.0) if told else (1.15, 0.03)
                missed = longest > goal[0] * 40 or refused > goal[1]
                print(
                    f"  {'told' if told else 'not told':8} hints {'yes' if hints else 'no ':3} "
                    f"refusals after {50 if slow else 3:2} ms: longest {longest:5.2f} s = "
                    f"{longest / 40:.3f} x ideal, refused at most {refused:.2%}"
                    f"{'  <- missed' if missed else ''}"
                )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, 20 minutes, 600/min")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--rules", nargs="*", choices=tuple(RULES), default=tuple(RULES))
    asked = parser.parse_args()
    seeds = 1 if asked.quick else asked.seeds
    short_table(3 if asked.quick else seeds)
    print()
    quotas = (600,) if asked.quick else (60, 600, 3000)
    table(asked.rules, quotas, seeds, 1200.0 if asked.quick else 3600.0)


if __name__ == "__main__":
    main()
