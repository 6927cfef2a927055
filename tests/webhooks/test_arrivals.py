"""What is remembered of callbacks."""

import exatlas
from exatlas.webhooks.arrivals import Arrivals, JobKey, Seen

A, B = JobKey("p", "e", "a"), JobKey("p", "e", "b")


def job(key):
    return exatlas.Job(id=key.id, provider=key.provider, endpoint=key.endpoint, status=exatlas.JobStatus.COMPLETED)


def test_the_first_callback_ties_a_nonce_to_its_job():
    arrivals = Arrivals()
    assert arrivals.admits("n", A)
    assert arrivals.admits("n", A)
    assert not arrivals.admits("n", B)
    assert not arrivals.admits("other", A), "the job has a nonce"
    assert not arrivals.is_bound(A)


def test_the_submit_has_the_last_word():
    arrivals = Arrivals()
    assert arrivals.admits("n", B)
    arrivals.arrived(B, job(B), 1)
    arrivals.mark(B, "completed", Seen.TAKEN)
    assert arrivals.bind("n", A) == B
    assert arrivals.result(B) is None
    assert arrivals.seen(B, "completed") is None
    assert arrivals.is_bound(A)
    assert arrivals.admits("n", A)
    assert arrivals.admits("another", B), "what was said falsely about it no longer counts"


def test_a_job_claimed_by_another_nonce_goes_to_its_own():
    arrivals = Arrivals()
    assert arrivals.admits("thief", A)
    arrivals.arrived(A, job(A), 1)
    assert arrivals.bind("n", A) is None
    assert arrivals.result(A) is None
    assert not arrivals.admits("thief", A)


def test_results_are_kept_within_bounds():
    arrivals = Arrivals(most_bytes=10)
    arrivals.arrived(A, job(A), 6)
    arrivals.arrived(A, job(A), 6)
    assert arrivals.result(A) is not None
    arrivals.arrived(B, job(B), 6)
    assert arrivals.result(A) is None
    assert arrivals.result(B) is not None
    arrivals.arrived(A, job(A), 11)
    assert arrivals.result(A) is None
    assert arrivals.result(B) is None


def test_submissions_and_endings_are_remembered_within_bounds():
    arrivals = Arrivals(most=2)
    for number in range(5):
        key = JobKey("p", "e", str(number))
        arrivals.bind(f"n{number}", key)
        arrivals.mark(key, "completed", Seen.TAKEN)
        arrivals.arrived(key, job(key), 0)
    remembered = [arrivals.seen(JobKey("p", "e", str(number)), "completed") for number in range(5)]
    assert remembered == [None, None, None, Seen.TAKEN, Seen.TAKEN]
    assert [arrivals.is_bound(JobKey("p", "e", str(number))) for number in range(5)] == [False] * 3 + [True] * 2
    assert [arrivals.result(JobKey("p", "e", str(number))) is None for number in range(5)] == [True] * 3 + [False] * 2


async def test_everybody_who_waits_is_told_and_then_forgotten():
    arrivals = Arrivals()
    with arrivals.waiting(A) as first, arrivals.waiting(A) as second, arrivals.waiting(B) as other:
        arrivals.arrived(A, job(A), 1)
        arrivals.arrived(A, job(A), 1)
        assert first.result() == second.result() == job(A)
        assert not other.done()
    assert not arrivals._waiting
