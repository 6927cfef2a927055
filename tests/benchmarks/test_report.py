"""The tables: what they say of a run, and that the README says it too."""

import pytest
from attrs import evolve

from benchmarks.kept import FULL, Kept, Result, load, merged, save
from benchmarks.report import README, in_readme, table, verdicts

RESULT = Result(
    group="calls",
    name="calls",
    what="calls",
    settings={},
    values={
        "floor": {"calls_per_s": [1000.0], "cpu_ms": [100.0, 80.0, 90.0]},
        "exatlas": {"calls_per_s": [900.0], "cpu_ms": [120.0, 117.0, 90.0]},
        "runpod": {"calls_per_s": [1234.5]},
    },
)
KEPT = Kept(taken="2026-01-02", machine="a machine", versions={"exatlas": "1"}, results=[RESULT])


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_table_has_medians_ratios_and_targets():
    lines = table([RESULT]).splitlines()
    assert cells(lines[0])[2:] == ["floor", "exatlas", "runpod", "exatlas against the floor", "target"]
    assert cells(lines[2]) == ["calls", "calls per second", "1,000", "900", "1,234", "0.90x", ""]
    assert cells(lines[3]) == ["", "CPU per 1,000 calls (ms)", "90", "117", "n/a", "1.30x", "≤ 1.25, missed"]


def test_a_verdict_is_given_where_there_is_a_target():
    assert [(row.key, verdict.met) for _, row, verdict in verdicts([RESULT])] == [("cpu_ms", False)]


def test_under_limits_exatlas_is_held_against_the_floor_that_keeps_to_them():
    assert evolve(RESULT, what="limited").base == "floor, one budget"


def test_numbers_survive_being_kept(tmp_path):
    save(KEPT, tmp_path / "results.json")
    assert load(tmp_path / "results.json") == KEPT


def test_a_group_that_was_taken_again_takes_its_place():
    others = [evolve(RESULT, group="sse"), evolve(RESULT, group="flood")]
    whole = evolve(KEPT, results=[others[0], RESULT, others[1]])
    again = [evolve(RESULT, name="again"), evolve(RESULT, name="and more")]
    new = evolve(RESULT, group="ledgers")
    part = evolve(KEPT, taken="2026-01-05", versions={"exatlas": "1", "psycopg": "3"}, results=[*again, new])
    both = merged(whole, part)
    assert both.results == [others[0], *again, others[1], new]
    assert (both.taken, both.versions) == ("2026-01-02 to 2026-01-05", {"exatlas": "1", "psycopg": "3"})
    assert merged(both, evolve(part, taken="2026-01-07")).taken == "2026-01-02 to 2026-01-07"
    assert merged(whole, evolve(part, taken=whole.taken)).taken == whole.taken


@pytest.mark.parametrize("change", [{"machine": "another"}, {"versions": {"exatlas": "2"}}])
def test_numbers_of_different_machines_or_versions_are_not_mixed(change):
    with pytest.raises(ValueError, match="take all of them again"):
        merged(KEPT, evolve(KEPT, **change))


def test_the_readme_gets_the_tables_with_machine_and_versions():
    text = in_readme("a\n<!-- performance: begin -->\nold\n<!-- performance: end -->\nb\n", KEPT)
    assert table([RESULT]) in text
    assert "a machine, with exatlas 1" in text
    assert "old" not in text
    assert text.startswith("a\n<!--")
    assert text.endswith("-->\nb\n")


def test_a_readme_without_a_place_for_them_is_refused():
    with pytest.raises(SystemExit):
        in_readme("nothing here", KEPT)


def test_the_readme_shows_the_kept_numbers():
    """Run ``python -m benchmarks --readme`` when this fails."""
    text = README.read_text()
    assert in_readme(text, load(FULL)) == text
