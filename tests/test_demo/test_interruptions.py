"""What others, the network or a change of mind come in the way of: films that wait, connections that are lost."""

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow


def make_film(visitor, seconds: str):
    """Press for one; what tells of its progress."""
    visitor.tab("Rack focus")
    visitor.page.get_by_label("number input for Seconds").fill(seconds)
    visitor.page.get_by_role("button", name="Make the film").click()
    return visitor.page.locator("#film [data-testid=status-tracker]")


def test_a_film_that_waits_is_gone_once_cancelled_or_another_photo_is_there(visit, photo, room):
    other, visitor = visit(), visit()
    for each in (other, visitor):
        each.upload(photo)
    for end in (visitor.page.get_by_role("button", name="Cancel").click, lambda: visitor.upload(room)):
        others = make_film(other, "10")
        other.page.get_by_text("Rendering").first.wait_for()
        mine = make_film(visitor, "10")
        playwright.expect(mine).to_contain_text("queue")
        end()
        playwright.expect(mine).to_be_hidden()
        assert others.is_visible()  # it would have waited on
    other.page.get_by_role("button", name="Cancel").click()
    make_film(visitor, "0.5")
    visitor.page.locator("#film video").wait_for()


def test_who_lost_the_connection_is_told_where_the_photo_is(visit, photo):
    visitor = visit(console=False)
    note, box = visitor.page.locator("#note"), visitor.page.locator("#upload input[type=file]")
    visitor.upload(photo)
    playwright.expect(note).to_be_hidden()
    visitor.page.route("**/queue/join*", lambda route: route.abort())
    visitor.page.locator("#stop input[type=range]").press("Home")
    playwright.expect(note).to_contain_text("Please open your photo again")  # gradio reloads the page
    visitor.page.unroute("**/queue/join*")
    box.wait_for(state="attached")
    visitor.upload(photo)
    playwright.expect(note).to_be_hidden()
    visitor.page.reload()  # by hand
    visitor.page.wait_for_function("() => document.querySelector('#examples button')?.ariaLabel")
    playwright.expect(note).to_be_hidden()
