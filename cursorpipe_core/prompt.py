"""A conversation as the one text that an agent takes for a prompt.

Neither way of running the CLI has an argument for a system prompt or for earlier messages (CLI contract
§1), so a conversation is written down:

- One user message alone is the prompt, byte for byte.
- Anything else is a fixed introduction and then every message in order, each between markers that name
  its role, `<message role="user">` and `</message>`, on lines of their own.
- A line of a message that looks like a marker gets a backslash in front, so that no message can end
  itself or speak in another role; a line that has the backslash already gets one more.

The rendering of the first messages of a conversation is the beginning of the rendering of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cursorpipe_core.completion import Message, Role, well_formed

_INTRODUCTION = """\
You are the assistant in the conversation below. Each message stands between markers that name its role. \
Follow the system messages. Write the assistant's next message and nothing else: no markers, no role name.
"""

#: The beginning of a line that is a marker, or an escaped one, however it is spaced or spelled. What a
#: reader may take for the end of a line is more than what a pattern does.
_MARKER_LINE = re.compile(
    r"(?:^|(?<=[\r\v\f\x85\u2028\u2029]))([ \t]*\\*)(?=</?message\b)", re.IGNORECASE | re.MULTILINE
)


def render(messages: Sequence[Message]) -> str:
    """Return the prompt for a conversation, as described above."""
    if len(messages) == 1 and messages[0].role is Role.USER and messages[0].name is None:
        return well_formed(messages[0].text)
    return well_formed("".join([_INTRODUCTION, *map(_render_one, messages)]))


def _render_one(message: Message) -> str:
    name = f' name="{re.sub(r"[^A-Za-z0-9_.-]", "_", message.name)}"' if message.name else ""
    escaped = _MARKER_LINE.sub(r"\1\\", message.text)
    return f'\n<message role="{message.role}"{name}>\n{escaped}\n</message>\n'
