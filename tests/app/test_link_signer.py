from __future__ import annotations

import time
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.core.errors import ErrorCode, RequestError
from app.link_signer import LinkSigner
from tests.app.routes.test_jobs import assert_problem
from tests.app.routes.test_results import MP4, finish

ID = "0123456789abcdef" * 2


def test_a_signature_is_for_one_job_and_one_time(redis_client):
    soon = int(time.time()) + 60
    signature = LinkSigner(redis_client).sign(ID, soon)
    other = LinkSigner(redis_client)  # another service on the same Redis
    other.check(ID, soon, signature)
    for job_id, expires_at, text in ((ID, soon + 1, signature), ("f" * 32, soon, signature), (ID, soon, "0" * 64)):
        with pytest.raises(RequestError) as caught:
            other.check(job_id, expires_at, text)
        assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(RequestError) as caught:
        other.check(ID, 1000, other.sign(ID, 1000))
    assert caught.value.code is ErrorCode.RESULT_EXPIRED


@pytest.fixture(params=["folder", "s3"])
def finished(request, make_service, tmp_path):
    named = request.getfixturevalue("s3").settings(tmp_path.name) if request.param == "s3" else {}
    service = make_service(**named)
    return service, finish(service)


def test_a_link_gives_the_file_to_anyone(finished):
    service, job_id = finished
    made = service.http.get(f"/jobs/{job_id}/result/link", params={"expires_s": 600}).json()
    left_s = datetime.fromisoformat(made["expires_at"]).timestamp() - time.time()
    assert 500 < left_s <= 601
    answer = httpx.get(made["url"])
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, MP4, "video/mp4")
    assert answer.headers["content-disposition"] == f'attachment; filename="lipsync-{job_id[:8]}.mp4"'
    part = httpx.get(made["url"], headers={"Range": "bytes=5-9"})
    assert part.is_success and part.content == MP4[5:10]


def test_a_link_ends_with_the_job_at_the_latest(finished):
    service, job_id = finished
    service.services.redis.hset(f"lipsync:job:{job_id}", "expires_at", int((time.time() + 30) * 1000))
    made = service.http.get(f"/jobs/{job_id}/result/link").json()
    assert datetime.fromisoformat(made["expires_at"]).timestamp() <= time.time() + 31


def test_no_link_without_a_result(service):
    job_id = service.post().json()["id"]
    assert_problem(service.http.get(f"/jobs/{job_id}/result/link"), 409, "result_not_ready")
    assert_problem(service.http.get(f"/jobs/{ID}/result/link"), 404, "not_found")
    assert_problem(service.http.get(f"/jobs/{job_id}/result/link?expires_s=0"), 422, "option_invalid")


def test_forged_and_expired_links_are_refused(service):
    job_id = finish(service)
    parts = urlsplit(service.http.get(f"/jobs/{job_id}/result/link").json()["url"])
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert service.http.head(parts.path, params=query).headers["content-length"] == str(len(MP4))
    for change in ({"expires": int(query["expires"]) + 1}, {"signature": "0" * 64}):
        assert_problem(service.http.get(parts.path, params=query | change), 404, "not_found")
    over = {"expires": 1000, "signature": service.services.links.sign(job_id, 1000)}
    assert_problem(service.http.get(parts.path, params=over), 410, "result_expired")
    assert_problem(service.http.get(parts.path), 422, "option_invalid")
    service.http.delete(f"/jobs/{job_id}")
    assert_problem(service.http.get(parts.path, params=query), 404, "not_found")
