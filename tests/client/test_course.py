"""What a machine's states say, look by look."""

import pytest

from exatlas.client.course import GRACE_S, Course, speaks_of_the_image
from exatlas.errors import NotReadyReason
from exatlas.records.compute import Compute, ComputeStatus

NONE, DUD, LOOP = None, NotReadyReason.DUD_HOST, NotReadyReason.CRASH_LOOP
FAILED, GONE, STOPPED, IMAGE = (
    NotReadyReason.FAILED,
    NotReadyReason.GONE,
    NotReadyReason.STOPPED,
    NotReadyReason.IMAGE_PULL,
)
LATER = GRACE_S + 1


def machine(status: str, said: str = "") -> Compute:
    raw = {"status_msg": said, "env": {"A": "manifest unknown"}}
    return Compute(id="m", provider="p", status=ComputeStatus(status), raw=raw)


COURSES = {
    "boots": [(0, "provisioning", NONE), (99, "provisioning", NONE), (100, "running", NONE)],
    "dud": [(0, "provisioning", NONE), (99, "provisioning", NONE), (100, "provisioning", DUD)],
    "unknown words for ever": [(0, "unknown", NONE), (100, "unknown", DUD)],
    "no dud once it ran": [(0, "running", NONE), (1, "provisioning", NONE), (500, "provisioning", NONE)],
    "fails at once": [(0, "provisioning", NONE), (1, "failed", FAILED)],
    "fails after it ran, and stays so": [
        (0, "running", NONE),
        (1, "failed", NONE),
        (GRACE_S, "failed", NONE),
        (1 + GRACE_S, "failed", FAILED),
    ],
    "fails after it ran, and comes back": [(0, "running", NONE), (1, "failed", NONE), (LATER, "running", NONE)],
    "crashes and crashes": [
        *[(time, "running" if time % 2 == 0 else "failed", NONE) for time in range(5)],
        (5, "failed", LOOP),
    ],
    "restarts and restarts": [
        *[(time, "running" if time % 2 == 0 else "provisioning", NONE) for time in range(5)],
        (5, "provisioning", LOOP),
    ],
    "stopped for a moment": [(0, "stopped", NONE), (GRACE_S - 1, "stopping", NONE), (LATER, "provisioning", NONE)],
    "stopped": [(0, "stopped", NONE), (LATER, "stopped", STOPPED)],
    "terminated": [(0, "terminated", GONE)],
    "on its way out": [(0, "running", NONE), (1, "terminating", GONE)],
    "never seen": [(0, None, NONE), (LATER, None, GONE)],
    "seen late": [(0, None, NONE), (20, "provisioning", NONE), (LATER, None, NONE), (2 * LATER, None, GONE)],
    "doubts do not add up": [(0, None, NONE), (1, "provisioning", NONE), (LATER, "stopped", NONE)],
}


@pytest.mark.parametrize("looks", COURSES.values(), ids=COURSES)
def test_looks(looks):
    course = Course(0.0, 100.0)
    for at, status, expected in looks:
        found = course.missed(at) if status is None else course.saw(machine(status), at)
        assert found is expected, at


def test_a_machine_may_provision_for_ever():
    course = Course(0.0, None)
    assert course.saw(machine("provisioning"), 1e9) is None


def test_an_image_that_cannot_be_pulled():
    said = "Error response from daemon: pull access denied for nobody/nothing"
    assert Course(0.0, 100.0).saw(machine("failed", said), 1) is IMAGE
    course = Course(0.0, 100.0)
    assert course.saw(machine("provisioning", said), 1) is None, "engines try again by themselves"
    assert course.saw(machine("provisioning", said), LATER + 1) is IMAGE
    course = Course(0.0, 100.0)
    course.saw(machine("running"), 0)
    course.saw(machine("failed", said), 1)
    assert course.saw(machine("failed", said), LATER + 1) is FAILED, "it has run, so there was an image"


@pytest.mark.parametrize(
    "text",
    [
        "manifest unknown: manifest unknown",
        "manifest for app:2 not found",
        "pull access denied for app",
        "error pulling image: toomanyrequests",
        "Failed to pull image",
        "Back-off: ImagePullBackOff",
        ["x", {"y": "ErrImagePull"}],
    ],
)
def test_words_of_engines(text):
    assert speaks_of_the_image(text)


@pytest.mark.parametrize(
    "text", ["Pulling from library/app", "pull complete", "image is up to date", "no error, pulling", "", None, 7, {}]
)
def test_words_that_say_nothing_of_it(text):
    assert not speaks_of_the_image(text)
