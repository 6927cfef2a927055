"""The fake's routes for volumes: they bill on when their app and their machine are gone."""

from typing import Any

from exatlas.fakes.replies import json_reply
from exatlas.messages import HttpReply
from exatlas.providers.fly.fake import places
from exatlas.providers.fly.fake.account import FakeAccount
from exatlas.providers.fly.fake.apps import FakeApp, FakeVolume
from exatlas.providers.fly.fake.problems import not_found, problem


def route(cloud: FakeAccount, method: str, app: FakeApp, more: list[str], body: Any) -> HttpReply:
    """Answer a call to an app's volumes."""
    if not more:
        if method == "POST":
            return _create_volume(cloud, app, body or {})
        shown = [volume for volume in cloud.volumes.values() if volume.app == app.name and cloud.listed(volume)]
        return json_reply(200, [cloud.attached(volume).view() for volume in shown])
    volume = cloud.volumes.get(more[0])
    if volume is None or volume.app != app.name:
        return not_found("volume")
    if method == "GET":
        return json_reply(200, cloud.attached(volume).view())
    if cloud.attached(volume).attached_to:
        return problem(412, f"failed_precondition: volume is attached to machine {volume.attached_to}")
    volume.delete(cloud.clock.now())
    return json_reply(200, volume.view())


def _create_volume(cloud: FakeAccount, app: FakeApp, body: dict[str, Any]) -> HttpReply:
    name, region = str(body.get("name", "")), body.get("region") or places.NEAREST
    if not name.replace("_", "").isalnum():
        return problem(400, "invalid_argument: volume names take letters, digits and underscores")
    if region not in places.REGIONS or not 1 <= body.get("size_gb", 3) <= 500:
        return problem(400, "invalid_argument: region or size_gb")
    if cloud.volume_room.first_of([region]) is None:
        return problem(400, "invalid_argument: no capacity available in region")
    cloud.volume_room.take(region)
    made = FakeVolume.make(f"vol_{next(cloud.ids):016x}", app.name, body, region, cloud.clock.now())
    cloud.volumes[made.id] = made
    return json_reply(200, made.view())
