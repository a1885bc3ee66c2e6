"""The mind of one gate: everything that decides when the next call of a quota scope may start.

It joins the declared limits, the cooldown, the search for an undeclared quota, the ramp of a cold
start and the cap on calls in flight, so that the gate, a simulation and a benchmark run the same
code. It is pure: ``now`` is seconds on any monotonic clock, chance comes from the ``rng`` given.

    mind = GateMind(
        limits=(),             # iterable of Limit: declared, never exceeded
        calls=None,            # cap on calls in flight; None is no cap
        cooldown=CooldownPolicy(),
        park_after=120.0,      # seconds; a longer hint parks the scope
        rng=random.Random(),
        learned=None,          # Learned: what an earlier run found out, as ages
        settlement="refund",   # how the provider books tokens: "refund", "keep", "input_only"
        ramp=4,                # calls in flight at a cold start; None starts without a ramp
    )

One call, without waiting in between:

    limit = mind.oversize(cost)            # the Limit that this cost can never pass, or None
    at = mind.next_time(now, cost)         # <= now: send. Later: ask again then. inf: ask again
                                           # after the next on_*() of any call (or it is oversize,
                                           # or the scope is parked: mind.parked)
    send = mind.on_send(now, cost)         # -> Send; only if next_time(now, cost) <= now
    mind.on_result(now, send, outcome, hint=None, input_tokens=None, output_tokens=None)
    mind.on_cancel(now, send)              # instead: its bytes may have left; nothing is given back
    mind.on_release(now, send)             # instead: its bytes never left; all is given back

Each ``Send`` ends by exactly one of the last three; a second one raises ``ValueError``. ``outcome``
is an ``Outcome`` or its string, ``hint`` a ``ServerHint | None``; token counts are what the
provider reported. All are synchronous and never raise for what a server said.

    mind.free           # True: next_time is now whatever the cost, as long as calls allow
    mind.in_flight      # calls sent and not ended
    mind.calls          # the cap, or None
    mind.set_calls(n)   # int | None, from now on; calls in flight are not touched
    mind.parked         # Parked(cause, until) | None; `until` is an instant of `now`, or None
    mind.reopen(now)    # leave the parked state through a canary
    mind.on_breaker(now)           # the retry budget is empty: gate and canary
    mind.snapshot(now)  # -> GateSnapshot: state, cause, until, in_flight, calls, pace, lo, hi,
                        #    episodes, throttled, refused_share, sends, consecutive
    mind.learned(now)   # -> Learned | None, to hand to the next run
    mind.drain_events() # -> list[GateEvent], oldest first, and forgets them:
                        #    EpisodeStarted(at, cause, until, hinted), CooldownEnded(at, cause,
                        #    length), BracketMoved(at, pace, lo, hi), ScopeParked(at, cause, until)

Laws: while the scope cools nothing is sent, then one canary, and only when it has not been refused
does the line move again, paced; admission takes every dimension or none.
"""
