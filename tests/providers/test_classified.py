"""The meaning of the simulator's faults once provider and classifier have read them."""

import pytest

from batchllm.core import Category
from batchllm.providers import ChatModel, EmbeddingStrategy
from batchllm.simulator import Simulator, SimulatorTransport

pytestmark = pytest.mark.anyio

MEANINGS = {
    "400": Category.INVALID_REQUEST,
    "401": Category.AUTHENTICATION,
    "403": Category.PERMISSION,
    "404": Category.MODEL_NOT_FOUND,
    "429": Category.RATE_LIMIT,
    "500": Category.SERVER_ERROR,
    "502-html": Category.SERVER_ERROR,
    "503": Category.OVERLOADED,
    "connect": Category.CONNECTION,
    "content-filter": Category.FILTERED,
    "content-policy": Category.FILTERED,
    "context-length": Category.TOO_LARGE,
    "disconnect-body": Category.CONNECTION,
    "empty-body": Category.SERVER_ERROR,
    "error-200": Category.SERVER_ERROR,
    "insufficient-quota": Category.INSUFFICIENT_QUOTA,
    "malformed-body": Category.SERVER_ERROR,
    "refusal": Category.FILTERED,
    "too-large": Category.TOO_LARGE,
}


@pytest.mark.parametrize("fault", sorted(MEANINGS))
async def test_a_fault_keeps_its_meaning(fault: str) -> None:
    """From the wire through the provider to the classifier, a fault arrives as what it is."""
    http = SimulatorTransport(Simulator("default"))
    model = ChatModel("m", base_url="http://sim.test/v1", api_key="k", http=http)
    try:
        await model.generate(f"[[fault:{fault}]]")
    except Exception as error:  # whichever it is
        info = model.error_classifier.classify(error)
    else:
        pytest.fail("the fault did not show")
    assert info.error_category == MEANINGS[fault]


async def test_embeddings_errors_are_read_alike() -> None:
    """An embedding strategy names a classifier, too."""
    http = SimulatorTransport(Simulator("strict"))
    strategy = EmbeddingStrategy("m", base_url="http://sim.test/v1", api_key="k", http=http)
    try:
        await strategy.execute("x", 1, 10.0)
    except Exception as error:  # whichever it is
        info = strategy.error_classifier.classify(error)
    else:
        pytest.fail("the wrong key was accepted")
    assert info is not None
    assert info.error_category == Category.AUTHENTICATION
