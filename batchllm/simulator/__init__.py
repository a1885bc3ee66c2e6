"""A provider that answers from a seed, for tests, demonstrations and benchmarks.

`Simulator` decides and renders without I/O. `SimulatorTransport` lets any httpx client talk to it
in virtual time, `open_pipes` does so for other transports, `serve` listens on loopback. It shares
no code with the providers of batchllm, so that each is a test of the other.
"""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.simulator.admission import (
        AdmissionModel,
        ConcurrencyCap,
        FixedWindow,
        ServiceQueue,
        SlidingLog,
        Ticket,
        TokenBucket,
    )
    from batchllm.simulator.batches import BatchBehaviour, Batches, InvoiceLine, Job, Mishap
    from batchllm.simulator.distributions import Distribution, Fixed, LogNormal, Uniform
    from batchllm.simulator.faults import FAULT_NAMES, TRANSIENT_MIX, FaultPlan
    from batchllm.simulator.inprocess import SimulatorTransport
    from batchllm.simulator.log import LogEntry, SimulatorLog
    from batchllm.simulator.pipe import open_pipes
    from batchllm.simulator.quota_models import (
        GrowingByUse,
        HintRule,
        LeakyQueue,
        Limits,
        ParallelCalls,
        QuotaServer,
        RandomRefusals,
        RefusesFrom,
        Schedule,
        Slots,
        Verdict,
        always_hint,
        exact_hint,
        no_hint,
        stretched_hint,
    )
    from batchllm.simulator.scenarios import PROFILES, SCENARIOS, Scenario, parse_scenario, scenario
    from batchllm.simulator.server import SimulatorServer, run_server, serve
    from batchllm.simulator.simulator import Exchange, Simulator
    from batchllm.simulator.wires import WireReply, WireRequest
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.simulator.admission": """
                AdmissionModel ConcurrencyCap FixedWindow ServiceQueue SlidingLog
                Ticket TokenBucket
            """,
            "batchllm.simulator.batches": "BatchBehaviour Batches InvoiceLine Job Mishap",
            "batchllm.simulator.distributions": "Distribution Fixed LogNormal Uniform",
            "batchllm.simulator.faults": "FAULT_NAMES TRANSIENT_MIX FaultPlan",
            "batchllm.simulator.inprocess": "SimulatorTransport",
            "batchllm.simulator.log": "LogEntry SimulatorLog",
            "batchllm.simulator.pipe": "open_pipes",
            "batchllm.simulator.quota_models": """
                GrowingByUse HintRule LeakyQueue Limits ParallelCalls QuotaServer
                RandomRefusals RefusesFrom Schedule Slots Verdict always_hint
                exact_hint no_hint stretched_hint
            """,
            "batchllm.simulator.scenarios": "PROFILES SCENARIOS Scenario parse_scenario scenario",
            "batchllm.simulator.server": "SimulatorServer run_server serve",
            "batchllm.simulator.simulator": "Exchange Simulator",
            "batchllm.simulator.wires": "WireReply WireRequest",
        },
    )

__all__ = [
    "FAULT_NAMES",
    "PROFILES",
    "SCENARIOS",
    "TRANSIENT_MIX",
    "AdmissionModel",
    "BatchBehaviour",
    "Batches",
    "ConcurrencyCap",
    "Distribution",
    "Exchange",
    "FaultPlan",
    "Fixed",
    "FixedWindow",
    "GrowingByUse",
    "HintRule",
    "InvoiceLine",
    "Job",
    "LeakyQueue",
    "Limits",
    "LogEntry",
    "LogNormal",
    "Mishap",
    "ParallelCalls",
    "QuotaServer",
    "RandomRefusals",
    "RefusesFrom",
    "Scenario",
    "Schedule",
    "ServiceQueue",
    "Simulator",
    "SimulatorLog",
    "SimulatorServer",
    "SimulatorTransport",
    "SlidingLog",
    "Slots",
    "Ticket",
    "TokenBucket",
    "Uniform",
    "Verdict",
    "WireReply",
    "WireRequest",
    "always_hint",
    "exact_hint",
    "no_hint",
    "open_pipes",
    "parse_scenario",
    "run_server",
    "scenario",
    "serve",
    "stretched_hint",
]
