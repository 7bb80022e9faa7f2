"""The rule book: which command is possible in which state, where it leads, and that nothing else is."""

import pytest

from grange.core.names import Command, State
from grange.core.state import (
    LADDER,
    ROWS,
    STEADY,
    TABLE,
    TRANSITIONAL,
    Refusal,
    command_table,
    completed,
    diagram,
    move,
    next_step,
    possible,
    sources,
    steps,
)

# Every state against every command: where it leads, `.` is a refusal. Shutdown stands apart, in the last column.
MATRIX = """
state          setup      boot    load    unload    configure   unconfigure   start    stop     pause   resume   teardown     shutdown
absent         setting_up .       .       .         .           .             .        .        .       .        .            absent
initial        .          booting .       .         .           .             .        .        .       .        tearing_down initial
booted         .          .       loading .         .           .             .        .        .       .        .            shutting_down
loaded         .          .       .       unloading configuring .             .        .        .       .        .            shutting_down
configured     .          .       .       .         .           unconfiguring starting .        .       .        .            shutting_down
taking         .          .       .       .         .           .             .        stopping pausing .        .            shutting_down
paused         .          .       .       .         .           .             .        stopping .       resuming .            shutting_down
setting_up     .          .       .       .         .           .             .        .        .       .        .            shutting_down
tearing_down   .          .       .       .         .           .             .        .        .       .        .            shutting_down
booting        .          .       .       .         .           .             .        .        .       .        .            shutting_down
loading        .          .       .       .         .           .             .        .        .       .        .            shutting_down
unloading      .          .       .       .         .           .             .        .        .       .        .            shutting_down
configuring    .          .       .       .         .           .             .        .        .       .        .            shutting_down
unconfiguring  .          .       .       .         .           .             .        .        .       .        .            shutting_down
starting       .          .       .       .         .           .             .        .        .       .        .            shutting_down
stopping       .          .       .       .         .           .             .        .        .       .        .            shutting_down
pausing        .          .       .       .         .           .             .        .        .       .        .            shutting_down
resuming       .          .       .       .         .           .             .        .        .       .        .            shutting_down
shutting_down  .          .       .       .         .           .             .        .        .       .        .            shutting_down
mixed          .          .       .       .         .           .             .        .        .       .        .            shutting_down
unknown        .          .       .       .         .           .             .        .        .       .        .            shutting_down
"""  # noqa: E501 - one line for each state is what makes it readable

_HEADER, *_LINES = (line.split() for line in MATRIX.strip().splitlines())
CELLS = [
    (State(line[0]), Command(command), cell)
    for line in _LINES
    for command, cell in zip(_HEADER[1:], line[1:], strict=True)
]


@pytest.mark.parametrize(("state", "command", "cell"), CELLS, ids=lambda value: str(value))
def test_each_command_leads_from_each_state_where_the_matrix_says(state: State, command: Command, cell: str) -> None:
    verdict = move(state, command)
    assert (verdict.value if isinstance(verdict, State) else ".") == cell


def test_the_matrix_has_every_state_and_every_command() -> None:
    assert {(state, command) for state, command, _ in CELLS} == {(s, c) for s in State for c in Command}


def test_a_refusal_says_why_and_what_is_possible_instead() -> None:
    assert move(State.LOADED, Command.START) == Refusal(
        "start is not possible in loaded: it starts from configured; possible now: configure, unload, shutdown",
        (Command.CONFIGURE, Command.UNLOAD, Command.SHUTDOWN),
    )
    stop = move(State.CONFIGURED, Command.STOP)
    assert isinstance(stop, Refusal)
    assert "it starts from taking or paused" in stop.reason


def test_a_refusal_changes_nothing_for_the_next_question() -> None:
    before = [move(state, command) for state, command, _ in CELLS]
    move.cache_clear()
    assert isinstance(move(State.ABSENT, Command.START), Refusal)
    assert [move(state, command) for state, command, _ in CELLS] == before


def test_the_same_question_is_asked_of_the_rule_book_once() -> None:
    move.cache_clear()
    for _ in range(3):
        move(State.INITIAL, Command.BOOT)
    assert (move.cache_info().misses, move.cache_info().hits) == (1, 2)


def test_setting_up_is_a_state_of_its_own_and_not_up_within_setting() -> None:
    # With the library's own separator "_", `shutdown` would be inherited from a superstate that is not there.
    assert move(State.SETTING_UP, Command.SHUTDOWN) is State.SHUTTING_DOWN
    assert isinstance(move(State.SETTING_UP, Command.LOAD), Refusal)


def test_a_transitional_state_inherits_no_command_of_the_state_that_it_leaves() -> None:
    for state in TRANSITIONAL:
        assert possible(state) == (Command.SHUTDOWN,)


def test_what_is_possible_is_what_move_accepts() -> None:
    for state in State:
        assert set(possible(state)) == {command for command in Command if not isinstance(move(state, command), Refusal)}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.command.value)
def test_each_transition_ends_where_the_table_says(row) -> None:  # type: ignore[no-untyped-def]
    assert completed(row.via) is row.to
    assert all(move(source, row.command) is row.via for source in sources(row.command))


def test_a_shutdown_during_setup_or_teardown_ends_in_absent() -> None:
    assert completed(State.SHUTTING_DOWN, State.SETTING_UP) is State.ABSENT
    assert completed(State.SHUTTING_DOWN, State.TEARING_DOWN) is State.ABSENT
    assert completed(State.SHUTTING_DOWN, State.STARTING) is State.INITIAL


def test_a_steady_state_has_nothing_to_complete() -> None:
    with pytest.raises(ValueError, match="taking is not a transitional state"):
        completed(State.TAKING)


@pytest.mark.parametrize("start", STEADY)
@pytest.mark.parametrize("target", STEADY)
def test_the_steps_lead_from_every_steady_state_to_every_other(start: State, target: State) -> None:
    state = start
    for command in steps(start, target):
        assert state in sources(command)
        state = ROWS[command].to
    assert state is target


@pytest.mark.parametrize(
    ("start", "target", "way"),
    [
        (State.ABSENT, State.TAKING, "setup boot load configure start"),
        (State.PAUSED, State.TAKING, "resume"),
        (State.TAKING, State.PAUSED, "pause"),
        (State.PAUSED, State.INITIAL, "stop unconfigure unload shutdown"),
        (State.TAKING, State.ABSENT, "stop unconfigure unload shutdown teardown"),
        (State.BOOTED, State.BOOTED, ""),
    ],
)
def test_a_target_is_reached_by_these_steps(start: State, target: State, way: str) -> None:
    assert " ".join(steps(start, target)) == way


def test_there_is_no_way_from_a_state_that_is_not_steady() -> None:
    with pytest.raises(ValueError, match="no way from booting to taking"):
        next_step(State.BOOTING, State.TAKING)


def test_the_ladder_is_the_steady_states_from_nothing_to_data() -> None:
    assert " ".join(LADDER) == "absent initial booted loaded configured taking paused"


def test_the_command_table_of_the_documentation_has_a_line_for_each_command() -> None:
    _, _, *lines = command_table().splitlines()
    assert [line.split(" | ")[0] for line in lines] == [f"| {row.command}" for row in TABLE]
    assert "| stop | `taking`, `paused` | `stopping` | `configured` |" in lines


def test_the_diagram_shows_every_row_of_the_table() -> None:
    lines = {line.strip() for line in diagram().splitlines()}
    for row in TABLE:
        assert f"{row.via} --> {row.to}" in lines
        for source in row.sources:
            assert f"{source.rsplit('/', 1)[-1]} --> {row.via}: {row.command}" in lines
