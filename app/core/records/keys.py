"""Names of all keys in Redis: the one place where they are spelled.

The Lua scripts get the same names as their module `keys` (`app.core.records.lua`). A name that ends with a colon is
followed by the id, the owner or the text that its comment gives. All times are milliseconds by the clock of Redis.
"""

from __future__ import annotations

from enum import StrEnum


class Key(StrEnum):
    """Name of a key, or the beginning of the names of many keys."""

    # <job id>: hash, the fields of one job.
    #   doc: input and options as JSON; owner; idem: the key of its idempotency key; webhook: address to tell its end;
    #     batch: the batch that it belongs to
    #   status, stage, progress (JSON), error, result, report, warnings (JSON), worker, claim, cancel, expired
    #   attempt: number of the latest attempt. It is the fence: an attempt that lost its lease finds another number
    #   losses: how many attempts died; an attempt that was handed back is no loss
    #   lead: milliseconds that its priority is worth; order: arrival less the lead, in microseconds
    #   created_at, started_at, finished_at, expires_at; event, progress_event: ids of its newest events
    #   of a job in segments: segments, plan (the attempt that planned), frames_total, split_at, joining,
    #   and ran_ms: for how long at least one of its segments was being done
    JOB = "lipsync:job:"
    # <job id>: stream, what happened to the job; of its progress only the latest
    EVENTS = "lipsync:events:"
    # <job id>: hash, the segments of a split job
    #   <n>:state (waiting, running, done), <n>:attempt, <n>:losses, <n>:claim, <n>:worker, <n>:frames
    #   done, frames: sums over all segments; base: frames that were done at the split
    SEGMENTS = "lipsync:segments:"

    # <owner>: sorted set, all jobs of the owner by creation in microseconds, unique: the cursor of a listing
    OWNER = "lipsync:owner:"
    # <owner>: set, the jobs of the owner that have not ended
    ACTIVE = "lipsync:active:"
    # <owner>: sorted set, the waiting jobs of the owner by `order`
    QUEUE = "lipsync:queue:"
    # sorted set, owners with waiting jobs by the number of their turn
    TURNS = "lipsync:turns"
    # integer, the last number of a turn
    TURN = "lipsync:turn"
    # sorted set, all waiting jobs by when their message was sent; 0 = to be sent
    SENT = "lipsync:sent"
    # <claim>: string, the job that a claim got, for as long as the same claim may be sent again
    CLAIM = "lipsync:claim:"
    # sorted set, running jobs by when their lease ends
    LEASES = "lipsync:leases"
    # sorted set, ended jobs by when their files, later their records, are removed
    EXPIRY = "lipsync:expiry"
    # <digest of owner and idempotency key>: hash, id: the job that it made; fingerprint: of the request
    IDEMPOTENCY = "lipsync:idem:"

    # sorted set, split jobs by when they started, until their join is claimed
    SPLIT = "lipsync:split"
    # sorted set, <job id>.<n> by when the lease of the segment ends
    SEGMENT_LEASES = "lipsync:segment_leases"
    # sorted set, waiting segments <job id>.<n> and joins <job id>.join by when their message was sent; 0 = to be sent
    SEGMENT_SENT = "lipsync:segment_sent"

    # sorted set, workers by when their announcement ends
    WORKERS = "lipsync:workers"
    # hash, what each worker announced, as JSON
    WORKER_FACTS = "lipsync:worker_facts"
    # hash, counters that only grow: created, retried, lost, succeeded, failed, canceled
    TOTALS = "lipsync:totals"
    # integer, when a reaper last came by
    REAPED_AT = "lipsync:reaped_at"
    # string, exists while no lease may be called dead
    SETTLING = "lipsync:settling"
    # <name of a periodic step>: string, exists until some process may do the step again
    INTERVAL = "lipsync:turn:"
    # <upload id>: list, the faces found in a picture, for the process that waits for them
    FACES = "lipsync:faces:"
    # string, the secret that signs links to results
    LINK_KEY = "lipsync:link_key"

    # list, the last jobs as JSON: pixels of a frame, seconds of work per frame
    SPEEDS = "lipsync:speeds"

    # sorted set, the first waiting webhook of each subject by when it is due
    WEBHOOKS = "lipsync:webhooks"
    # <event id>: hash, one webhook; kind, subject, owner, url, happened_at, tries
    #   body: as it was first sent; answer, tried_at: of the last try
    WEBHOOK = "lipsync:webhook:"
    # <job id or batch id>: list, the waiting webhooks of this subject, the oldest first
    WEBHOOK_TURN = "lipsync:webhook_turn:"
    # <owner>: sorted set, webhooks that no try could deliver by when they were put aside
    FAILED_WEBHOOKS = "lipsync:failed_webhooks:"

    # <batch id>: hash, a batch; owner, jobs (ids as JSON), webhook, created_at
    #   open: jobs that have not ended; ends: how often none was open, more than once after retries
    BATCH = "lipsync:batch:"

    # <upload id>: hash, a file that a client sends straight to the bucket; owner, bytes, expires_at
    UPLOAD = "lipsync:upload:"
    # <owner>: sorted set, the uploads of this owner by when they expire
    UPLOADS_OF = "lipsync:uploads_of:"
    # sorted set, all uploads by when they expire
    UPLOADS = "lipsync:uploads"

    # sorted set, ids of the API keys by creation in seconds
    API_KEYS = "lipsync:api_keys"
    # <key id>: hash, doc: facts of the key as JSON; digest: SHA-256 of its secret; former, former_until: digest of the
    # secret before it, and until when (seconds) that one still works; webhook_secret, former_webhook_secret,
    # former_webhook_until: the same for the secret that signs its webhooks
    API_KEY = "lipsync:api_key:"
    # <key id>: hash, calls: calls that the key may make at once; at: when this was counted
    RATE = "lipsync:rate:"
