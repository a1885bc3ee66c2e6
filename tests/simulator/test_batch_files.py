"""The form by which a file is uploaded, as several clients write it."""

from __future__ import annotations

import httpx
import pytest

from batchllm.simulator.batches.files import read_form
from batchllm.simulator.wires import WireRequest

LINES = b'{"a": 1}\r\n\r\n--x\r\n{"b": 2}\n'
"""Content that looks like the end of a header and of a part."""


def request(body: bytes, kind: str) -> WireRequest:
    return WireRequest(method="POST", target="/v1/files", headers={"content-type": kind}, body=body)


@pytest.mark.parametrize("name", ["batch.jsonl", "a;b.jsonl", "über.jsonl", "of a = b.jsonl"])
def test_the_form_of_httpx_is_read(name: str) -> None:
    """The SDKs send it."""
    fields = {"purpose": "batch", "expires_after[anchor]": "created_at"}
    sent = httpx.Request("POST", "http://s/", data=fields, files={"file": (name, LINES)})
    sent.read()
    read = read_form(request(sent.content, sent.headers["content-type"]))
    assert read == (fields, name, LINES)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('filename="a.jsonl"', "a.jsonl"),
        ("filename=a.jsonl", "a.jsonl"),
        ("filename*=utf-8''%C3%BCber.jsonl", "über.jsonl"),
        ('FileName="a.jsonl"', "a.jsonl"),
        ('filename=""', ""),
    ],
)
def test_a_name_is_read_however_it_is_written(said: str, name: str) -> None:
    """With headers in any order and case, and a boundary in quotes."""
    body = (
        "--b 1\r\ncontent-TYPE: text/plain\r\n"
        f'content-disposition:form-data; name="file"; {said}\r\n\r\n'
    ).encode()
    body += LINES + b"\r\n--b 1\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
    body += b"--b 1--\r\n"
    read = read_form(request(body, 'multipart/form-data; boundary="b 1"'))
    assert read == ({"purpose": "batch"}, name, LINES)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data"])
def test_what_is_no_form_has_no_file(kind: str) -> None:
    assert read_form(request(b"{}", kind)) == ({}, "", None)
