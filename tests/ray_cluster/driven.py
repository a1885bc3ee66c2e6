"""A program that runs a dataset on a cluster of its own: ``driven.py URL JOURNAL``."""

from __future__ import annotations

import sys

import ray
import ray.data

from batchllm import llm
from batchllm.ray import run_dataset


def main(url: str, journal: str) -> None:
    """Ask about 300 rows, slowly."""
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    rows = [{"id": n, "prompt": f"item {n}"} for n in range(300)]
    out = run_dataset(
        ray.data.from_items(rows),
        llm("openai-compatible:m", base_url=f"{url}/v1"),
        journal=journal,
        workers=2,
        requests_per_minute=900,
        concurrency=5,
        block_rows=50,
    )
    print("rows", out.count())


if __name__ == "__main__":
    main(*sys.argv[1:])
