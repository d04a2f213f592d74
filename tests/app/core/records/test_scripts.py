"""The Lua scripts as files: their names fit together, Redis gets each once, and callers name their arguments right."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
import redis

from app.core.access import key_store
from app.core.jobs import JobOptions, JobStatus, Progress, new_job_id
from app.core.records import batches, direct_uploads, lua, reading, records, segments, upkeep, webhooks
from app.core.records.connection import connect
from app.core.records.keys import Key
from app.core.records.lua import SCRIPTS, Scripts
from app.core.records.records import Claim, Records, Renewal
from tests.app.conftest import LIMITS
from tests.app.core.records.lua_names import NameCheck
from tests.service import INPUT, running_redis

FOLDER = Path(lua.__file__).parent / "scripts"
APP = FOLDER.parents[2]
FILES = {path.stem: path.read_text() for path in FOLDER.glob("*.lua")}
MODULES = {path.stem: path.read_text() for path in FOLDER.glob("lib/*.lua")}
ALL = {f"lib/{name}": text for name, text in MODULES.items()} | FILES


def without_comments(text):
    return re.sub("--.*", "", text)


def calls():
    """Return the name and the argument names of each call of a script in the Python code."""
    found = []
    for module in (batches, direct_uploads, reading, records, segments, upkeep, webhooks, key_store):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if ast.unparse(node.func.value) == "self._scripts":
                found.append((ast.literal_eval(node.args[0]), {keyword.arg for keyword in node.keywords}))
    return found


def test_every_file_is_a_script_and_every_script_has_one_caller():
    assert set(SCRIPTS) == set(FILES)
    assert Counter(name for name, _ in calls()) == Counter(list(FILES))


@pytest.mark.parametrize(("name", "given"), calls(), ids=[name for name, _ in calls()])
def test_a_caller_gives_the_arguments_that_the_script_reads(name, given):
    assert given == set(re.findall(r"args\.(\w+)", without_comments(FILES[name])))
    assert ("cjson.decode(ARGV[1])" in FILES[name]) == bool(given)


@pytest.mark.parametrize("name", ALL)
def test_names_are_defined_local_and_used(name):
    assert NameCheck(ALL[name]).problems == []


PROBLEMS = [
    ("local a = 1", ["a is never read"]),
    ("local function f(b) return 1 end return f()", ["b is never read"]),
    ("for i = 1, 2 do x = i end", ["x is assigned but not local"]),
    ("function f() return 1 end", ["function f is not local", "f is not defined"]),
    ("return {a = time()}", ["time is not defined"]),
    ("local t = {} local t = {} return t[n]", ["t is declared twice", "n is not defined"]),
    ("local a = {n = 1} for _, v in ipairs(a) do a.n = v end", []),
]


@pytest.mark.parametrize(("text", "problems"), PROBLEMS, ids=[text for text, _ in PROBLEMS])
def test_the_check_of_names_finds_what_is_wrong(text, problems):
    assert NameCheck(text).problems == problems


@pytest.mark.parametrize("name", ALL)
def test_modules_have_what_is_used_of_them(name):
    required = dict(re.findall(r"local (\w+) = require\('(\w+)'\)", ALL[name]))
    assert all(local == module for local, module in required.items()), "a module has one name"
    has = {
        module: set(re.findall(rf"function {module}\.(\w+)", MODULES[module])) for module in set(required) - {"keys"}
    }
    has["keys"] = {key.name.lower() for key in Key}
    for module in required:
        assert set(re.findall(rf"\b{module}\.(\w+)", without_comments(ALL[name]))) <= has[module]


def test_all_that_modules_and_keys_offer_is_used():
    text, python = "".join(ALL.values()), "".join(path.read_text() for path in APP.rglob("*.py"))
    for module, code in MODULES.items():
        for function in re.findall(rf"function {module}\.(\w+)", code):
            assert len(re.findall(rf"\b{module}\.{function}\b", text)) > 1, f"{module}.{function}"
    for key in Key:
        assert f"keys.{key.name.lower()}" in text or f"Key.{key.name}" in python, key.name
    assert "'lipsync:" not in text, "keys are spelled in app.core.records.keys alone"


def test_redis_compiles_every_script(redis_client):
    for name, text in SCRIPTS.items():
        assert re.fullmatch("[0-9a-f]{40}", redis_client.script_load(text)), name


def do_a_job(store):
    job_id = store.create(new_job_id(), "", INPUT, JobOptions()).job_id
    assert store.claim("w", job_id) == Claim(job_id, 1)
    assert store.renew(job_id, 1, "decode", Progress()) is Renewal.OK
    assert store.fail(job_id, 1, {"code": "internal"})
    assert store.get(job_id).status is JobStatus.FAILED


def sent_commands(client):
    return {
        name.removeprefix("cmdstat_"): facts["calls"]
        for name, facts in client.info("commandstats").items()
        if name.removeprefix("cmdstat_") in ("eval", "evalsha", "script", "script|load")
    }


def test_only_digests_are_sent_once_redis_knows_the_scripts(tmp_path):
    with running_redis(tmp_path) as url:  # of its own: Redis counts the commands of all clients
        client = connect(url)
        store = Records(client, LIMITS)
        do_a_job(store)
        client.config_resetstat()
        for _ in range(3):
            do_a_job(store)
        assert sent_commands(client) == {"evalsha": 12}
        client.close()


def test_a_call_sends_one_document_besides_the_digest(redis_client, records):
    do_a_job(records)
    with redis_client.monitor() as monitor:
        assert records.cancel("a job") is None
        command = next(entry["command"] for entry in monitor.listen() if entry["command"].startswith("EVALSHA"))
    assert re.fullmatch(r'EVALSHA [0-9a-f]{40} 0 \{"job_id": "a job", "retention_ms": 60000\}', command)


def test_scripts_that_redis_forgot_are_sent_again(records, redis_client):
    job_id = records.create(new_job_id(), "", INPUT, JobOptions()).job_id
    redis_client.script_flush()
    assert records.claim("w", "c") == Claim(job_id, 1)
    redis_client.script_flush()
    assert records.renew(job_id, 1, "decode", Progress()) is Renewal.OK


def test_a_restart_of_redis_is_survived(tmp_path):
    with running_redis(tmp_path) as url:
        client = redis.Redis.from_url(url, decode_responses=True)
        store = Records(client, LIMITS)
        job_id = store.create(new_job_id(), "", INPUT, JobOptions()).job_id
    with running_redis(tmp_path, url):
        assert store.claim("w", "c") == Claim(job_id, 1)
        client.close()


TEXTS = [
    "",
    "plain",
    'quote " and \\ backslash',
    "line\nbreak",
    "übergröße 语 🎬",
    "null \0 byte",
    '{"json": [1.5, null]}',
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_texts_arrive_as_they_were_given(redis_client, text):
    scripts = Scripts(redis_client)
    scripts.flag("announce", worker=text, facts=text, live_ms=1000)
    assert redis_client.hgetall(Key.WORKER_FACTS) == {text: text}


def test_times_and_orders_are_kept_to_the_last_digit(records, redis_client):
    before_us = time_us(redis_client)
    job_id = records.create(new_job_id(), "owner", INPUT, JobOptions(priority="high")).job_id
    records.claim("w", "c")
    after_us = time_us(redis_client)
    fields = redis_client.hgetall(Key.JOB + job_id)
    assert before_us // 1000 <= int(fields["created_at"]) <= int(fields["started_at"]) <= after_us // 1000
    assert int(fields["expires_at"]) == int(fields["created_at"]) + 60_000
    created_us = int(redis_client.zscore(Key.OWNER + "owner", job_id))
    assert before_us <= created_us <= after_us
    assert (fields["lead"], int(fields["order"])) == ("3600000", created_us - 3_600_000_000)
    assert (fields["attempt"], fields["losses"]) == ("1", "0")


def time_us(client):
    seconds, micros = client.time()
    return seconds * 1_000_000 + micros
