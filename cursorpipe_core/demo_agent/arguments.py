"""The command line, read as the CLI's own parser (commander) reads it (CLI contract §3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class UsageError(Exception):
    """The command line is wrong; the text is commander's, the exit status 1."""


class Option(NamedTuple):
    """One option as commander declares it: ``-H, --header <header>`` takes a value, ``[…]`` may."""

    flags: str
    choices: tuple[str, ...] = ()

    @property
    def spellings(self) -> list[str]:
        """Return the ways to write it: ``-H``, ``--header``."""
        return [word.split()[0] for word in self.flags.split(", ")]

    @property
    def name(self) -> str:
        """Return the long spelling without its dashes, or the short one."""
        return self.spellings[-1].lstrip("-")

    @property
    def needs_value(self) -> bool:
        """Whether a value must follow."""
        return "<" in self.flags

    @property
    def takes_value(self) -> bool:
        """Whether a value must or may follow."""
        return self.needs_value or "[" in self.flags


_OPTIONS = (
    Option("-v, --version"),
    Option("-h, --help"),
    Option("--api-key <key>"),
    Option("--auth-token <token>"),
    Option("-e, --endpoint <url>"),
    Option("-k"),
    Option("-H, --header <header>"),
    Option("-p, --print"),
    Option("--output-format <format>", ("text", "json", "stream-json")),
    Option("--stream-partial-output"),
    Option("--resume [chatId]"),
    Option("--continue"),
    Option("--model <model>"),
    Option("--mode <mode>", ("plan", "ask")),
    Option("--plan"),
    Option("--list-models"),
    Option("-f, --force"),
    Option("--yolo"),
    Option("--auto-review"),
    Option("--sandbox <mode>", ("enabled", "disabled")),
    Option("--approve-mcps"),
    Option("--trust"),
    Option("--workspace <path>"),
    Option("--add-dir <path>"),
    Option("--plugin-dir <path>"),
    Option("-w, --worktree [name]"),
    Option("--worktree-base <branch>"),
    Option("--skip-worktree-setup"),
    Option("--image <path>"),
    Option("--disable-auto-update"),
)

_FORMAT = Option("--format <format>", ("text", "json"))

#: The sub-commands with the options that only they know; any other word is the prompt.
_COMMANDS: dict[str, tuple[Option, ...]] = {
    "acp": (),
    "models": (),
    "status": (_FORMAT,),
    "whoami": (_FORMAT,),
    "about": (_FORMAT,),
    "create-chat": (),
    "login": (),
    "logout": (),
    "ls": (),
    "resume": (),
    "update": (),
    "mcp": (),
    "sandbox": (),
    "worker": (),
    "plugin": (),
    "persist": (),
    "generate-rule": (),
}

_HELP = """Usage: agent [options] [command] [prompt...]

Start the Cursor Agent

Arguments:
  prompt                     Initial prompt for the agent

Options:
{options}

Commands:
{commands}"""


class Invocation:
    """What the command line asks for: a sub-command or the words of a prompt, and options."""

    def __init__(self) -> None:
        self.command: str | None = None
        self.words: list[str] = []
        self._values: dict[str, list[str]] = {}

    def set(self, name: str, value: str) -> None:
        """Note that an option was given; ``value`` is empty for one without."""
        self._values.setdefault(name, []).append(value)

    def has(self, *names: str) -> bool:
        """Whether one of these options was given."""
        return any(name in self._values for name in names)

    def get(self, name: str, default: str = "") -> str:
        """Return the value of an option; the last one counts."""
        return self._values.get(name, [default])[-1]

    def get_all(self, name: str) -> list[str]:
        """Return all values of an option that may be repeated."""
        return self._values.get(name, [])

    @property
    def prompt(self) -> str:
        """Return the prompt given on the command line; empty: there is none."""
        return " ".join(self.words)


def parse(argv: Sequence[str]) -> Invocation:
    """Read the arguments after the program's name; raises UsageError.

    Commander takes options before and after a sub-command, looks for the sub-command among the operands
    even behind ``--``, and reports an unknown option only when everything else is read.
    """
    parser = _Parser(list(argv))
    parser.run()
    return parser.invocation


class _Parser:
    def __init__(self, argv: list[str]) -> None:
        self.invocation = Invocation()
        self._rest = argv
        self._unknown: str | None = None
        self._spelled = {spelling: option for option in _OPTIONS for spelling in option.spellings}

    def run(self) -> None:
        while self._rest and not self.invocation.has("version"):
            word = self._rest.pop(0)
            if word == "--":
                for operand in self._rest:
                    self._operand(operand)
                break
            if word.startswith("-") and len(word) > 1:
                self._option(word)
            else:
                self._operand(word)
        if self._unknown is not None and not self.invocation.has("version", "help"):
            raise UsageError(f"error: unknown option '{self._unknown}'")

    def _operand(self, word: str) -> None:
        invocation = self.invocation
        if invocation.command is None and not invocation.words and word in _COMMANDS:
            invocation.command = word
            self._spelled |= {spelling: option for option in _COMMANDS[word] for spelling in option.spellings}
        else:
            invocation.words.append(word)

    def _option(self, word: str) -> None:
        option = self._spelled.get(word)
        if option is not None:
            self._accept(option, self._following(option))
            return
        name, equals, value = word.partition("=")
        option = self._spelled.get(name)
        if option is not None and equals and option.takes_value:
            self._accept(option, value)
            return
        if not word.startswith("--") and self._cluster(word):
            return
        self._unknown = self._unknown or word

    def _cluster(self, word: str) -> bool:
        """Take ``-pf`` as ``-p -f`` and ``-Hk:v`` as ``-H k:v``; False: it is neither."""
        option = self._spelled.get(word[:2])
        # Commander keeps its help option apart: it is not found within a cluster.
        if option is None or option.name == "help" or len(word) == 2:
            return False
        if option.takes_value:
            self._accept(option, word[2:])
        else:
            self._accept(option, "")
            self._rest.insert(0, f"-{word[2:]}")
        return True

    def _following(self, option: Option) -> str:
        if option.needs_value:
            if not self._rest:
                raise UsageError(f"error: option '{option.flags}' argument missing")
            return self._rest.pop(0)
        if option.takes_value and self._rest and not self._rest[0].startswith("-"):
            return self._rest.pop(0)
        return ""

    def _accept(self, option: Option, value: str) -> None:
        if option.choices and value not in option.choices:
            complaint = f"option '{option.flags}' argument '{value}' is invalid."
            raise UsageError(f"error: {complaint} Allowed choices are {', '.join(option.choices)}.")
        self.invocation.set(option.name, value)


def help_text() -> str:
    """Return what ``--help`` prints; ``acp`` is not in it (CLI contract §3)."""
    options = "\n".join(f"  {option.flags}" for option in _OPTIONS)
    commands = "\n".join(f"  {name}" for name in _COMMANDS if name != "acp")
    return _HELP.format(options=options, commands=commands)
