"""How requests end, in a word: one of these, or the code of an error."""

from __future__ import annotations

#: It did not fail.
OK = "ok"
#: Its client did not wait for its end.
CLIENT_LEFT = "client_left"
#: The server was told to stop, and the time that open requests get for their end was over.
SERVER_STOPPED = "server_stopped"
#: The model that it names does not exist.
NO_MODEL = "model_not_found"
