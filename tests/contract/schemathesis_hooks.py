"""What schemathesis has to know of the stand-in: how an answer of JSON is had from it."""

from __future__ import annotations

from typing import Any

import schemathesis

#: The stand-in is no model and makes no JSON of itself, but it repeats some: what the schema of the
#: document's example describes. Schemas of random words demand nothing, and so it is valid by them as well.
ASKS_FOR_JSON = [{"role": "user", "content": '[[demo:echo]] {"name": "Ada Lovelace", "year": 1843}'}]


def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Have JSON answered where JSON is wanted, if the request is one that is to be taken."""
    del context, kwargs
    body = case.body if isinstance(case.body, dict) else {}
    wanted = body.get("response_format")
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and isinstance(wanted, dict) and wanted.get("type") in {"json_object", "json_schema"}:
        case.body = {**body, "messages": ASKS_FOR_JSON}


schemathesis.hook(before_call)
