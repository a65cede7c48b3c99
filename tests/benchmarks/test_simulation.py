"""The scheduler on a virtual clock, with 2,000 sessions: what it promises below its capacity, and above it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.live_speech import TALKERS
from benchmarks.service_table import ASSUMED_GPU, ServiceTable, load_service_table
from benchmarks.simulated_capacity import capacity
from benchmarks.simulated_server import Outcome
from benchmarks.simulation import GREEDY, Simulated, SimulationPlan, simulate
from benchmarks.simulation_result import SimulationRow, jain, seconds_of, summed_up
from streaming.config import Settings
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RequestKind

FINAL, SPECULATIVE, INTERIM = RequestKind
SETTINGS = Settings()
CONVERSATION = TALKERS["conversation"]
PLAN = SimulationPlan(sessions=2000, seconds=10, ramp_s=15, stay_s=60, talker=CONVERSATION, seed=7, admission=False)


@pytest.fixture(scope="module")
def table() -> ServiceTable:
    return load_service_table(ASSUMED_GPU)


@pytest.fixture(scope="module")
def most(table: ServiceTable) -> float:
    return capacity(SETTINGS, table, CONVERSATION)


@pytest.fixture(scope="module")
def below(table: ServiceTable) -> Simulated:
    return simulate(PLAN, SETTINGS, table)


@pytest.fixture(scope="module")
def above(table: ServiceTable, most: float) -> Simulated:
    return simulate(replace(PLAN, sessions=1.5 * most, seconds=4, ramp_s=10), SETTINGS, table)


def row_of(found: Simulated) -> SimulationRow:
    return summed_up(found, load=1.0, capacity=1.0, deadline_ms=SETTINGS.batcher.deadline_ms)


def outcomes(found: Simulated) -> Counter[tuple[RequestKind, Outcome]]:
    return Counter((one.kind, one.outcome) for session in found.sessions for one in session.requests if one.outcome)


def test_two_thousand_sessions_are_eight_tenths_of_the_capacity(most: float) -> None:
    assert pytest.approx(0.8, abs=0.03) == 2000 / most


def test_below_capacity_no_final_is_later_than_the_deadline(below: Simulated) -> None:
    row = row_of(below)

    assert row.most_open >= 1900
    assert row.finals_asked > 1500
    assert row.final_max_ms is not None
    assert row.final_max_ms <= SETTINGS.batcher.deadline_ms
    assert row.late_share == 0


def test_below_capacity_all_sessions_are_treated_alike(below: Simulated) -> None:
    row = row_of(below)

    assert row.sessions_compared > 1500
    assert row.fairness_served is not None
    assert row.fairness_waiting is not None
    assert min(row.fairness_served, row.fairness_waiting) > 0.95


def test_one_that_asks_for_ten_times_as_much_changes_nothing_for_the_others(
    below: Simulated, table: ServiceTable
) -> None:
    alone, beside = row_of(below), row_of(simulate(replace(PLAN, greedy_voices=10), SETTINGS, table))

    assert beside.greedy_served is not None
    assert beside.fairness_served is not None
    assert beside.fairness_waiting is not None
    assert min(beside.fairness_served, beside.fairness_waiting) > 0.95
    assert beside.late_share == 0
    assert alone.final_p99_ms is not None
    assert beside.final_p99_ms == pytest.approx(alone.final_p99_ms, rel=0.1)


def test_interims_are_shared_out_fairly_where_there_are_too_few_and_who_asks_for_more_gets_a_smaller_part(
    table: ServiceTable,
) -> None:
    row = row_of(simulate(replace(PLAN, sessions=600, stay_s=600, seconds=20, greedy_voices=10), SETTINGS, table))

    assert 0 < row.interims_answered < 0.8 * row.interims_asked
    assert row.interims_withheld == 0
    assert row.fairness_served is not None
    assert row.fairness_served > 0.95
    assert row.greedy_served is not None
    assert row.greedy_served < 0.9
    assert row.late_share == 0


def test_above_capacity_every_final_is_told(above: Simulated) -> None:
    row = row_of(above)

    assert row.late_share > 0.5
    assert row.finals_answered == row.finals_asked > 1500
    for session in above.sessions:
        assert [final.decided_s for final in session.finals] == session.decided_s


def test_above_capacity_interims_are_withheld_by_rule_and_counted(above: Simulated) -> None:
    row = row_of(above)

    assert "finals_only" in [step for _, step in row.steps]
    assert row.interims_asked > 1000
    assert row.interims_withheld == row.interims_asked
    steps = [step for _, step in above.server.steps]
    until_last = steps[: steps.index(Degradation.FINALS_ONLY) + 1]
    assert until_last == sorted(until_last)


def test_everything_that_was_asked_is_answered_exactly_once(below: Simulated, above: Simulated) -> None:
    for found in (below, above):
        asked = Counter(one.kind for session in found.sessions for one in session.requests)

        assert asked == found.server.asked
        assert outcomes(found) == found.server.ended
        assert sum(found.server.ended.values()) == sum(asked.values())
        assert {outcome for kind, outcome in found.server.ended if kind is FINAL} <= {Outcome.ANSWERED}
        assert all(len(session.finals) == len(session.decided_s) for session in found.sessions)
        assert all(one.ended_s >= one.at_s for session in found.sessions for one in session.requests)


def test_the_queue_of_what_may_be_shed_keeps_to_its_bound(below: Simulated) -> None:
    few = Settings.model_validate({"batcher": {"max_queue": 8}})
    found = simulate(replace(PLAN, sessions=600, seconds=3), few, load_service_table(ASSUMED_GPU))

    assert row_of(found).longest_queue < row_of(below).longest_queue
    assert row_of(found).interims_shed > 0


def test_with_admission_nobody_is_late_however_many_come(table: ServiceTable, most: float) -> None:
    row = row_of(simulate(replace(PLAN, sessions=1.5 * most, seconds=5, admission=True), SETTINGS, table))

    assert row.refused > 1000
    assert row.most_open > 0.4 * most
    assert row.late_share == 0


def test_a_machine_that_pays_most_of_a_batch_once_is_not_taken_for_full_while_it_has_room(table: ServiceTable) -> None:
    row = row_of(simulate(replace(PLAN, sessions=200, seconds=20), SETTINGS, table))

    assert row.utilisation > 0.9
    assert row.steps == ()
    assert row.interims_answered > 0.9 * row.interims_asked


def test_the_same_seed_gives_the_same_and_another_does_not(table: ServiceTable) -> None:
    plan = replace(PLAN, sessions=50, seconds=5)
    rows = [row_of(simulate(replace(plan, seed=seed), SETTINGS, table)) for seed in (1, 1, 2)]

    assert rows[0] == rows[1] != rows[2]


def test_sessions_come_as_a_poisson_process_and_leave_after_their_stay(table: ServiceTable) -> None:
    found = simulate(replace(PLAN, sessions=200, seconds=60, stay_s=10, ramp_s=10), SETTINGS, table.scaled(0.0))
    come = [session.begun_s for session in found.sessions if session.begun_s >= 0]
    gaps = [after - before for before, after in pairwise(come)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5

    assert len(come) == pytest.approx(200 * 60 / 10, rel=0.1)
    assert spread == pytest.approx(mean, rel=0.1)
    assert found.most_open == pytest.approx(200, rel=0.3)


def test_every_second_is_told(below: Simulated) -> None:
    seconds = seconds_of(below)

    assert [second.at_s for second in seconds] == list(range(10))
    assert all(second.final_p95_ms is not None for second in seconds)
    assert sum(second.interims_asked for second in seconds) == row_of(below).interims_asked
    assert seconds[-1].step is Degradation.FINALS_ONLY


def test_twice_as_fast_a_machine_carries_at_least_twice_as_many(table: ServiceTable, most: float) -> None:
    assert 2 * most < capacity(SETTINGS, table.scaled(0.5), CONVERSATION) < 3 * most


@pytest.mark.parametrize(
    ("values", "index"), [([1.0, 1.0, 1.0], 1.0), ([1.0, 0.0, 0.0, 0.0], 0.25), ([], None), ([0.0, 0.0], None)]
)
def test_jains_index_is_1_for_equals_and_1_in_n_where_one_has_all(values: list[float], index: float | None) -> None:
    assert jain(values) == index


def test_the_greedy_session_is_one_session_with_many_voices(table: ServiceTable) -> None:
    found = simulate(replace(PLAN, sessions=5, seconds=20, greedy_voices=10), SETTINGS, table)
    sessions = {session.session: session for session in found.sessions}
    most_of_others = max(len(s.decided_s) for name, s in sessions.items() if name != GREEDY)

    assert len(sessions[GREEDY].decided_s) > 3 * most_of_others
