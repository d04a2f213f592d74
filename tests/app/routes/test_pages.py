"""The two web pages: what they promise to screen readers and small screens, and that they know all words of the API."""

from __future__ import annotations

import html
import html.parser
import re
import shutil
import subprocess

import pytest

from app.core.errors import ERROR_FACTS, ErrorCode, error_payload, public_error
from app.core.jobs import JobOptions
from app.openapi import BATCH_EXAMPLE
from tests.conftest import ROOT

PAGE = (ROOT / "app" / "web" / "index.html").read_text()
# Codes of calls that the page does not make, or that a person at the page cannot cause.
ELSEWHERE = {
    *("url_blocked", "url_fetch_failed", "canceled", "idempotency_conflict", "not_found", "upload_unavailable"),
    *("result_not_ready", "retry_refused"),
}


class Elements(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def words(name: str) -> set[str]:
    """Return the keys of a table of the page's script."""
    table = re.search(rf"const {name} = {{(.*?)}};", PAGE, re.DOTALL)
    assert table is not None
    return set(re.findall(r"(\w+): \"", table[1]))


def test_the_page_has_words_for_every_code():
    assert words("ADVICE") == {str(code) for code in ErrorCode} - ELSEWHERE


def test_the_page_has_words_for_every_stage():
    stages = set()
    for path in (ROOT / "worker").rglob("*.py"):
        stages |= set(re.findall(r"monitor\.stage\(\"(\w+)\"\)", path.read_text()))
    assert stages and words("STAGES") == stages


def test_the_form_has_options_of_a_job():
    fields = {attributes.get("name") for _, attributes in Elements(PAGE).found if "name" in attributes}
    assert fields - {"viewport", "video", "audio"} <= JobOptions.model_fields.keys()


def test_progress_is_told_to_screen_readers():
    bars = [attributes for _, attributes in Elements(PAGE).found if attributes.get("role") == "progressbar"]
    assert len(bars) == 2
    for bar in bars:
        assert bar.keys() >= {"aria-label", "aria-valuemin", "aria-valuemax", "aria-valuenow"}


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FAILURES = [code for code in ERROR_FACTS if code in ("no_face_detected", "worker_lost")]


def dumped(url, profile):
    """Return the elements of a page after its script has run."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom", url]
    return subprocess.run([str(CHROMIUM), *options], capture_output=True, text=True, timeout=300, check=True).stdout


CALLS = [
    "curl -F video=@portrait.mp4 -F audio=@speech.wav -F sync_mode=loop -F crf=20 {url}/jobs",
    "curl -F 'jobs={jobs}' -F portrait=@portrait.mp4 -F english=@english.wav -F spanish=@spanish.wav {url}/batches",
    "curl -H 'Content-Type: application/json' -d '{{\"bytes\":8123456}}' {url}/uploads",
    "curl -X DELETE {url}/uploads/UPLOAD_ID",
    "curl -X POST {url}/webhooks/WEBHOOK_ID/resend",
    "curl {url}/batches/BATCH_ID",
    "curl -o result.mp4 {url}/jobs/JOB_ID/result",
    "curl -N {url}/jobs/JOB_ID/events",
    "curl -o result.mp4 '{url}/links/JOB_ID?expires=EXPIRES&signature=SIGNATURE'",
]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser here")
def test_the_description_shows_how_each_call_is_made(service, tmp_path):
    shown = html.unescape(dumped(f"{service.url}/docs", tmp_path).partition("<script>")[0])
    found = re.findall(r"<h3>Example</h3><pre>(.*?)</pre>", shown, re.DOTALL)
    examples = {example.replace(" \\\n  ", " ") for example in found}
    jobs = BATCH_EXAMPLE["jobs"]
    assert {call.format(url=service.url, jobs=jobs) for call in CALLS} <= examples
    assert len(examples) >= 20 and not any("{" in re.sub("'.*'", "", example) for example in examples)
    assert "Body (application/json)" in shown


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser here")
@pytest.mark.parametrize("code", FAILURES)
def test_try_again_is_offered_where_it_can_help(service, code, tmp_path):
    metadata = '{"face_file": "anna.png", "voice_file": "speech.wav"}'
    job_id = service.post(data={"metadata": metadata}).json()["id"]
    error = public_error(RuntimeError())
    error.code = code
    attempt = service.services.records.claim("w", "c").attempt
    assert service.services.records.fail(job_id, attempt, error_payload(error, "faces"))
    shown = dumped(f"{service.url}/#{job_id}", tmp_path)
    assert "anna.png with speech.wav" in shown and str(code) not in shown.partition("<script>")[0]
    (again,) = [attributes for _, attributes in Elements(shown).found if attributes.get("id") == "again"]
    assert ("hidden" not in again) == ERROR_FACTS[code].retryable
