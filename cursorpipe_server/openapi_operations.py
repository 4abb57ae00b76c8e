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

OPERATIONS: dict[str, Schema] = {
    "Health": members({"status": {"const": "ok"}}, about="The server is up."),
    "Readiness": members(
        {
            "version": text("The version of cursorpipe."),
            "ready": {"type": "boolean", "description": "A request made now would be served."},
            "reason": text("Why not, if not.", null=True),
            "strategy": one_of(Strategy, "Which backends serve."),
            "workers": list_of(ref("Worker"), "The agents that are kept alive."),
            "draining": count("Workers that have been replaced and finish what they have."),
            "subprocesses": count("Agents that run for one request each, now."),
            "waiting": count("Requests that wait for their turn."),
            "tools": ref("ToolsState"),
        },
        about="Whether an agent can serve, and what each one does.",
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
