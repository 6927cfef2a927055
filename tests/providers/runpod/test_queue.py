from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from exatlas.providers.runpod.queue import JobState, Queue, Topic
from exatlas.providers.runpod.submission import RefusedError, Rules


def new_queue(**rules) -> Queue:
    numbers = count(1)
    return Queue(new_id=lambda: str(next(numbers)), rules=Rules(**rules))


def submit(queue: Queue, now: float = 0.0, **body) -> str:
    return queue.submit({"input": {"n": 1}, **body}, now=now)["id"]


def running(queue: Queue, now: float = 0.0, worker: str = "w", **body) -> str:
    job_id = submit(queue, now, **body)
    assert [job["id"] for job in queue.take(worker, now=now)] == [job_id]
    return job_id


def is_gone(queue: Queue, job_id: str, now: float) -> bool:
    try:
        queue.status(job_id, now=now)
    except RefusedError as refused:
        return refused.status == 404
    return False


def test_ids_tell_run_from_runsync():
    queue = new_queue()
    assert queue.submit({"input": {}}, now=0) == {"id": "1-u1", "status": "IN_QUEUE"}
    assert queue.submit({"input": {}}, now=0, sync=True) == {"id": "sync-2-u1", "status": "IN_QUEUE"}


def test_the_life_of_a_job_as_its_reader_sees_it():
    queue = new_queue()
    job = submit(queue, 0.0)
    assert queue.status(job, now=0.5) == {"id": job, "status": "IN_QUEUE"}
    assert queue.take("w", now=1.25) == [{"id": job, "input": {"n": 1}}]
    assert queue.status(job, now=2) == {"id": job, "status": "IN_PROGRESS", "delayTime": 1250, "workerId": "w"}
    assert queue.post_output("w", job, {"status": "IN_PROGRESS", "output": "half"}, now=3)
    assert queue.status(job, now=3)["output"] == "half"
    assert queue.post_output("w", job, {"output": {"text": "hi"}}, now=4.5)
    assert queue.status(job, now=5) == {
        "id": job,
        "status": "COMPLETED",
        "delayTime": 1250,
        "executionTime": 3250,
        "workerId": "w",
        "output": {"text": "hi"},
    }


def test_a_handler_that_returned_nothing_leaves_no_output_key():
    queue = new_queue()
    job = running(queue)
    queue.post_output("w", job, {}, now=1)
    assert "output" not in queue.status(job, now=1)


def test_an_error_fails_the_job_and_drops_its_progress():
    queue = new_queue()
    job = running(queue)
    queue.post_output("w", job, {"status": "IN_PROGRESS", "output": 1}, now=1)
    queue.post_output("w", job, {"error": "boom", "output": {"x": 1}}, now=1)
    view = queue.status(job, now=1)
    assert (view["status"], view["error"], "output" in view) == ("FAILED", "boom", False)


def test_jobs_are_taken_oldest_first_and_in_batches():
    queue = new_queue()
    jobs = [submit(queue) for _ in range(3)]
    assert [job["id"] for job in queue.take("w", now=0, limit=2)] == jobs[:2]
    assert [job["id"] for job in queue.take("v", now=0, limit=2)] == jobs[2:]
    assert queue.take("v", now=0) == []


def test_chunks_are_handed_out_once():
    queue = new_queue()
    job = running(queue)
    assert not queue.has_news(job, now=0)
    for i in range(3):
        assert queue.post_stream("w", job, {"output": i}, now=1)
    assert queue.has_news(job, now=1)
    assert queue.drain(job, now=1) == {
        "status": "IN_PROGRESS",
        "stream": [{"output": 0}, {"output": 1}, {"output": 2}],
    }
    assert queue.drain(job, now=1) == {"status": "IN_PROGRESS", "stream": []}


def test_the_tail_of_a_stream_can_be_read_after_the_end():
    queue = new_queue()
    job = running(queue)
    queue.post_stream("w", job, {"output": 0}, now=1)
    queue.post_output("w", job, {"output": []}, now=1)
    assert queue.drain(job, now=2) == {"status": "COMPLETED", "stream": [{"output": 0}]}
    assert queue.drain(job, now=2) == {"status": "COMPLETED", "stream": []}
    assert queue.has_news(job, now=2)


def test_reports_about_jobs_of_others_are_dropped():
    queue = new_queue()
    job = running(queue)
    assert not queue.post_stream("v", job, {"output": 1}, now=1)
    assert not queue.post_output("v", job, {"output": 1}, now=1)
    assert not queue.post_output("w", "nobody", {"output": 1}, now=1)
    assert queue.status(job, now=1)["status"] == "IN_PROGRESS"


def test_the_end_of_a_job_is_reported_once():
    queue = new_queue()
    job = running(queue)
    assert queue.post_output("w", job, {"output": 1}, now=1)
    assert not queue.post_output("w", job, {"output": 2}, now=2)
    assert not queue.post_stream("w", job, {"output": 2}, now=2)
    assert queue.status(job, now=2)["output"] == 1


def test_cancelling_a_queued_job_keeps_it_from_workers():
    queue = new_queue()
    job = submit(queue)
    assert queue.cancel(job, now=1) == {"id": job, "status": "CANCELLED"}
    assert queue.take("w", now=1) == []
    assert queue.status(job, now=1) == {"id": job, "status": "CANCELLED"}


def test_cancelling_a_running_job_tells_its_worker_and_no_other():
    queue = new_queue()
    job = running(queue)
    queue.changes()
    assert queue.cancel(job, now=1)["status"] == "CANCELLED"
    assert Topic("stop", "w") in queue.changes()
    assert queue.take_stops("v", now=1) == []
    assert queue.take_stops("w", now=1) == [job]
    assert not queue.post_output("w", job, {"output": 1}, now=1)
    assert queue.status(job, now=1)["status"] == "CANCELLED"


def test_cancelling_a_finished_job_answers_how_it_ended():
    queue = new_queue()
    job = running(queue)
    queue.post_output("w", job, {"output": 1}, now=1)
    assert queue.cancel(job, now=2) == {"id": job, "status": "COMPLETED"}
    assert queue.take_stops("w", now=2) == []


def test_a_stop_signal_is_repeated_until_the_worker_lets_go():
    queue = new_queue(stop_repeat_s=2)
    job = running(queue)
    queue.cancel(job, now=0)
    assert queue.next_stop("w") == 0
    assert queue.take_stops("w", now=0) == [job]
    assert queue.next_stop("w") == 2
    assert queue.take_stops("w", now=1) == []
    queue.ping("w", now=1, job_ids=[job])
    assert queue.take_stops("w", now=2) == [job]
    queue.ping("w", now=3, job_ids=[])
    assert queue.next_stop("w") is None
    assert queue.take_stops("w", now=9) == []


def test_a_ping_sent_before_the_stop_was_told_proves_nothing():
    queue = new_queue()
    job = running(queue)
    queue.cancel(job, now=0)
    queue.ping("w", now=0, job_ids=[])
    assert queue.take_stops("w", now=0) == [job]


def test_a_late_report_shows_that_the_worker_let_go():
    queue = new_queue()
    job = running(queue)
    queue.cancel(job, now=0)
    queue.take_stops("w", now=0)
    queue.post_output("w", job, {"status": "IN_PROGRESS"}, now=1)
    assert queue.next_stop("w") is not None
    queue.post_output("w", job, {"output": 1}, now=1)
    assert queue.next_stop("w") is None


def test_a_worker_that_does_not_let_go_is_reported_once():
    queue = new_queue(stop_grace_s=5)
    job = running(queue)
    queue.cancel(job, now=1)
    assert queue.next_deadline(1) == 6
    queue.advance(5.9)
    assert Topic("stuck", "w") not in queue.changes()
    queue.advance(6)
    assert Topic("stuck", "w") in queue.changes()
    queue.advance(7)
    assert queue.changes() == set()
    assert queue.next_deadline(7) == 1 + 1800


@pytest.mark.parametrize("way", ["ping", "empty hands", "lost"])
def test_a_worker_that_lets_go_is_not_stuck(way):
    queue = new_queue(stop_grace_s=5)
    queue.cancel(running(queue), now=1)
    queue.take_stops("w", now=1)
    if way == "ping":
        queue.ping("w", now=2, job_ids=[])
    elif way == "empty hands":
        queue.take("w", now=2, holding=False)
    else:
        queue.worker_lost("w", now=2)
    queue.advance(99)
    assert Topic("stuck", "w") not in queue.changes()


def test_the_execution_timeout_ends_the_job_and_tells_its_worker():
    queue = new_queue()
    job = running(queue, policy={"executionTimeout": 5_000})
    assert queue.status(job, now=4.9)["status"] == "IN_PROGRESS"
    view = queue.status(job, now=6)
    assert (view["status"], view["executionTime"]) == ("TIMED_OUT", 5000)
    assert view["error"] == "executionTimeout exceeded"
    assert queue.take_stops("w", now=6) == [job]


def test_waiting_in_the_queue_does_not_count_as_execution():
    queue = new_queue()
    job = submit(queue, policy={"executionTimeout": 5_000})
    queue.take("w", now=100)
    assert queue.status(job, now=104)["status"] == "IN_PROGRESS"


@pytest.mark.parametrize("taken", [False, True])
def test_the_time_to_live_deletes_a_job_even_while_it_runs(taken):
    queue = new_queue()
    job = submit(queue, policy={"ttl": 10_000})
    if taken:
        queue.take("w", now=9)
    assert not is_gone(queue, job, now=9.9)
    assert is_gone(queue, job, now=10)
    assert queue.take_stops("w", now=10) == ([job] if taken else [])
    assert not queue.post_output("w", job, {"output": 1}, now=11)
    assert queue.take("w", now=11) == []


@pytest.mark.parametrize(("sync", "keep_s"), [(False, 1800), (True, 60)])
def test_finished_jobs_are_forgotten_after_their_retention(sync, keep_s):
    queue = new_queue()
    job = queue.submit({"input": {}}, now=0, sync=sync)["id"]
    queue.take("w", now=0)
    queue.post_output("w", job, {"output": 1}, now=5)
    assert not is_gone(queue, job, now=5 + keep_s - 0.1)
    assert is_gone(queue, job, now=5 + keep_s)


def test_a_lost_worker_sends_its_jobs_back_to_the_front_in_order():
    queue = new_queue()
    jobs = [submit(queue) for _ in range(3)]
    queue.take("w", now=1, limit=2)
    queue.worker_lost("w", now=2)
    assert queue.status(jobs[0], now=2) == {"id": jobs[0], "status": "IN_QUEUE", "retries": 1}
    assert [job["id"] for job in queue.take("v", now=5, limit=3)] == jobs
    view = queue.status(jobs[0], now=5)
    assert (view["retries"], view["workerId"], view["delayTime"]) == (1, "v", 3000)


def test_a_job_that_loses_two_workers_fails():
    queue = new_queue()
    job = running(queue, worker="a")
    queue.worker_lost("a", now=1)
    queue.take("b", now=2)
    queue.worker_lost("b", now=3)
    view = queue.status(job, now=3)
    assert (view["status"], view["error"], view["retries"]) == ("FAILED", "job timed out after 1 retries", 1)


def test_the_reports_of_a_lost_worker_come_too_late():
    queue = new_queue()
    job = running(queue, worker="a")
    queue.worker_lost("a", now=1)
    queue.take("b", now=1)
    assert not queue.post_output("a", job, {"output": "old"}, now=2)
    assert queue.post_output("b", job, {"output": "new"}, now=3)
    assert queue.status(job, now=3)["output"] == "new"


def test_a_worker_with_empty_hands_gets_a_lost_dispatch_again():
    queue = new_queue()
    job = running(queue)
    assert queue.take("w", now=1, holding=True) == []
    assert [taken["id"] for taken in queue.take("w", now=2, holding=False)] == [job]
    assert queue.status(job, now=2)["retries"] == 1
    assert queue.take("w", now=3, holding=False) == []
    assert queue.status(job, now=3)["status"] == "FAILED"


def test_a_silent_worker_is_lost():
    queue = new_queue(worker_silence_s=30)
    job = running(queue)
    queue.ping("w", now=20)
    assert queue.next_deadline(20) == 50
    assert queue.status(job, now=49)["status"] == "IN_PROGRESS"
    assert queue.status(job, now=50)["status"] == "IN_QUEUE"


@pytest.mark.parametrize("end", ["failed", "timed_out"])
def test_retry_runs_the_same_job_again_without_its_old_output(end):
    queue = new_queue()
    job = running(queue, policy={"executionTimeout": 5_000})
    queue.post_stream("w", job, {"output": 0}, now=1)
    if end == "failed":
        queue.post_output("w", job, {"error": "boom"}, now=2)
    assert queue.retry(job, now=6) == {"id": job, "status": "IN_QUEUE"}
    assert queue.status(job, now=6) == {"id": job, "status": "IN_QUEUE"}
    assert queue.drain(job, now=6)["stream"] == []
    assert queue.take("w", now=7) == [{"id": job, "input": {"n": 1}}]
    assert queue.take_stops("w", now=8) == []
    assert queue.health(now=7)["jobs"]["retried"] == 1


@pytest.mark.parametrize("end", ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "CANCELLED"])
def test_only_failed_and_timed_out_jobs_can_be_retried(end):
    queue = new_queue()
    job = submit(queue)
    if end != "IN_QUEUE":
        queue.take("w", now=0)
    if end == "COMPLETED":
        queue.post_output("w", job, {}, now=0)
    if end == "CANCELLED":
        queue.cancel(job, now=0)
    with pytest.raises(RefusedError, match="only a FAILED or TIMED_OUT job") as refused:
        queue.retry(job, now=1)
    assert refused.value.status == 400
    assert queue.status(job, now=1)["status"] == end


def test_purge_forgets_queued_jobs_and_leaves_running_ones():
    queue = new_queue()
    busy = running(queue)
    queued = [submit(queue), submit(queue)]
    assert queue.purge(now=1) == {"removed": 2, "status": "completed"}
    assert [is_gone(queue, job, now=1) for job in [busy, *queued]] == [False, True, True]


def test_health_counts_jobs_and_workers():
    queue = new_queue()
    queue.worker_joined("new", now=0)
    queue.take("idle", now=0)
    queue.ping("sick", now=0, healthy=False)
    done, failed, busy = (running(queue) for _ in range(3))
    submit(queue)
    queue.post_output("w", done, {}, now=1)
    queue.post_output("w", failed, {"error": "x"}, now=1)
    assert queue.health(now=1) == {
        "jobs": {"completed": 1, "failed": 1, "inProgress": 1, "inQueue": 1, "retried": 0},
        "workers": {"idle": 1, "initializing": 1, "ready": 1, "running": 1, "throttled": 0, "unhealthy": 1},
    }
    assert queue.status(busy, now=1)["status"] == "IN_PROGRESS"


def test_payload_limits_of_requests_chunks_and_results():
    queue = new_queue(run_bytes=100, runsync_bytes=200)
    with pytest.raises(RefusedError, match="has 101 bytes; the limit is 100") as refused:
        queue.submit({"input": {}}, now=0, size=101)
    assert refused.value.status == 413
    queue.submit({"input": {}}, now=0, size=200, sync=True)
    job = submit(queue)
    queue.take("w", now=0, limit=2)
    with pytest.raises(RefusedError, match="the chunk has 101 bytes"):
        queue.post_stream("w", job, {"output": ""}, now=0, size=101)
    queue.post_output("w", job, {"output": ""}, now=0, size=101)
    assert queue.status(job, now=0)["error"] == "the result has 101 bytes; the limit is 100"


def test_a_webhook_is_due_at_the_end_with_the_job_its_input_and_its_url():
    queue = new_queue()
    job = running(queue, webhook="https://a.example/hook?k=shh")
    assert queue.take_deliveries(now=0) == []
    queue.post_output("w", job, {"output": 5}, now=1)
    assert Topic("webhook") in queue.changes()
    [delivery] = queue.take_deliveries(now=1)
    assert (delivery.url, delivery.attempt, delivery.job_id) == ("https://a.example/hook?k=shh", 1, job)
    assert delivery.body == {
        **queue.status(job, now=1),
        "input": {"n": 1},
        "webhook": "https://a.example/hook?k=shh",
    }
    assert "shh" not in repr(delivery)
    assert queue.take_deliveries(now=1) == []


def test_a_refused_webhook_is_due_twice_more():
    queue = new_queue()
    job = running(queue, webhook="https://a.example/")
    queue.cancel(job, now=0)
    for attempt, now in [(1, 0), (2, 10), (3, 20)]:
        assert queue.next_deadline(now) == now
        [delivery] = queue.take_deliveries(now=now)
        assert (delivery.attempt, delivery.body["status"]) == (attempt, "CANCELLED")
        queue.delivery_ended(delivery, accepted=False, now=now)
        assert queue.take_deliveries(now=now + 9.9) == []
    assert queue.take_deliveries(now=100) == []


def test_an_accepted_webhook_is_not_repeated():
    queue = new_queue()
    job = running(queue, webhook="https://a.example/")
    queue.cancel(job, now=0)
    [delivery] = queue.take_deliveries(now=0)
    queue.delivery_ended(delivery, accepted=True, now=1)
    assert queue.take_deliveries(now=100) == []


def test_a_worker_gets_the_webhook_and_storage_fields_it_expects():
    queue = new_queue()
    submit(queue, webhook="https://a.example/", s3Config={"bucketName": "b"})
    [job] = queue.take("w", now=0)
    assert (job["webhook"], job["s3Config"]) == ("https://a.example/", {"bucketName": "b"})


def test_the_next_deadline_follows_the_job():
    queue = new_queue()
    assert queue.next_deadline(0) is None
    job = submit(queue, policy={"executionTimeout": 5_000, "ttl": 60_000})
    assert queue.next_deadline(0) == 60
    queue.take("w", now=10)
    assert queue.next_deadline(10) == 15
    queue.post_output("w", job, {}, now=12)
    assert queue.next_deadline(12) == 12 + 1800
    queue.advance(12 + 1800)
    assert queue.next_deadline(9999) is None


def test_moments_that_were_replaced_do_not_pile_up():
    queue = new_queue()
    for _ in range(500):
        job = running(queue)
        queue.cancel(job, now=0)
        queue.ping("w", now=0, job_ids=[])
    queue.advance(1800)
    assert queue.next_deadline(1800) is None
    for _ in range(1000):
        submit(queue, 1800)
        queue.purge(now=1800)
    assert len(queue._dues) <= 64  # bounded by the jobs there are, not by those there were


@pytest.mark.parametrize("operation", ["status", "drain", "cancel", "retry", "has_news"])
def test_unknown_ids_are_a_404(operation):
    with pytest.raises(RefusedError) as refused:
        getattr(new_queue(), operation)("nobody", now=0)
    assert refused.value.status == 404


def test_changes_name_what_to_wake():
    queue = new_queue()
    job = submit(queue)
    assert queue.changes() == {Topic("queue"), Topic("job", job)}
    queue.take("w", now=0)
    assert queue.changes() == {Topic("job", job), Topic("worker", "w")}
    queue.post_stream("w", job, {"output": 1}, now=0)
    assert queue.changes() == {Topic("job", job)}
    assert queue.changes() == set()


WORKERS = st.sampled_from(["a", "b"])


class EndpointLife(RuleBasedStateMachine):
    """Random lives of an endpoint, against what clients and workers remember of them."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = new_queue(keep_run_s=40, keep_runsync_s=15, stop_grace_s=7)
        self.ends: dict[str, JobState] = {}
        self.posted: dict[str, list[int]] = {}
        self.read: dict[str, list[int]] = {}
        self.holders: dict[str, str] = {}
        self.numbers = count()

    def state(self, job_id: str) -> JobState | None:
        try:
            return JobState(self.queue.status(job_id, now=self.now)["status"])
        except RefusedError:
            return None

    @rule(target=jobs, sync=st.booleans(), ttl=st.integers(10, 60), timeout=st.integers(5, 40))
    def submit(self, sync, ttl, timeout):
        policy = {"ttl": ttl * 1000, "executionTimeout": timeout * 1000}
        body = {"input": {}, "policy": policy, "webhook": "https://a.example/"}
        job_id = self.queue.submit(body, now=self.now, sync=sync)["id"]
        assert job_id not in self.posted
        self.posted[job_id], self.read[job_id] = [], []
        return job_id

    @rule(worker=WORKERS, limit=st.integers(1, 3), holding=st.sampled_from([None, True, False]))
    def take(self, worker, limit, holding):
        for job in self.queue.take(worker, now=self.now, limit=limit, holding=holding):
            assert self.state(job["id"]) is JobState.IN_PROGRESS
            self.holders[job["id"]] = worker

    @rule(job_id=jobs, worker=WORKERS)
    def stream(self, job_id, worker):
        number = next(self.numbers)
        runs_here = self.state(job_id) is JobState.IN_PROGRESS and self.holders[job_id] == worker
        assert self.queue.post_stream(worker, job_id, {"output": number}, now=self.now) == runs_here
        if runs_here:
            self.posted[job_id].append(number)

    @rule(job_id=jobs, worker=WORKERS, error=st.sampled_from([None, "boom"]))
    def report(self, job_id, worker, error):
        runs_here = self.state(job_id) is JobState.IN_PROGRESS and self.holders[job_id] == worker
        body = {"error": error} if error else {"output": 1}
        assert self.queue.post_output(worker, job_id, body, now=self.now) == runs_here
        if runs_here:
            assert self.state(job_id) is (JobState.FAILED if error else JobState.COMPLETED)

    @rule(job_id=jobs)
    def drain(self, job_id):
        if self.state(job_id) is not None:
            stream = self.queue.drain(job_id, now=self.now)["stream"]
            self.read[job_id] += [chunk["output"] for chunk in stream]

    @rule(job_id=jobs)
    def cancel(self, job_id):
        before = self.state(job_id)
        if before is None:
            return
        after = JobState(self.queue.cancel(job_id, now=self.now)["status"])
        assert after is (before if before.is_terminal else JobState.CANCELLED)
        if before is JobState.IN_PROGRESS:
            assert job_id in self.queue.take_stops(self.holders[job_id], now=self.now)

    @rule(job_id=jobs)
    def retry(self, job_id):
        before = self.state(job_id)
        try:
            self.queue.retry(job_id, now=self.now)
        except RefusedError:
            assert before not in (JobState.FAILED, JobState.TIMED_OUT)
        else:
            assert before in (JobState.FAILED, JobState.TIMED_OUT)
            del self.ends[job_id]
            self.posted[job_id] = list(self.read[job_id])

    @rule(worker=WORKERS)
    def lose(self, worker):
        self.queue.worker_lost(worker, now=self.now)
        assert self.queue.take_stops(worker, now=self.now) == []

    @rule(worker=WORKERS, held=st.lists(jobs, max_size=2))
    def ping(self, worker, held):
        self.queue.ping(worker, now=self.now, job_ids=held)

    @rule()
    def purge(self):
        queued = self.queue.health(now=self.now)["jobs"]["inQueue"]
        assert self.queue.purge(now=self.now)["removed"] == queued

    @rule(accepted=st.booleans())
    def webhooks(self, accepted):
        for delivery in self.queue.take_deliveries(now=self.now):
            assert JobState(delivery.body["status"]).is_terminal
            self.queue.delivery_ended(delivery, accepted=accepted, now=self.now)

    @rule(seconds=st.floats(0.1, 30))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def wait_for_the_next_deadline(self):
        due = self.queue.next_deadline(self.now)
        if due is not None:
            assert due >= self.now
            self.now = due

    @invariant()
    def an_end_stays(self):
        for job_id in self.posted:
            state = self.state(job_id)
            if state is not None and state.is_terminal:
                assert self.ends.setdefault(job_id, state) is state
            elif state is not None:
                assert job_id not in self.ends

    @invariant()
    def chunks_come_in_order_and_at_most_once(self):
        for job_id, posted in self.posted.items():
            assert self.read[job_id] == posted[: len(self.read[job_id])]

    @invariant()
    def every_job_is_in_one_place(self):
        states = [self.state(job_id) for job_id in self.posted]
        jobs = self.queue.health(now=self.now)["jobs"]
        assert jobs["inQueue"] == states.count(JobState.IN_QUEUE)
        assert jobs["inProgress"] == states.count(JobState.IN_PROGRESS)

    @invariant()
    def time_alone_changes_nothing_before_the_deadline(self):
        due = self.queue.next_deadline(self.now)
        self.queue.changes()
        self.queue.advance(self.now)
        assert self.queue.changes() == set()
        assert due is None or due >= self.now


TestEndpointLife = EndpointLife.TestCase
