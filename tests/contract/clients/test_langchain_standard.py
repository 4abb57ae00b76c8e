"""LangChain's own standard tests: the list of those that apply, and that they pass."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

import pytest

from tests.contract.clients.conftest import PROGRAMS, Workplace
from tests.contract.clients.environments import programs_of
from tests.contract.conftest import TOKEN
from tests.demo import DemoAgent

pytestmark = [pytest.mark.real_clients, pytest.mark.timeout(600)]

#: What the tests that want an object ask for is a joke.
JOKE = r"""json text="A joke:\n\n```json\n{'setup': 'Why?', 'punchline': 'Because.'}\n```\n" """

PASS = {
    "test_invoke",
    "test_ainvoke",
    "test_stream",
    "test_astream",
    "test_stream_events_v3",
    "test_astream_events_v3",
    "test_invoke_with_model_override",
    "test_ainvoke_with_model_override",
    "test_stream_with_model_override",
    "test_astream_with_model_override",
    "test_batch",
    "test_abatch",
    "test_conversation",
    "test_double_messages_conversation",
    "test_usage_metadata",
    "test_usage_metadata_streaming",
    "test_stop_sequence",
    "test_message_with_name",
    "test_no_overrides_DO_NOT_OVERRIDE",
}
PASS_WITH_OBJECTS = {
    "test_structured_output",
    "test_structured_output_async",
    "test_structured_output_optional_param",
    "test_json_mode",
}
PASS_WITH_TOOLS = {
    "test_tool_calling",
    "test_tool_calling_async",
    "test_bind_runnables_as_tools",
    "test_tool_message_histories_string_content",
    "test_tool_message_histories_list_content",
    "test_tool_choice",
    "test_tool_calling_with_no_arguments",
    "test_tool_message_error_status",
    "test_structured_few_shot_examples",
    "test_agent_loop",
    "test_unicode_tool_call_integration",
}
WANT_WHAT_IS_REFUSED = {
    # OpenAI's results of tools are texts.
    "test_image_tool_message",
    "test_pdf_tool_message",
    "test_pdf_inputs",
    "test_audio_inputs",
    "test_anthropic_inputs",
}
NOT_RUN_HERE = {
    # It fetches its picture from a public page; test_clients.py sends one of its own.
    "test_image_inputs",
    # It measures against recorded exchanges, of which there are none.
    "test_stream_time",
}
#: LangChain sends tools where the schema is one of the first pydantic.
DESELECTED = "test_structured_output_pydantic_2_v1"

#: LangChain keeps its connections for all models of a process: a loop for each test would find those of
#: the loop before, which is closed.
PYTEST_INI = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
"""


def outcomes(workplace: Workplace, expression: str) -> Mapping[str, set[str]]:
    """Run the standard tests and return, by outcome, the names of the tests; a test is all of its cases."""
    environment = workplace.environments.make("langchain")
    for name in ("cases.py", "langchain_standard.py"):
        workplace.place(name, (PROGRAMS / name).read_text(), environment)
    told = {"BASE_URL": workplace.url, "API_KEY": TOKEN, "MODEL": "auto", "PROMPT": "", "IMAGE": ""}
    workplace.place("pytest.ini", PYTEST_INI, environment)
    printed = workplace.run(
        environment,
        *(programs_of(environment) / "python", "-m", "pytest", "--quiet", "-p", "no:cacheprovider"),
        *("--junit-xml", "report.xml", "-k", expression, "langchain_standard.py"),
        environ={f"CLIENT_{word}": value for word, value in told.items()},
        statuses={0, 1},
    )
    print(printed)
    found: dict[str, set[str]] = {"passed": set(), "skipped": set(), "failed": set()}
    for case in ET.parse(workplace.directory / "report.xml").iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[outcome].add(case.attrib["name"].partition("[")[0])
    return found


def test_the_standard_tests_pass(workplace: Workplace) -> None:
    wanted_objects = " or ".join(sorted({*PASS_WITH_OBJECTS, DESELECTED}))
    found = outcomes(workplace, f"not ({wanted_objects})")
    assert found["failed"] == set()
    assert found["passed"] == PASS | PASS_WITH_TOOLS
    assert found["skipped"] == WANT_WHAT_IS_REFUSED | NOT_RUN_HERE


def test_the_standard_tests_of_objects_pass(workplace: Workplace, agent: DemoAgent) -> None:
    agent.set(SCENARIO=JOKE)
    found = outcomes(workplace, f"({' or '.join(sorted(PASS_WITH_OBJECTS))}) and not {DESELECTED}")
    assert found["failed"] == set()
    assert found["passed"] == PASS_WITH_OBJECTS
