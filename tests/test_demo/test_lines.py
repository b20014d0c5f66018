"""Who comes next in gradio's queue: nobody loses what came before, nobody fills the queue for all others."""

import json
import threading
import urllib.error
import urllib.request

import pytest

gr = pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")

from deeplens_hf.demo import lines  # noqa: E402
from deeplens_hf.demo.page import build_demo  # noqa: E402


@pytest.fixture
def launched():
    """Launches a page; the address."""
    pages = []

    def launch(page):
        pages.append(page)
        lines.keep_lines(page)
        return page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")[1]

    yield launch
    for page in pages:
        page.close()


def test_visitors_run_side_by_side_and_the_jobs_of_each_one_after_the_other(launched):
    both = threading.Barrier(2, timeout=60)

    def add(count):
        both.wait()  # for the other visitor's
        return count + 1, count + 1

    with gr.Blocks() as page:
        count, shown = gr.State(0), gr.Number()
        gr.Button().click(
            add, count, [count, shown], api_name="add", api_visibility="undocumented", concurrency_limit=4
        )
    address = launched(page)
    visitors = [gradio_client.Client(address, verbose=False) for _ in range(2)]
    jobs = [[visitor.submit(api_name="/add") for _ in range(3)] for visitor in visitors]
    assert [sorted(job.result(timeout=90) for job in own) for own in jobs] == [[1, 2, 3]] * 2


def test_calls_of_programs_leave_room_for_the_page(launched, monkeypatch):
    monkeypatch.setattr(lines, "CALLS", 2)
    begun, free = threading.Event(), threading.Event()

    def call():
        begun.set()
        return str(free.wait(60))

    with gr.Blocks() as page:
        shown = gr.Textbox()
        gr.Button().click(call, None, shown, api_name="call", api_visibility="public")
        gr.Button().click(lambda: "here", None, shown, api_name="page", api_visibility="undocumented")
    address = launched(page)
    program, visitor = (gradio_client.Client(address, verbose=False) for _ in range(2))

    def post() -> str:
        request = urllib.request.Request(
            f"{address}gradio_api/call/call", b'{"data": []}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["event_id"]

    try:
        running = program.submit(api_name="/call")
        assert begun.wait(60) and post() and post()
        with pytest.raises(urllib.error.HTTPError) as refused:
            post()
        assert refused.value.code == 503 and json.load(refused.value)["detail"] == lines.FULL
        assert visitor.predict(api_name="/page") == "here"
    finally:
        free.set()
    assert running.result(timeout=60) == "True"


def test_calls_of_programs_wait_in_lines_of_their_own(model, monkeypatch):
    """Whoever has the page open waits for one of them, not for all; and on ZeroGPU more than one may wait."""
    monkeypatch.setattr("gradio.utils.is_zero_gpu_space", lambda: True)  # gradio has its own limit there
    page = build_demo(model)
    of = {public: set() for public in (True, False)}
    for each in page.fns.values():
        of[each.api_visibility == "public"].add(each.concurrency_id)
    assert of[True] and not of[True] & of[False]
    assert page._queue.max_size > len(of[True]) * lines.CALLS + 20
