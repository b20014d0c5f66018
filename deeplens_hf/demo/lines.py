"""Who comes next: gradio's queue, in which nobody takes the places or the turns of all the others."""

import random

import gradio as gr

WAITING = 100  # jobs that may wait; gradio's own limit is none, or 1 on ZeroGPU
CALLS = 30  # of these, calls of programs in one line
FULL = "Too many calls are waiting. Please try again in a minute."


def keep_lines(page: gr.Blocks) -> None:
    """Limit what may wait, and let a visitor's jobs in a line follow each other where others' may run beside them.

    A job reads what the visitor has open as it starts and writes it as it ends: of two at once, one would be lost.
    gradio has no setting for either, so this takes the place of two methods of its queue.
    """
    page.queue(max_size=WAITING)
    queue = page._queue
    push = queue.push

    def public(job: object) -> bool:
        return job.api_visibility == "public"

    async def push_if_room(body, request, username) -> tuple:
        job = page.fns.get(body.fn_index)
        line = queue.event_queue_per_concurrency_id.get(job and job.concurrency_id)
        if line and public(job) and len(line.queue) >= CALLS:
            return False, FULL, "queue_full"
        return await push(body, request, username)

    def next_events() -> tuple | None:
        under_way = {(each.concurrency_id, each.session_hash) for job in queue.active_jobs for each in job or ()}
        lines = list(queue.event_queue_per_concurrency_id.values())
        random.shuffle(lines)
        for line in lines:
            unlimited = line.concurrency_limit is None
            if not unlimited and line.current_concurrency >= line.concurrency_limit:
                continue
            for event in line.queue:
                if unlimited or public(event.fn) or (event.concurrency_id, event.session_hash) not in under_way:
                    line.queue.remove(event)
                    return [event], False, line.concurrency_id
        return None

    queue.push, queue.get_events = push_if_room, next_events
