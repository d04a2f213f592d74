"""The figures of the benchmark as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lipsync.bench.generator_speed import runtime_lines


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as a text table."""
    lines = [_machine(figures["machine"])]
    for clip in figures["clips"]:
        lines += ["", *_clip(clip)]
    for name, pair in figures["second_voice"].items():
        if pair is not None:
            lines += [
                "",
                f"{name}: second voice / first {pair['wall_ratio']:.2f} wall, {pair['cpu_ratio']:.2f} processor",
            ]
    generator, service = figures["generator"], figures["service"]
    if generator is not None:
        lines += [
            "",
            f"generator {generator['crops_per_s']:.0f} crops/s, {generator['gflop_per_crop']:.2f} GFLOP a crop, "
            f"{generator['runtime']} {generator['precision']} on {generator['device']}",
            *runtime_lines(generator),
        ]
    if service is not None:
        lines += ["", *_service(service)]
    return "\n".join(lines)


def _machine(machine: Mapping[str, Any]) -> str:
    flags = " ".join(machine["cpu_flags"])
    return f"{machine['cpu']}, {machine['cores']} cores, {flags}; load before: {machine['load_before']:.1f}"


def _clip(clip: Mapping[str, Any]) -> list[str]:
    frame_bytes = clip["width"] * clip["height"] * 3 // 2
    lines = [
        f"{clip['name']}: {clip['frames']} frames of {clip['width']}x{clip['height']}, peak "
        f"{clip['peak_rss_bytes'] / 1e6:.0f} MB, {clip['realtime_factor']:.3f} x real time, "
        f"{clip['moved_bytes_per_frame'] / frame_bytes:.1f} frames moved a frame",
        f"    {'':<14}{'wall s':>9}{'cpu s':>9}{'busy':>7}",
        _row("job", clip["wall_s"], clip["cpu_s"]),
        _row("transcode", clip["transcode_s"], clip["transcode_cpu_s"]),
        f"    {'ratio':<14}{clip['ratio']:>9.2f}{clip['cpu_ratio']:>9.2f}",
    ]
    cpu = clip["stage_cpu_seconds"]
    stages = sorted(clip["stage_seconds"].items(), key=lambda stage: -stage[1])
    return lines + [_row(f"  {name}", seconds, cpu.get(name, 0.0)) for name, seconds in stages]


def _row(name: str, wall_s: float, cpu_s: float) -> str:
    return f"    {name:<14}{wall_s:>9.2f}{cpu_s:>9.2f}{cpu_s / wall_s if wall_s else 0:>7.2f}"


def _service(service: Mapping[str, Any]) -> list[str]:
    upload, listeners = service["upload"], service["listeners"]
    return [
        f"submit {service['submit_overhead_s'] * 1e3:.0f} ms, {service['polls_per_s']:.0f} polls/s of several clients, "
        f"{service['polls_per_s_of_one_client']:.0f} of one, {service['poll_cpu_s'] * 1e6:.0f} us of processor each",
        f"upload of {upload['bytes'] / 1e6:.0f} MB: {upload['beyond_receiving_s'] * 1e3:.0f} ms beyond receiving it "
        f"({upload['received_s'] * 1e3:.0f} ms); {upload['at_once']} at once take "
        f"{upload['rss_growth_bytes'] / 1e6:.0f} MB more",
        f"{listeners['listeners']} listeners: the end is delivered to all in {listeners['delivered_s'] * 1e3:.0f} ms, "
        f"{listeners['idle_cpu_share'] * 100:.1f} % of a core while nothing happens, "
        f"{listeners['rss_growth_bytes'] / 1e6:.0f} MB more",
    ]
