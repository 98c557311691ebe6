"""Plans: what they object to, for any plan and any usage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_manager.domain.plans import Plan, Usage, longest_call, objection

NOW = 1_000_000.0
amounts = st.none() | st.integers(0, 10_000)
plans = st.builds(
    Plan,
    lines=amounts,
    valid_until=st.none() | st.floats(0, 2 * NOW),
    total_seconds=amounts,
    failed_calls=amounts,
    call_seconds=st.none() | st.integers(1, 10_000),
)
usages = st.builds(Usage, talked_seconds=st.floats(0, 20_000), failed_calls=st.integers(0, 20_000))


@given(usages)
def test_no_limit_objects_to_nothing(usage: Usage) -> None:
    assert objection(Plan(), usage, NOW) == ""
    assert longest_call(Plan(), usage) == 0


@given(plans, usages)
def test_a_plan_objects_exactly_when_a_limit_is_met(plan: Plan, usage: Usage) -> None:
    met = {
        "no paid line": plan.lines == 0,
        "expired": plan.valid_until is not None and plan.valid_until <= NOW,
        "total duration exceeded": plan.total_seconds is not None and usage.talked_seconds >= plan.total_seconds,
        "failed calls exceeded": plan.failed_calls is not None and usage.failed_calls >= plan.failed_calls,
    }
    why = objection(plan, usage, NOW)
    assert met[why] if why else not any(met.values())


@given(plans, usages)
def test_a_call_never_outlasts_what_is_left(plan: Plan, usage: Usage) -> None:
    longest = longest_call(plan, usage)
    if objection(plan, usage, NOW):
        return
    if plan.call_seconds is not None:
        assert 0 < longest <= plan.call_seconds
    if plan.total_seconds is not None:
        assert 0 < longest <= max(1, plan.total_seconds - usage.talked_seconds)
