"""A conversation as the one text, with its images, that an agent takes for a prompt.

Neither way of running the CLI has an argument for a system prompt or for earlier messages (CLI contract
§1), so a conversation is written down:

- One user message alone is the prompt, byte for byte.
- Anything else is a fixed introduction and then every message in order, each between markers that name
  its role, `<message role="user">` and `</message>`, on lines of their own. A call of a tool stands
  between markers of its own, after the words of the message that made it.
- A line of a message that looks like a marker gets a backslash in front, so that no message can end
  itself or speak in another role; a line that has the backslash already gets one more.
- Images travel beside the text, in order; `[image 1]` on a line of its own says where one belongs.

The rendering of the first messages of a conversation is the beginning of the rendering of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from cursorpipe_core.completion import BYTES_PER_TOKEN, Image, Message, Role, utf8_length, well_formed

#: What an image costs in tokens, roughly: providers scale pictures down to a few hundred tiles.
TOKENS_PER_IMAGE = 1000

_INTRODUCTION = """\
You are the assistant in the conversation below. Each message stands between markers that name its role. \
Follow the system messages. Write the assistant's next message and nothing else: no markers, no role name.
"""

#: The beginning of a line that is a marker, or an escaped one, however it is spaced or spelled. What a
#: reader may take for the end of a line is more than what a pattern does.
_MARKER_LINE = re.compile(
    r"(?:^|(?<=[\r\v\f\x85\u2028\u2029]))([ \t]*\\*)(?=</?message\b)", re.IGNORECASE | re.MULTILINE
)


_ESCAPE = r"\1\\"
#: What stands around a message of which no more is to be told than its role, as is true of most.
_HEADS = {role: f'\n<message role="{role.value}">\n' for role in Role}
_TAIL = "\n</message>\n"
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an agent is given: a text that can be encoded, and the images it speaks of."""

    text: str
    images: Sequence[Image] = ()

    @property
    def size(self) -> int:
        """The prompt in UTF-8 bytes, images as what they cost."""
        return utf8_length(self.text) + len(self.images) * TOKENS_PER_IMAGE * BYTES_PER_TOKEN


def render(messages: Sequence[Message]) -> Prompt:
    """Return the prompt for a conversation, as described above."""
    images = [image for message in messages for image in message.images]
    if len(messages) == 1 and messages[0].role is Role.USER and messages[0].name is None:
        return Prompt(well_formed(messages[0].text), images)
    numbers = count(1)
    pieces = [_INTRODUCTION]
    for message in messages:
        if message.images or message.calls or message.name or message.call_id:
            pieces += _blocks(message, numbers)
        else:
            pieces += (_HEADS[message.role], _escaped(message.text), _TAIL)
    return Prompt(well_formed("".join(pieces)), images)


def _blocks(message: Message, numbers: Iterator[int]) -> Iterator[str]:
    text = message.text
    if message.images:
        text = "\n".join([text, *(f"[image {next(numbers)}]" for _ in message.images)])
    if text or not message.calls:
        yield _block(text, message.role, name=message.name, result_of=message.call_id)
    for call in message.calls:
        yield _block(call.arguments, message.role, calls=call.name, id=call.id)


def _block(text: str, role: Role, **attributes: str | None) -> str:
    said = f'role="{role.value}"' + "".join(
        [f' {name}="{_NOT_A_NAME.sub("_", value)}"' for name, value in attributes.items() if value]
    )
    return f"\n<message {said}>\n{_escaped(text)}{_TAIL}"


def _escaped(text: str) -> str:
    # Most texts have nothing that could be a marker, which is cheaper to see than to look for lines.
    return _MARKER_LINE.sub(_ESCAPE, text) if "<" in text else text
