"""The testing kit: virtual time, scripted strategies, a recording observer, a mock agent.

``batchllm.testing.strategies`` has Hypothesis strategies for settings, faults and traces; it is
not imported here, since it needs Hypothesis.
"""

from batchllm.journal import open_inline_worker
from batchllm.testing.agent import MockAgent, MockRun, MockUsage
from batchllm.testing.clock import Backend, run_inline, virtual_run, virtual_time
from batchllm.testing.observer import RecordingObserver
from batchllm.testing.scripted import Script, ScriptedCall, ScriptedStrategy
from batchllm.testing.steps import Answer, Hang, Leak, LeaveScopeOpen, Raise, Return, Step, play

__all__ = [
    "Answer",
    "Backend",
    "Hang",
    "Leak",
    "LeaveScopeOpen",
    "MockAgent",
    "MockRun",
    "MockUsage",
    "Raise",
    "RecordingObserver",
    "Return",
    "Script",
    "ScriptedCall",
    "ScriptedStrategy",
    "Step",
    "open_inline_worker",
    "play",
    "run_inline",
    "virtual_run",
    "virtual_time",
]
