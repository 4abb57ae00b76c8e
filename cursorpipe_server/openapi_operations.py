"""The JSON schemas of the models and of what operators ask for, as the OpenAPI document holds them."""

from __future__ import annotations

from cursorpipe_core import SlotState, Strategy
from cursorpipe_server.openapi_shapes import Schema, count, list_of, members, one_of, ref, text

MODELS: dict[str, Schema] = {
    "Model": members(
        {
            "id": text("The name that `model` takes."),
            "object": {"const": "model"},
            "created": {
                "type": "integer",
                "description": "Unix time in seconds; a fixed date: the agent tells none.",
            },
            "owned_by": text(
                "Who makes models of this family, by the name: `anthropic`, `openai`, `google`, …; `cursor` "
                "for all others."
            ),
        },
        about="A model that can be asked for.",
    ),
    "ModelList": members(
        {
            "object": {"const": "list"},
            "data": list_of(ref("Model"), "`auto` is the first, aliases come last."),
        },
        about="The models that can be asked for.",
    ),
}

_READINESS: dict[str, Schema] = {
    "version": text("The version of cursorpipe."),
    "ready": {"type": "boolean", "description": "A request made now would be served."},
    "reason": text("Why not, if not, or why by no worker.", null=True),
    "strategy": one_of(Strategy, "Which backends serve."),
    "workers": list_of(ref("Worker"), "The agents that are kept alive."),
    "draining": count("Workers that have been replaced and finish what they have."),
    "subprocesses": count("Agents that run for one request each, now."),
    "waiting": count("Requests that wait for their turn."),
    "tools": ref("ToolsState"),
}


def _time(about: str) -> Schema:
    return {**text(about), "format": "date-time"}


OPERATIONS: dict[str, Schema] = {
    "Health": members({"status": {"const": "ok"}}, about="The server is up."),
    "Readiness": members(_READINESS, about="Whether an agent can serve, and what each one does."),
    "Status": members(
        {
            **_READINESS,
            "at": _time("When this was so."),
            "started_at": _time("When the server started."),
            "demo": {"type": "boolean", "description": "The answers are a stand-in's, not Cursor's."},
            "agent": members(
                {
                    "path": text("The command of the agent.", null=True),
                    "version": text("The build it names.", null=True),
                    "reason": text("Why one of them is not known, if so.", null=True),
                },
                about="The agent as it was found within the last minute.",
            ),
            "in_flight": count("Requests that are being served, but this one."),
            "windows": list_of(ref("StatusTotals"), "The last 1, 5 and 30 minutes, all until now."),
            "moments": list_of(
                ref("StatusTotals"),
                "The last 30 minutes in spans of 10 seconds, the oldest first; the last one is not over.",
            ),
            "errors": list_of(ref("StatusError"), "The last 20 errors, the latest first."),
        },
        about=(
            "What the server and its agents do, and what requests have come to; those for the status itself, "
            "for metrics, checks and documents left out."
        ),
    ),
    "StatusTotals": members(
        {
            "seconds": {"type": "number", "minimum": 0, "description": "How long the span is."},
            "requests": count("Requests that ended in it."),
            "failed": count("Those of them that ended with an error."),
            "first_text_s": {
                "type": ["number", "null"],
                "minimum": 0,
                "description": (
                    "The median time to the first text, in seconds; of the last 64 answers of each span."
                ),
            },
        },
        about="The requests of a span of time.",
    ),
    "StatusError": members(
        {
            "at": _time("When it happened last."),
            "route": text("The route of the request, `other` if it went to none."),
            "code": text("The cause, for programs."),
            "message": text("The cause in words, without anything that was asked or answered."),
            "request_id": text("The last request that ended so."),
            "count": count("How many requests have, since it is in this list."),
        },
        about="An error that requests ended with.",
    ),
    "ToolsState": members(
        {
            "channel": text("How agents come to their callers' tools; null if in no way.", null=True),
            "proven": {"type": "boolean", "description": "An agent has come to them so."},
            "parked": count("Turns that wait now for what tools give."),
            "calls": count("Calls that agents have made."),
            "groups": count("Answers that ended with calls."),
            "new": count("Turns that began with tools."),
            "resumed": count("Turns that went on with the results of their calls."),
            "rebuilt": count("Conversations with results that were begun anew."),
            "expired": count("Turns whose results did not come in time."),
            "died": count("Turns whose agent was gone before the results came."),
            "refused": count("Requests refused because too many turns waited."),
        },
        about="How callers' tools fare; all counts but `parked` are since the start.",
    ),
    "Worker": members(
        {
            "slot": count("The place of the worker; it outlives its process."),
            "state": one_of(SlotState, "Where the worker is in its life."),
            "reason": text("Why it is in this state, where there is something to say.", null=True),
            "pid": {"type": ["integer", "null"], "description": "The process, if there is one."},
            "restarts": count("How often it was started again."),
            "in_flight": count("Requests it serves now."),
            "sessions_ready": count("Sessions that wait for a request."),
            "notes": list_of({"type": "string"}, "What the operator should know of it."),
            "permissions_refused": count("Permission requests of the agent that were refused."),
            "model": text("The model of a worker that serves no other.", null=True),
            "rss_bytes": count("Its memory, with its children, when it was last looked at; 0 before."),
        },
        about="One agent that is kept alive.",
    ),
}
